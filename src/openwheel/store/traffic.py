"""Reads traffic for people: counts by the hour, the latest latencies, and searched exchanges."""

from collections.abc import Collection
from typing import Literal, NamedTuple

import sqlalchemy as sa

from openwheel.store import sql
from openwheel.store.exchange import AUDIT_SUFFIX, Exchange
from openwheel.store.exchanges import (
    EXCHANGE_COLUMNS,
    answer_of,
    exchange_of,
    newest_seq,
    read_probabilities,
)
from openwheel.store.schema import asked_twice, exchanges, feedback
from openwheel.store.store import Transaction
from openwheel.wire import Answer, Probabilities

_table = exchanges.c
_is_audit = _table.id.endswith(AUDIT_SUFFIX, autoescape=True)


class HourRow(NamedTuple):
    """Exchanges of one hour that have task, source and teacher in common.

    Attributes:
        hour: Hours since 1970.
        task_id: Their task, None if they have none.
        source: Who answered.
        teacher: The endpoint's name, ``""`` for a student.
        audit: Whether the teacher was asked in addition to a student's answer.
        compared: Whether both a teacher and a student answered.
        number: How many.
        prompt_tokens, completion_tokens: Their sums, of those that have them.
        latency_ms: The sum of the latencies of those that have one, and ``timed`` their number.
    """

    hour: int
    task_id: str | None
    source: str
    teacher: str
    audit: bool
    compared: bool
    number: int
    prompt_tokens: int
    completion_tokens: int
    latency_ms: float
    timed: int


def by_hour(transaction: Transaction, *, after: int, until: int) -> list[HourRow]:
    """Count the exchanges in a range of ``seq`` by hour, task, source and teacher."""
    groups = (
        sql.whole_hours(_table.time).label("hour"),
        _table.task_id,
        _table.source,
        _table.teacher,
        _is_audit.label("audit"),
        ((_table.source == "teacher") & _table.student_answer.is_not(None)).label("compared"),
    )
    query = (
        sa.select(
            *groups,
            sa.func.count(),
            sa.func.coalesce(sa.func.sum(_table.prompt_tokens), 0),
            sa.func.coalesce(sa.func.sum(_table.completion_tokens), 0),
            sa.func.coalesce(sa.func.sum(_table.latency_ms), 0.0),
            sa.func.count(_table.latency_ms),
        )
        .where(sql.after(exchanges, after), sql.until(exchanges, until))
        .group_by(*(sa.literal_column(group.name) for group in groups))
    )
    return [HourRow._make(row) for row in transaction.execute(query)]


def latencies(
    transaction: Transaction, task_id: str, sources: Collection[str], *, limit: int
) -> list[float]:
    """Return the latencies in ms of a task's latest exchanges from these sources.

    Only the latest ``4 * limit`` exchanges of the task are looked at.
    """
    latest = (
        sa.select(_table.source, _table.latency_ms)
        .where(_table.task_id == task_id)
        .order_by(_table.seq.desc())
        .limit(4 * limit)
        .subquery()
    )
    query = (
        sa.select(latest.c.latency_ms)
        .where(latest.c.source.in_(sources), latest.c.latency_ms.is_not(None))
        .limit(limit)
    )
    return list(transaction.execute(query).scalars())


def second_answer_dollars(transaction: Transaction, *, since: float) -> dict[str, float]:
    """Return what asking teachers twice has cost since a time, by task."""
    query = (
        sa.select(asked_twice.c.task_id, sa.func.sum(asked_twice.c.dollars))
        .where(asked_twice.c.time >= since)
        .group_by(asked_twice.c.task_id)
    )
    return {row[0]: row[1] for row in transaction.execute(query)}


class Search(NamedTuple):
    """What a search looks for; an empty field matches everything.

    Attributes:
        task_id: The task.
        source: Who answered.
        pairs: ``both``: teacher and student answered; ``differ``: their texts differ;
            ``deferred``: the student left it to the teacher.
        answer: The exact text of the answer.
        text: Part of the inputs, the answer or the student's answer; upper and lower case are one
            in ASCII.
        key: Name of the client's key.
        unjudged: Only what has no feedback.
        before: Only exchanges before this ``seq``; 0 for all.
        since: Only exchanges after this time, in seconds since 1970.
    """

    task_id: str = ""
    source: str = ""
    pairs: Literal["", "both", "differ", "deferred"] = ""
    answer: str = ""
    text: str = ""
    key: str = ""
    unjudged: bool = False
    before: int = 0
    since: float = 0.0


class Found(NamedTuple):
    """One page of a search.

    Attributes:
        rows: Sequence numbers and exchanges, newest first.
        inputs: The values of each one's variables as JSON, None if it has no task.
        task_ids: Their tasks.
        next_before: Where the next page begins, 0 if nothing is left.
        looked_at: How many exchanges were looked at.
    """

    rows: list[tuple[int, Exchange]]
    inputs: list[str | None]
    task_ids: list[str | None]
    next_before: int
    looked_at: int


