"""Stores students, each with its state."""

import time
from typing import TypeVar

import msgspec
import sqlalchemy as sa

from openwheel.store import sql
from openwheel.store.schema import feedback
from openwheel.store.schema import students as table
from openwheel.store.store import Transaction

_Body = TypeVar("_Body")


def add(
    transaction: Transaction,
    student_id: str,
    task_id: str,
    *,
    rung: str,
    state: str,
    body: msgspec.Struct,
) -> None:
    """Add a student."""
    # Feedback that it may have been trained on has an earlier time, even if a clock was ahead.
    newest = transaction.execute(sa.select(sa.func.max(feedback.c.first))).scalar_one() or 0.0
    transaction.execute(
        sa.insert(table).values(
            id=student_id,
            task_id=task_id,
            rung=rung,
            state=state,
            candidate=msgspec.json.encode(body),
            created=max(time.time(), newest),
        )
    )


def read(
    transaction: Transaction,
    kind: type[_Body],
    *,
    task_id: str | None = None,
    state: str | None = None,
) -> list[tuple[_Body, str, float]]:
    """Return students with their states and times of creation, oldest first."""
    query = sa.select(table).order_by(sql.AS_THEY_CAME)
    if task_id is not None:
        query = query.where(table.c.task_id == task_id)
    if state is not None:
        query = query.where(table.c.state == state)
    return [
        (msgspec.json.decode(row.candidate, type=kind), row.state, row.created)
        for row in transaction.execute(query)
    ]


def find(transaction: Transaction, kind: type[_Body], student_id: str) -> _Body:
    """Return one student."""
    query = sa.select(table.c.candidate).where(table.c.id == student_id)
    return msgspec.json.decode(transaction.execute(query).scalar_one(), type=kind)


def state_of(transaction: Transaction, student_id: str) -> str:
    """Return a student's state."""
    query = sa.select(table.c.state).where(table.c.id == student_id)
    return str(transaction.execute(query).scalar_one())


def put(transaction: Transaction, student_id: str, body: msgspec.Struct) -> None:
    """Replace a student's record."""
    transaction.execute(
        sa.update(table).where(table.c.id == student_id).values(candidate=msgspec.json.encode(body))
    )


def set_state(transaction: Transaction, student_id: str, state: str) -> None:
    """Set a student's state."""
    transaction.execute(sa.update(table).where(table.c.id == student_id).values(state=state))


def move(transaction: Transaction, task_id: str, before: str, after: str) -> None:
    """Change the state of all students of a task that are in one state."""
    transaction.execute(
        sa.update(table)
        .where(table.c.task_id == task_id, table.c.state == before)
        .values(state=after)
    )


def delete(transaction: Transaction, student_id: str) -> None:
    """Delete a student."""
    transaction.execute(sa.delete(table).where(table.c.id == student_id))
