"""Stores audits: the teacher's answers beside students', audit states, and alarms."""

import time
from typing import Generic, NamedTuple, TypeVar

import msgspec
import sqlalchemy as sa

from openwheel.store import sql
from openwheel.store.exchange import AUDIT_SUFFIX, BY_STUDENTS
from openwheel.store.exchanges import answer_of, read_probabilities
from openwheel.store.schema import alarms, audit_watches, exchanges
from openwheel.store.store import Transaction
from openwheel.wire import Answer, Probabilities

_Body = TypeVar("_Body")
_table = exchanges.c
_is_audit = _table.id.endswith(AUDIT_SUFFIX, autoescape=True)


class AuditedAnswer(NamedTuple):
    """The teacher's answer to a request that a student could answer; ``size`` of the request."""

    seq: int
    id: str
    time: float
    inputs: str | None
    text: str
    tool_calls: str
    finish_reason: str
    probabilities: str | None
    student_answer: str
    student_probabilities: str | None
    audit_probability: float
    teacher: str
    prompt_tokens: int | None
    completion_tokens: int | None
    size: int

    @property
    def answer(self) -> Answer:
        """The teacher's."""
        return answer_of(self.text, self.tool_calls, self.finish_reason, self.probabilities)

    @property
    def student_given(self) -> Probabilities:
        """The probabilities that the student gave with its answer."""
        return read_probabilities(self.student_probabilities)


class TeacherAnswer(NamedTuple):
    """A teacher's answer, with the answer that the student gave or would have given."""

    inputs: str
    text: str
    tool_calls: str
    finish_reason: str
    student_answer: str | None
    student_guess: str | None
    probabilities: str | None
    student_probabilities: str | None

    @property
    def answer(self) -> Answer:
        """The teacher's."""
        return answer_of(self.text, self.tool_calls, self.finish_reason, self.probabilities)

    @property
    def student_given(self) -> Probabilities:
        """The probabilities that the student gave with its answer, or with its guess."""
        return read_probabilities(self.student_probabilities)


class AlarmRow(NamedTuple, Generic[_Body]):
    """An alarm on a promotion, the row that took it off (None where only a slice was), and when."""

    task_id: str
    promotion: int
    demotion: int | None
    alarm: _Body
    time: float


def audited(
    transaction: Transaction, student: str, *, after: int, until: int, limit: int
) -> list[AuditedAnswer]:
    """Return a student's audited answers in a range of ``seq``, the first ``limit`` of them."""
    query = (
        sa.select(
            *(_table[name] for name in AuditedAnswer._fields[:-1]),
            sa.func.length(sql.request_body()).label("size"),
        )
        .where(sql.after(exchanges, after), sql.until(exchanges, until))
        .where(_table.source == "teacher", _table.student == student)
        .where(_table.student_answer.is_not(None), _table.unbiased)
        .order_by(_table.seq)
        .limit(limit)
    )
    return [AuditedAnswer._make(row) for row in transaction.execute(query)]


def by_teachers(
    transaction: Transaction, task_id: str, *, after: int, until: int, limit: int
) -> list[TeacherAnswer]:
    """Return teachers' answers in a range of ``seq``, the latest ``limit``, in order."""
    query = (
        sa.select(*(_table[name] for name in TeacherAnswer._fields))
        .where(_table.task_id == task_id, sql.after(exchanges, after), sql.until(exchanges, until))
        .where(_table.source == "teacher")
        .order_by(_table.seq.desc())
        .limit(limit)
    )
    return [TeacherAnswer._make(row) for row in reversed(transaction.execute(query).all())]


def count_requests(
    transaction: Transaction, task_id: str, *, after: int, until: int
) -> tuple[int, int, int]:
    """Count a task's requests in a range of ``seq``; an audit's second answer is no request.

    Returns:
        How many there were, how many students answered, and how many by best effort.
    """
    query = sa.select(
        sa.func.count().filter(_table.source != "student", sa.not_(_is_audit)),
        sa.func.count().filter(_table.source == "student"),
        sa.func.count().filter(_table.source == "best_effort"),
    ).where(_table.task_id == task_id, sql.after(exchanges, after), sql.until(exchanges, until))
    unanswered, answered, best_effort = transaction.execute(query).one()
    return unanswered + answered, answered, best_effort