def search(transaction: Transaction, wanted: Search, *, page: int, most: int) -> Found:
    """Return the latest exchanges that a search wants.

    Args:
        transaction: One that reads.
        wanted: What it looks for.
        page: The most exchanges to return.
        most: The most exchanges to look at; the next page goes on after them.
    """
    before = wanted.before or newest_seq(transaction) + 1
    within = sa.select(_table.seq).where(sql.until(exchanges, before - 1))
    if wanted.task_id:
        within = within.where(_table.task_id == wanted.task_id)
    window = within.order_by(_table.seq.desc()).limit(most).subquery()
    looked_at, oldest = transaction.execute(
        sa.select(sa.func.count(), sa.func.coalesce(sa.func.min(window.c.seq), 0))
    ).one()
    query = (
        sa.select(*EXCHANGE_COLUMNS, _table.inputs, _table.task_id)
        .where(sql.until(exchanges, before - 1), sql.after(exchanges, oldest - 1))
        .where(*_conditions(wanted))
        .order_by(_table.seq.desc())
        .limit(page + 1)
    )
    found = transaction.execute(query).all() if looked_at else []
    more, rows = len(found) > page, found[:page]
    next_before = rows[-1][0] if more else (oldest if looked_at == most else 0)
    return Found(
        [(row[0], exchange_of(row[:-2])) for row in rows],
        [row[-2] for row in rows],
        [row[-1] for row in rows],
        next_before,
        looked_at,
    )


def _conditions(wanted: Search) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    if wanted.task_id:
        conditions.append(_table.task_id == wanted.task_id)
    if wanted.source:
        conditions.append(_table.source == wanted.source)
    if wanted.since:
        conditions.append(_table.time >= wanted.since)
    if wanted.key:
        conditions.append(_table.key == wanted.key)
    if wanted.answer:
        conditions.append(_table.text == wanted.answer)
    by_teacher = _table.source == "teacher"
    if wanted.pairs in {"both", "differ"}:
        conditions.append(by_teacher & _table.student_answer.is_not(None))
    if wanted.pairs == "differ":
        conditions.append(_table.student_answer != _table.text)
    if wanted.pairs == "deferred":
        conditions.append(by_teacher & (_table.student != "") & _table.student_answer.is_(None))
    if wanted.text:
        conditions.append(
            sa.or_(
                *(
                    column.icontains(wanted.text, autoescape=True)
                    for column in (_table.inputs, _table.text, _table.student_answer)
                )
            )
        )
    if wanted.unjudged:
        judged = sa.select(feedback.c.seq).where(feedback.c.seq == _table.seq)
        conditions.append(~judged.exists())
    return conditions


def find(transaction: Transaction, seq: int) -> tuple[Exchange, str | None, str | None] | None:
    """Return an exchange with its inputs as JSON and its task; None if there is none."""
    columns = (*EXCHANGE_COLUMNS, _table.inputs, _table.task_id)
    query = sa.select(*columns).where(sql.at(exchanges, seq))
    row = transaction.execute(query).one_or_none()
    return None if row is None else (exchange_of(row[:-2]), row[-2], row[-1])


def seqs_of(transaction: Transaction, ids: Collection[str]) -> dict[str, int]:
    """Return the sequence numbers of exchanges, by their ids."""
    query = sa.select(_table.id, _table.seq).where(sql.has_id(transaction, exchanges, ids))
    return {row[0]: row[1] for row in transaction.execute(query)}


class PairRow(NamedTuple):
    """A teacher's answer to a request that a student was asked about.

    Attributes:
        student_answer: The student's answer if it could answer, else None.
        student_guess: What it would have answered where it deferred, None if it had no answer.
        audit_probability: The chance that the teacher was asked whatever the student answered.
    """

    seq: int
    time: float
    inputs: str | None
    text: str
    tool_calls: str
    finish_reason: str
    probabilities: str | None
    student_answer: str | None
    student_guess: str | None
    student_probabilities: str | None
    confidence: float | None
    audit_probability: float

    @property
    def answer(self) -> Answer:
        """The teacher's."""
        return answer_of(self.text, self.tool_calls, self.finish_reason, self.probabilities)

    @property
    def student_given(self) -> Probabilities:
        """The probabilities that the student gave with its answer, or with its guess."""
        return read_probabilities(self.student_probabilities)

    @property
    def student(self) -> str | None:
        """What the student answered, or would have."""
        return self.student_guess if self.student_answer is None else self.student_answer


def pairs(transaction: Transaction, task_id: str, student: str, *, limit: int) -> list[PairRow]:
    """Return the latest answers of teachers to requests that a student was asked, in order."""
    query = (
        sa.select(*(_table[name] for name in PairRow._fields))
        .where(_table.task_id == task_id, _table.source == "teacher", _table.student == student)
        .order_by(_table.seq.desc())
        .limit(limit)
    )
    return [PairRow._make(row) for row in reversed(transaction.execute(query).all())]
