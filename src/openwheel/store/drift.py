"""Stores drift of teachers: versions seen, changes noticed, and self-disagreement."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, NamedTuple, TypeVar

import msgspec
import sqlalchemy as sa

from openwheel.store import sql
from openwheel.store.exchanges import answer_of, columns
from openwheel.store.schema import (
    asked_twice,
    exchanges,
    promotions,
    teacher_changes,
    teacher_looks,
    teacher_twice,
    teacher_versions,
)
from openwheel.store.store import Transaction
from openwheel.wire import Answer, ApiName

_Body = TypeVar("_Body")
_table = exchanges.c
_BY_TEACHERS = ("teacher", "log")


class VersionKey(NamedTuple):
    """A version of a task's teacher: ``live``, or from a log; ``asked`` is the requested model."""

    task_id: str
    live: bool
    teacher: str
    model: str
    fingerprint: str
    asked: str


class Place(NamedTuple):
    """An exchange by its seq, id and time."""

    seq: int
    exchange: str
    time: float


class AnsweredRow(NamedTuple):
    """An exchange with the version that answered it."""

    seq: int
    id: str
    time: float
    task_id: str | None
    source: str
    teacher: str
    model: str
    fingerprint: str
    settings: str


class ChangeRow(NamedTuple, Generic[_Body]):
    """A change of a task's teacher that was noticed, and when, in seconds since 1970."""

    task_id: str
    change: _Body
    time: float


class FirstAnswer(NamedTuple):
    """A request that may be sent again, with the teacher's answer."""

    seq: int
    id: str
    api: ApiName
    inputs: str | None
    text: str
    tool_calls: str
    finish_reason: str
    probabilities: str | None
    request: bytes

    @property
    def answer(self) -> Answer:
        """The answer."""
        return answer_of(self.text, self.tool_calls, self.finish_reason, self.probabilities)


def cursors(transaction: Transaction) -> dict[str, int]:
    """Return the last exchange that was read of each task, by its id."""
    query = sa.select(teacher_looks.c.task_id, teacher_looks.c.cursor)
    return {row.task_id: row.cursor for row in transaction.execute(query)}


def first_seen(transaction: Transaction, task_id: str, until: int) -> dict[VersionKey, Place]:
    """Return the versions that answered a task up to an exchange, each with its first exchange."""
    model = sa.func.coalesce(sql.json_value(exchanges.c.settings, "model"), "")
    asked = sa.case((_table.settings == "", ""), else_=model)
    mine = (_table.task_id == task_id, sql.until(exchanges, until), _table.source.in_(_BY_TEACHERS))
    first = (
        sa.select(sa.func.min(_table.seq))
        .where(*mine)
        .group_by(_table.source, _table.teacher, _table.model, _table.fingerprint, asked)
    )
    columns = (_table.source, _table.teacher, _table.model, _table.fingerprint)
    query = sa.select(*columns, asked.label("asked"), _table.seq, _table.id, _table.time)
    return {
        VersionKey(
            task_id, row.source == "teacher", row.teacher, row.model, row.fingerprint, row.asked
        ): Place(row.seq, row.id, row.time)
        for row in transaction.execute(query.where(_table.seq.in_(first)))
    }


def answered_since(
    transaction: Transaction, *, after: int, until: int, limit: int
) -> list[AnsweredRow]:
    """Return the exchanges of all tasks in a range of ``seq``, the first ``limit`` of them."""
    query = (
        sa.select(*(_table[name] for name in AnsweredRow._fields))
        .where(sql.after(exchanges, after), sql.until(exchanges, until))
        .order_by(_table.seq)
        .limit(limit)
    )
    return [AnsweredRow._make(row) for row in transaction.execute(query)]


def read_versions(transaction: Transaction, task_id: str = "") -> dict[VersionKey, Place]:
    """Return the versions that were added, in the order in which they came; of a task or of all."""
    table = teacher_versions.c
    query = sa.select(
        *(table[name] for name in VersionKey._fields), *(table[name] for name in Place._fields)
    ).order_by(table.seq)
    if task_id:
        query = query.where(table.task_id == task_id)
    size = len(VersionKey._fields)
    return {
        VersionKey._make(row[:size]): Place._make(row[size:]) for row in transaction.execute(query)
    }


