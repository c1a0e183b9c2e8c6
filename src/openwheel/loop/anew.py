"""A student whose evidence no longer counts: it is taken off, and shadows as a new attempt."""

import math
from typing import Any

import msgspec

from openwheel.gate import spent
from openwheel.loop.promotions import By
from openwheel.loop.records import Candidate
from openwheel.store import Transaction, promotions, students, tasks


def begin_anew(
    transaction: Transaction,
    candidate: Candidate,
    *,
    after_seq: int,
    promotion: int | None,
    by: By,
    reason: str,
    **changed: Any,
) -> tuple[Candidate, int | None] | None:
    """Have a student judged on what came after an exchange, inside the caller's transaction.

    Where it was promoted it is taken off first. Whoever shadows in its task is replaced by it, and
    the task may train anew.

    Args:
        transaction: One that writes.
        candidate: The student.
        after_seq: Evidence comes after this exchange.
        promotion: The `Promotion.id` by which it is in front of traffic, None if it shadows.
        by: Who takes it off.
        reason: Why.
        changed: Other fields of the candidate that are new.

    Returns:
        The student as it shadows, and the row of the demotion if there was one; None, with nothing
        written, if it is not in front of traffic any more, or does not shadow.
    """
    task_id = candidate.task_id
    if promotion is None and students.state_of(transaction, candidate.id) != "shadow":
        return None
    if promotion is not None and promotions.latest(transaction, task_id) != promotion:
        return None
    attempt = tasks.count_attempt(transaction, task_id)
    tasks.set_trained_on(transaction, task_id, 0)
    anew = msgspec.structs.replace(again(candidate, attempt, after_seq=after_seq), **changed)
    students.move(transaction, task_id, "shadow", "replaced")
    students.set_state(transaction, candidate.id, "shadow")
    students.put(transaction, candidate.id, anew)
    if promotion is None:
        return anew, None
    return anew, promotions.add(transaction, task_id, None, by=by, reason=reason)


def again(candidate: Candidate, attempt: int, *, after_seq: int) -> Candidate:
    """Return a student as a new attempt, judged on what came after an exchange.

    All of the attempt's delta is for its tests. With less than before they need more evidence,
    about as the logarithm of its inverse.
    """
    delta = spent(candidate.delta, attempt)
    more = math.log(delta) / math.log(candidate.delta_spent * candidate.share)
    return msgspec.structs.replace(
        candidate,
        attempt=attempt,
        delta_spent=delta,
        share=1.0,
        method="anytime",
        judged_after=after_seq,
        enough=math.ceil(candidate.enough * max(more, 1.0)),
    )
