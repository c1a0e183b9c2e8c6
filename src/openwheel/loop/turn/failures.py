"""Records turns that fail: killed, out of memory, crashed.

A turn holds a lease while it finds tasks, and one while it is at a task: a lease that has ended and
was not given back is of a turn that died there. A task at which turns failed waits, longer each
time, and the others go on; a failure at no task holds up all tasks.
"""

import math
from collections.abc import Iterable

import msgspec

from openwheel.loop.leases import AWAY, free_dead
from openwheel.store import Store, leases, turns

FIRST_WAIT_S = 1.0
"""Seconds before the next try after a turn that died; they double with each failure in a row."""

SHORT_OF_MEMORY_S = 60.0
"""Seconds after a lack of memory, which recurs unless something else changes."""

LONGEST_WAIT_S = 3_600.0

DIED = "its process was killed or crashed"


class Failure(msgspec.Struct, frozen=True):
    """A turn that failed, altogether or at one task.

    Attributes:
        noticed: When it was noticed that it had failed, in seconds since 1970.
        task: Id of the task it was at; None if it was at none.
        reason: What happened.
    """

    noticed: float
    task: str | None
    reason: str


class Wait(msgspec.Struct, frozen=True):
    """The wait before the next try.

    Attributes:
        failures: How many failed in a row.
        seconds: What is left of the wait, 0 if it is over.
        reason: Why the last one failed.
    """

    failures: int
    seconds: float
    reason: str

    @property
    def message(self) -> str:
        """Say so in a sentence."""
        count = "a turn" if self.failures == 1 else f"{self.failures} turns in a row"
        delay = f"in {math.ceil(self.seconds)} s" if self.seconds > 0 else "with the next turn"
        return f"{count} failed here: {self.reason}. It is tried again {delay}."


def passed(store: Store, task_id: str) -> None:
    """Forget the failures at a task: a turn got through it."""
    with store.write() as transaction:
        turns.forget_failures(transaction, task_id)


def failed(store: Store, task_id: str | None, reason: str) -> None:
    """Note that a turn failed at a task, and goes on with the others, or failed at none."""
    with store.write() as transaction:
        turns.add_failure(transaction, task_id, reason)


def notice(store: Store, *, alone: bool) -> list[Failure]:
    """Return the failures, with those of turns that died since the last look.

    Args:
        store: The store.
        alone: Whether the caller is the only learner and at no task, so that whatever is still
            held is held by the dead.
    """
    with store.read() as transaction:
        died = leases.have_ended(transaction, everyone=alone)
    if died:
        with store.write() as transaction:
            free_dead(transaction, alone=alone)
    return read(store)


def read(store: Store) -> list[Failure]:
    """Return the failures that no later success has cleared, oldest first."""
    with store.read() as transaction:
        rows = turns.failures(transaction)
    return [Failure(row.noticed, row.task_id, row.reason or DIED) for row in rows]


def waits(failed: Iterable[Failure], now: float) -> dict[str | None, Wait]:
    """Return how long each task, and under None all of them, has to wait at a time.

    If the clock was set since a failure, no task waits longer than the whole wait. If it was set
    back to before it, no task waits, since that could take years.
    """
    by_task: dict[str | None, list[Failure]] = {}
    for failure in failed:
        by_task.setdefault(failure.task, []).append(failure)
    wait_by_task = {}
    for task, failures in by_task.items():
        first = FIRST_WAIT_S if failures[-1].reason in {DIED, AWAY} else SHORT_OF_MEMORY_S
        whole = wait_after(len(failures), first)
        passed = now - failures[-1].noticed
        seconds = max(whole - passed, 0.0) if passed >= 0 else 0.0
        wait_by_task[task] = Wait(len(failures), seconds, failures[-1].reason)
    return wait_by_task


def wait_after(failures: int, first: float = FIRST_WAIT_S) -> float:
    """Return how many seconds to wait after so many failures in a row.

    Examples:
        >>> [wait_after(failures) for failures in (0, 1, 2, 3, 12, 13, 1_000)]
        [0.0, 1.0, 2.0, 4.0, 2048.0, 3600.0, 3600.0]
    """
    if not failures:
        return 0.0
    return float(min(first * 2.0 ** min(failures - 1, 30), LONGEST_WAIT_S))
