"""A student whose evidence no longer counts: it is taken off, and shadows as a new attempt."""

import math
from typing import Any

import msgspec
import sqlalchemy as sa

from openwheel.gate import spent
from openwheel.loop import schema
from openwheel.loop.promotions import By, add_promotion, latest_row
from openwheel.loop.records import Candidate


def begin_anew(
    connection: sa.Connection,
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
        connection: Of a transaction that writes.
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
    task_id, tasks, students = candidate.task_id, schema.tasks, schema.students
    state = connection.execute(
        sa.select(students.c.state).where(students.c.id == candidate.id)
    ).scalar_one()
    if promotion is None and state != "shadow":
        return None
    if promotion is not None and latest_row(connection, task_id) != promotion:
        return None
    connection.execute(
        sa.update(tasks)
        .where(tasks.c.id == task_id)
        .values(attempts=tasks.c.attempts + 1, trained_on=0)
    )
    attempt = connection.execute(
        sa.select(tasks.c.attempts).where(tasks.c.id == task_id)
    ).scalar_one()
    anew = msgspec.structs.replace(again(candidate, attempt, after_seq=after_seq), **changed)
    connection.execute(
        sa.update(students)
        .where(students.c.task_id == task_id, students.c.state == "shadow")
        .values(state="replaced")
    )
    connection.execute(
        sa.update(students)
        .where(students.c.id == candidate.id)
        .values(state="shadow", candidate=msgspec.json.encode(anew))
    )
    if promotion is None:
        return anew, None
    return anew, add_promotion(connection, task_id, None, by=by, reason=reason)


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