def count_latest(
    transaction: Transaction, task_id: str, *, after: int, limit: int
) -> tuple[int, int, int]:
    """Count the latest ``limit`` requests of a task; an audit's second answer is no request.

    Returns:
        How many there were, how many a student answered without best effort, and how many the
        canary held back.
    """
    latest = (
        sa.select(_table.source, _table.student_answer)
        .where(_table.task_id == task_id, sql.after(exchanges, after), sa.not_(_is_audit))
        .order_by(_table.seq.desc())
        .limit(limit)
        .subquery()
    )
    held_back = (latest.c.source == "teacher") & latest.c.student_answer.is_not(None)
    query = sa.select(
        sa.func.count(),
        sa.func.count().filter(latest.c.source == "student"),
        sa.func.count().filter(held_back),
    ).select_from(latest)
    requests, answered, held = transaction.execute(query).one()
    return requests, answered, held


def count_labels(
    transaction: Transaction, task_id: str, *, after: int = 0, until: int | None = None
) -> int:
    """Count the exchanges of a task that a teacher answered after one, and up to another."""
    query = sa.select(sa.func.count()).where(
        _table.task_id == task_id, sql.after(exchanges, after), _table.source.not_in(BY_STUDENTS)
    )
    if until is not None:
        query = query.where(sql.until(exchanges, until))
    return transaction.execute(query).scalar_one()


def find_state(transaction: Transaction, kind: type[_Body], promotion: int) -> _Body | None:
    """Return the audit state of a promotion, None if it has none."""
    query = sa.select(audit_watches.c.watch).where(audit_watches.c.promotion_id == promotion)
    body = transaction.execute(query).scalar_one_or_none()
    return None if body is None else msgspec.json.decode(body, type=kind)


def latest_state(transaction: Transaction, kind: type[_Body], task_id: str) -> _Body | None:
    """Return the audit state of a task's latest promotion that has one."""
    query = (
        sa.select(audit_watches.c.watch)
        .where(audit_watches.c.task_id == task_id)
        .order_by(audit_watches.c.promotion_id.desc())
        .limit(1)
    )
    body = transaction.execute(query).scalar_one_or_none()
    return None if body is None else msgspec.json.decode(body, type=kind)


def move_state(
    transaction: Transaction,
    promotion: int,
    task_id: str,
    body: msgspec.Struct,
    *,
    cursor: int,
    before: int | None,
) -> bool:
    """Write the audit state of a promotion, which has seen exchanges up to ``cursor``.

    Nothing is written, and False returned, if the stored cursor is not ``before``, None for the
    first: another process moved it.
    """
    values = {"cursor": cursor, "watch": msgspec.json.encode(body), "time": time.time()}
    row = audit_watches.c.promotion_id == promotion
    if before is not None:
        change = sa.update(audit_watches).where(row, audit_watches.c.cursor == before)
        return transaction.execute(change.values(**values)).rowcount == 1
    if transaction.execute(sa.select(audit_watches.c.cursor).where(row)).first() is not None:
        return False
    added = sa.insert(audit_watches).values(promotion_id=promotion, task_id=task_id, **values)
    transaction.execute(added)
    return True


def add_alarm(
    transaction: Transaction,
    task_id: str,
    alarm: msgspec.Struct,
    *,
    promotion: int,
    demotion: int | None,
) -> None:
    """Add an alarm on a promotion; ``demotion`` is the row that took it off, if one did."""
    transaction.execute(
        sa.insert(alarms).values(
            task_id=task_id,
            promotion_id=promotion,
            demotion_id=demotion,
            alarm=msgspec.json.encode(alarm),
            time=time.time(),
        )
    )


def read_alarms(
    transaction: Transaction, kind: type[_Body], task_id: str | None = None
) -> list[AlarmRow[_Body]]:
    """Return alarms, oldest first."""
    query = sa.select(alarms).order_by(alarms.c.id)
    if task_id is not None:
        query = query.where(alarms.c.task_id == task_id)
    return [
        AlarmRow(
            row.task_id,
            row.promotion_id,
            row.demotion_id,
            msgspec.json.decode(row.alarm, type=kind),
            row.time,
        )
        for row in transaction.execute(query)
    ]
