"""What a lease is, which there are, and what a learner asks of them."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import msgspec

from openwheel.errors import OpenwheelError, StoreError
from openwheel.store import Store, Transaction, turns
from openwheel.store import leases as rows

FINDING = "finding tasks"
"""The lease of finding tasks, with which a turn begins; its token is the turn's number."""

RETENTION = "retention"
"""The lease of keeping the store within its limits."""

ASKING = "asking teachers again"
"""The lease of asking teachers twice."""

JUDGING = "judging audits"
"""The lease of looking at audits whose answers a judge compares, which costs money."""

AWAY = "its learner was killed, crashed, froze or was cut off"
"""Why a turn failed whose lease has ended: others cannot tell which it was."""

_TASK = "task "


def of_task(task_id: str) -> str:
    """Return the lease of a task: of its part of a turn."""
    return _TASK + task_id


class OtherLearnerError(StoreError):
    """Another learner does the work."""


class LeaseLostError(OpenwheelError):
    """A lease has ended, or another learner has it: nothing was written."""


class Found(msgspec.Struct, frozen=True):
    """The tasks of a turn were found, so that any learner may take their parts.

    Attributes:
        number: The turn's number.
        looked_at: The turn's newest exchange.
    """

    number: int = 0
    looked_at: int = 0


class Lease(msgspec.Struct, kw_only=True):
    """A lease that is held.

    Attributes:
        store: The store; what is written through it is refused once the lease is lost.
        before: The latest turn in which the work was done.
        token: Grows by one each time that the lease is taken.
        done: The turn in which the work has now been done; set it before the end.
    """

    store: Store
    before: Found = Found()
    token: int = 0
    done: Found | None = None


class Leases(Protocol):
    """The leases of a store, for one learner.

    Attributes:
        alone: Whether there is one learner at a time, so that all that others left has ended.
    """

    alone: bool

    def learning(self, *, patience: float = 0.0) -> AbstractContextManager[None]:
        """Be one of the store's learners until the block or the process ends.

        Args:
            patience: Seconds to wait for another process where there may be one at a time. A
                gateway without turns is one for a moment at times, to keep the store within its
                limits.

        Raises:
            OtherLearnerError: Another process is, and there may be one at a time.
            StoreError: No process can be.
        """

    def held(self, name: str, *, patience: float = 0.0) -> AbstractContextManager[Lease | None]:
        """Hold a lease until the block ends; None while another learner has it.

        A block that ends by an error does not give it back, unless it was stopped: that counts as
        the learner's death.

        Args:
            name: The lease.
            patience: Seconds to wait for another learner.
        """

    def release_all(self) -> None:
        """Give all leases back, because this learner is stopped and does not die."""


def claim_unfinished(store: Store) -> bool:
    """Return whether a learner was stopped at a task that nobody has taken since.

    One learner is told so, once: it takes what is left of the latest turn.
    """
    with store.read() as transaction:
        if not rows.unfinished(transaction):
            return False
    with store.write(alone=False) as transaction:
        return any(task_of(name) is not None for name in rows.claim_unfinished(transaction))


def free_dead(
    transaction: Transaction, *, name: str | None = None, alone: bool = False
) -> list[str]:
    """Free the leases whose holders died, and note failures of the turns that died with them.

    Args:
        transaction: A transaction that writes.
        name: The only lease to look at.
        alone: As of `Leases`.

    Returns:
        The leases.
    """
    freed = rows.free_ended(transaction, name=name, everyone=alone)
    for one in freed:
        if is_part(one):
            turns.add_failure(transaction, task_of(one), None if alone else AWAY)
    return freed


def latest_found(store: Store) -> Found:
    """Return the latest turn of which the tasks were found."""
    with store.read() as transaction:
        return found_in(rows.find(transaction, FINDING))


def found_in(row: rows.LeaseRow | None) -> Found:
    """Return the latest turn in which the work of a lease was done."""
    return Found() if row is None else Found(row.turn, row.looked_at)


def settled(store: Store, found: Found) -> set[str]:
    """Return the leases that need not be tried: held now, or their work done in a turn."""
    with store.read() as transaction:
        return {
            row.name
            for row in rows.read(transaction).values()
            if row.holder or row.turn >= found.number
        }


def is_part(name: str) -> bool:
    """Return whether a lease is of a part of a turn: of finding tasks, or of a task."""
    return name == FINDING or name.startswith(_TASK)


def task_of(name: str) -> str | None:
    """Return the task that a lease is of, None if it is of none."""
    return name.removeprefix(_TASK) if name.startswith(_TASK) else None


@contextmanager
def given_back(store: Store, name: str, holder: str, lease: Lease) -> Iterator[None]:
    """Give a lease back at the end of the block, or when it is stopped."""

    def give_back(*, stopped: bool) -> None:
        done = None if lease.done is None else (lease.done.number, lease.done.looked_at)
        with store.write(alone=False) as transaction:
            rows.release(transaction, name, holder, lease.token, done=done, stopped=stopped)

    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        give_back(stopped=True)  # or closed, as a part is beside one that fails: no failure
        raise
    give_back(stopped=False)
