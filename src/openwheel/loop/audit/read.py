"""Audits out of the store: which there are, what they lost, what they cost."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from openwheel.loop import losses
from openwheel.loop.audit.watch import ALL, Audit
from openwheel.loop.data import decode_inputs
from openwheel.loop.promotions import AUDIT_SUFFIX
from openwheel.loop.records import Slicer
from openwheel.loop.subject import Subject
from openwheel.tasks import Inputs
from openwheel.tasks.compare import Pair
from openwheel.traffic import Store
from openwheel.traffic.schema import exchanges
from openwheel.wire import Answer, ToolCall

BYTES_A_TOKEN = 4
"""About; what tokens are estimated by where a teacher did not count them."""

AT_ONCE = 2_000
"""Audits looked at in one go."""

JUDGED_AT_ONCE = 64
"""The same where a teacher is asked about each: a look should not take long."""


class AuditRow(msgspec.Struct, frozen=True):
    """One audited answer as the store has it.

    Attributes:
        seq, id, time: Of the exchange with the teacher's answer.
        inputs: Values of the task's variables; None if it was not assigned to its task.
        teacher, student: The answers.
        probability: With which it was audited.
        endpoint: Name of the teacher that answered.
        tokens: That it read and wrote.
        extra: Whether the teacher was asked for the audit alone.
    """

    seq: int
    id: str
    time: float
    inputs: Inputs | None
    teacher: Answer
    student: Answer
    probability: float
    endpoint: str
    tokens: tuple[int, int]
    extra: bool


class Traffic(msgspec.Struct, frozen=True):
    """Requests of a task, how many of them students answered, and how many by best effort."""

    requests: int
    answered: int
    best_effort: int = 0


def read_audits(
    store: Store, student: str, *, after: int, until: int, limit: int = AT_ONCE
) -> list[AuditRow]:
    """Return a student's audited answers in a range of ``seq``, the first ``limit`` of them."""
    table = exchanges.c
    query = (
        sa.select(
            *(table.seq, table.id, table.time, table.inputs, table.text, table.tool_calls),
            *(table.finish_reason, table.student_answer, table.audit_probability, table.teacher),
            *(table.prompt_tokens, table.completion_tokens),
            sa.func.length(table.request).label("size"),
        )
        .where(table.seq > after, table.seq <= until)
        .where(table.source == "teacher", table.student == student)
        .where(table.student_answer.is_not(None), table.unbiased)
        .order_by(table.seq)
        .limit(limit)
    )
    with store.read() as connection:
        rows = connection.execute(query).all()
    return [_audit_row(row) for row in rows]


def _audit_row(row: Any) -> AuditRow:
    read, written = row.prompt_tokens, row.completion_tokens
    if read is None:
        read = row.size // BYTES_A_TOKEN + 1
        written = len(row.text.encode("utf-8", "surrogatepass")) // BYTES_A_TOKEN + 1
    calls = msgspec.json.decode(row.tool_calls, type=tuple[ToolCall, ...]) if row.tool_calls else ()
    return AuditRow(
        seq=row.seq,
        id=row.id,
        time=row.time,
        inputs=None if row.inputs is None else decode_inputs(row.inputs),
        teacher=Answer(row.text, calls, row.finish_reason),
        student=Answer(row.student_answer),
        probability=row.audit_probability,
        endpoint=row.teacher,
        tokens=(read, written or 0),
        extra=row.id.endswith(AUDIT_SUFFIX),
    )


def read_traffic(store: Store, task_id: str, *, after: int, until: int) -> Traffic:
    """Count a task's requests in a range of ``seq``; an audit's second answer is no request.

    Where only a sample of the traffic is kept, so is it here.
    """
    table = exchanges.c
    by_student = sa.func.count().filter(table.source == "student")
    unsure = sa.func.count().filter(table.source == "best_effort")
    others = sa.func.count().filter(
        table.source != "student", sa.not_(table.id.endswith(AUDIT_SUFFIX, autoescape=True))
    )
    query = sa.select(by_student, others, unsure).where(
        table.task_id == task_id, table.seq > after, table.seq <= until
    )
    with store.read() as connection:
        answered, rest, best_effort = connection.execute(query).one()
    return Traffic(answered + rest, answered, best_effort)


def losses_of(rows: Sequence[AuditRow], subject: Subject) -> list[float]:
    """Return the loss of each audited answer, from 0 (agrees) to 1.

    A judge's budget may not reach for all: then only for the first ones, which are still audits
    as they came.

    Raises:
        TeacherError: A judge could not be asked.
    """
    pairs = [Pair(subject.request_of(row.inputs or ()), row.teacher, row.student) for row in rows]
    pairs = pairs[: losses.affordable(pairs, subject.comparison)]
    return losses.losses_of(pairs, subject.record.form, subject.comparison)


def to_audits(
    rows: Sequence[AuditRow],
    lost: Sequence[float],
    slicer: Slicer,
    prices: Mapping[str, tuple[float, float]],
) -> list[Audit]:
    """Return audits as a watch takes them: with slice, loss and cost."""
    found = []
    for row, loss in zip(rows, lost, strict=True):
        known = slicer.variable is not None and row.inputs is not None
        read, written = prices.get(row.endpoint, (0.0, 0.0))
        cost = row.tokens[0] * read + row.tokens[1] * written
        found.append(
            Audit(
                row.seq,
                row.id,
                row.time,
                slicer.slice_of(row.inputs or ()) if known else ALL,
                loss,
                row.probability,
                cost if row.extra else None,
            )
        )
    return found