def add_versions(
    transaction: Transaction, seen: Mapping[VersionKey, Place], looked_at: Mapping[str, int]
) -> None:
    """Add new versions, and move the last exchange that was read of each task."""
    for key, place in seen.items():
        added = sql.insert(transaction, teacher_versions).values(**key._asdict(), **place._asdict())
        transaction.execute(added.on_conflict_do_nothing())
    for task_id, cursor in looked_at.items():
        row = sql.insert(transaction, teacher_looks).values(
            task_id=task_id, cursor=cursor, promotion_id=-1, versions=0
        )
        further = sql.greater(teacher_looks.c.cursor, cursor)
        transaction.execute(
            row.on_conflict_do_update(index_elements=["task_id"], set_={"cursor": further})
        )


def news(transaction: Transaction) -> dict[str, tuple[int, int]]:
    """Return the tasks with a promotion that have a new promotion or version since `settle`.

    With each the row of its latest promotion and how many versions it has.
    """
    latest = (
        sa.select(promotions.c.task_id, sa.func.max(promotions.c.id).label("row"))
        .group_by(promotions.c.task_id)
        .subquery()
    )
    counted = (
        sa.select(teacher_versions.c.task_id, sa.func.count().label("n"))
        .group_by(teacher_versions.c.task_id)
        .subquery()
    )
    looks = teacher_looks.c
    query = (
        sa.select(latest.c.task_id, latest.c.row, counted.c.n)
        .join(counted, counted.c.task_id == latest.c.task_id)
        .join(teacher_looks, looks.task_id == latest.c.task_id)
        .where((looks.promotion_id != latest.c.row) | (looks.versions != counted.c.n))
    )
    return {row.task_id: (row.row, row.n) for row in transaction.execute(query)}


def settle(transaction: Transaction, task_id: str, *, promotion: int, versions: int) -> None:
    """Note the latest promotion and the number of versions of a task as handled."""
    transaction.execute(
        sa.update(teacher_looks)
        .where(teacher_looks.c.task_id == task_id)
        .values(promotion_id=promotion, versions=versions)
    )


def add_change(
    transaction: Transaction,
    task_id: str,
    change: msgspec.Struct,
    *,
    after_seq: int,
    recertifies: bool,
    demotion: int | None,
) -> None:
    """Add a change of a task's teacher.

    Args:
        after_seq: Evidence up to this exchange is of the teacher before.
        recertifies: Whether a student has to be certified again.
        demotion: The row that took the student off, if one did.
    """
    transaction.execute(
        sa.insert(teacher_changes).values(
            task_id=task_id,
            demotion_id=demotion,
            after_seq=after_seq,
            anew=recertifies,
            change=msgspec.json.encode(change),
            time=time.time(),
        )
    )


def read_changes(
    transaction: Transaction, kind: type[_Body], task_id: str | None = None
) -> list[ChangeRow[_Body]]:
    """Return changes of teachers, oldest first."""
    table = teacher_changes.c
    query = sa.select(table.task_id, table.change, table.time).order_by(table.id)
    if task_id is not None:
        query = query.where(table.task_id == task_id)
    return [
        ChangeRow(row.task_id, msgspec.json.decode(row.change, type=kind), row.time)
        for row in transaction.execute(query)
    ]


def changed_after(transaction: Transaction, task_id: str) -> int:
    """Return the exchange after which students of a task had to be certified again, 0 for none."""
    table = teacher_changes.c
    query = sa.select(sa.func.max(table.after_seq)).where(table.task_id == task_id, table.anew)
    return transaction.execute(query).scalar_one() or 0


def find_asked(transaction: Transaction, kind: type[_Body], task_id: str) -> _Body | None:
    """Return the self-disagreement of a task's teacher, None if no measurement has begun."""
    query = sa.select(teacher_twice.c.twice).where(teacher_twice.c.task_id == task_id)
    body = transaction.execute(query).scalar_one_or_none()
    return None if body is None else msgspec.json.decode(body, type=kind)


