"""Writes the consequences of a change of the teacher in one transaction."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from openwheel.loop.drift.versions import Kind, Version
from openwheel.loop.records import Candidate
from openwheel.loop.registry import begin_anew
from openwheel.store import Store, Transaction, drift
from openwheel.store.drift import ChangeRow

Did = Literal["demoted", "shadowing", "told"]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A change of a task's teacher.

    Attributes:
        kind: A new ``model``, a new ``fingerprint`` of one, or a jump of its ``disagreement``
            with itself.
        version: The new version; for a jump the one that gave the last answer.
        before: The versions that were known, the latest last.
        after_seq: The change came after this exchange, or before it was noticed at it.
        exchange: The id of the exchange that showed it.
        student: The student to certify again, ``""`` where the change was only reported.
        did: ``demoted``: the student was taken off, and shadows. ``shadowing``: it shadowed, and
            starts over. ``told``: nothing else.
        reason: In a sentence.
    """

    kind: Kind
    version: Version
    before: tuple[Version, ...] = ()
    after_seq: int
    exchange: str
    student: str = ""
    did: Did = "told"
    reason: str = ""


def read_changes(store: Store, task_id: str | None = None) -> list[ChangeRow[Change]]:
    """Return the changes that were noticed, oldest first."""
    with store.read() as transaction:
        return drift.read_changes(transaction, Change, task_id)


def changed_since(store: Store, task_id: str) -> int:
    """Return the exchange after which a task's teacher changed last, 0 if it never did."""
    with store.read() as transaction:
        return drift.changed_after(transaction, task_id)


def add_told(transaction: Transaction, task_id: str, change: Change) -> None:
    """Note a change without consequences, inside the caller's transaction."""
    _add(transaction, task_id, change, None)


def recertify(
    transaction: Transaction,
    candidate: Candidate,
    changes: Sequence[Change],
    *,
    promotion: int | None,
) -> Candidate | None:
    """Have a student judged again after the last of some changes, in the caller's transaction.

    One that is in front of traffic, by the row ``promotion``, is taken off first. It shadows as a
    new attempt, at a smaller share of delta, and the task may train again.

    Returns:
        The shadowing student; None, with nothing written, if it is neither promoted nor
        shadowing any more.
    """
    task_id = candidate.task_id
    began = begin_anew(
        transaction,
        candidate,
        after_seq=max(change.after_seq for change in changes),
        promotion=promotion,
        by="teacher",
        reason=changes[-1].reason,
    )
    if began is None:
        return None
    restarted, demotion = began
    for change in changes:
        _add(transaction, task_id, change, demotion)
    drift.delete_asked(transaction, task_id)  # the evidence of second answers starts over
    return restarted


def _add(transaction: Transaction, task_id: str, change: Change, demotion: int | None) -> None:
    drift.add_change(
        transaction,
        task_id,
        change,
        after_seq=change.after_seq,
        recertifies=change.did != "told",
        demotion=demotion,
    )