def read_asked(transaction: Transaction, kind: type[_Body]) -> dict[str, _Body]:
    """Return the self-disagreement of every task that has one, by the task's id."""
    query = sa.select(teacher_twice.c.task_id, teacher_twice.c.twice)
    return {
        row.task_id: msgspec.json.decode(row.twice, type=kind) for row in transaction.execute(query)
    }


def put_asked(
    transaction: Transaction, task_id: str, shown: msgspec.Struct, *, cursor: int
) -> None:
    """Write the self-disagreement of a task's teacher, up to an exchange."""
    values = {"cursor": cursor, "twice": msgspec.json.encode(shown), "time": time.time()}
    put = sql.insert(transaction, teacher_twice).values(task_id=task_id, **values)
    transaction.execute(put.on_conflict_do_update(index_elements=["task_id"], set_=values))


def delete_asked(transaction: Transaction, task_id: str) -> None:
    """Delete the self-disagreement of a task's teacher."""
    transaction.execute(sa.delete(teacher_twice).where(teacher_twice.c.task_id == task_id))


def add_second_answer(
    transaction: Transaction,
    task_id: str,
    *,
    seq: int,
    exchange: str,
    answered_by: tuple[str, str, str],
    loss: float,
    dollars: float,
) -> None:
    """Add a second answer of a version to an exchange: its loss and cost; its text is not kept."""
    teacher, model, fingerprint = answered_by
    transaction.execute(
        sa.insert(asked_twice).values(
            task_id=task_id,
            seq=seq,
            exchange=exchange,
            loss=loss,
            teacher=teacher,
            model=model,
            fingerprint=fingerprint,
            dollars=dollars,
            time=time.time(),
        )
    )


def second_answers_cost(
    transaction: Transaction, *, since: float = 0.0, task_id: str = ""
) -> dict[str, float]:
    """Return the cost of second answers since a time, in dollars, by task; of one or all."""
    table = asked_twice.c
    query = sa.select(table.task_id, sa.func.sum(table.dollars).label("dollars"))
    if task_id:
        query = query.where(table.task_id == task_id)
    if since:
        query = query.where(table.time >= since)
    rows = transaction.execute(query.group_by(table.task_id))
    return {row.task_id: row.dollars for row in rows}


def newest_of(transaction: Transaction, task_id: str) -> int:
    """Return the newest exchange that is assigned to a task, 0 for none."""
    query = sa.select(sa.func.max(_table.seq)).where(_table.task_id == task_id)
    return transaction.execute(query).scalar_one() or 0


def count_answers(transaction: Transaction, task_id: str, *, after: int, until: int) -> int:
    """Count teachers' live answers of a task in a range of ``seq``."""
    query = sa.select(sa.func.count()).where(
        _table.task_id == task_id,
        sql.after(exchanges, after),
        sql.until(exchanges, until),
        _table.source == "teacher",
    )
    return transaction.execute(query).scalar_one()


def next_answer(
    transaction: Transaction,
    task_id: str,
    starts: Iterable[int],
    *,
    until: int,
    first_later: int,
    choose: Callable[[list[int]], int],
) -> FirstAnswer | None:
    """Return an unbiased live answer of a teacher.

    The first one at or after one of ``starts``, up to ``until``, is taken. If there is none, one of
    ``first_later`` answers after it is chosen by its seq.
    """
    mine = (_table.task_id == task_id, _table.source == "teacher", _table.unbiased)
    query = sa.select(*columns(FirstAnswer._fields)).where(*mine)
    inside = query.where(sql.until(exchanges, until)).order_by(_table.seq).limit(1)
    for start in starts:
        row = transaction.execute(inside.where(sql.after(exchanges, start - 1))).one_or_none()
        if row is not None:
            return FirstAnswer._make(row)
    later = sa.select(_table.seq).where(*mine, sql.after(exchanges, until))
    seqs = list(transaction.execute(later.order_by(_table.seq).limit(first_later)).scalars())
    if not seqs:
        return None
    row = transaction.execute(query.where(sql.at(exchanges, choose(seqs)))).one_or_none()
    return None if row is None else FirstAnswer._make(row)
