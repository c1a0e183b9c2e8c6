"""Stores the turns taken, and failed turns."""

from typing import NamedTuple, TypeVar

import msgspec
import sqlalchemy as sa

from openwheel.store import sql
from openwheel.store.schema import turn_starts as starts
from openwheel.store.schema import turns as table
from openwheel.store.store import Transaction

_Body = TypeVar("_Body")


class FailedTurn(NamedTuple):
    """A turn that failed, altogether or at one task: see `openwheel.loop.turn.failures`."""

    noticed: float
    task_id: str | None
    reason: str | None


def add(transaction: Transaction, looked_at: int, events: object, *, seconds: float) -> None:
    """Add a finished turn; failures at no task are cleared."""
    forget_failures(transaction, None)
    body = msgspec.json.encode(events)
    transaction.execute(
        sa.insert(table).values(looked_at=looked_at, events=body, seconds=seconds, time=sql.now())
    )


def read(transaction: Transaction, kind: type[_Body]) -> list[tuple[int, _Body]]:
    """Return the last exchange and the events of each turn, oldest first."""
    rows = transaction.execute(sa.select(table).order_by(table.c.id))
    return [(row.looked_at, msgspec.json.decode(row.events, type=kind)) for row in rows]


def latest(transaction: Transaction, kind: type[_Body], *, limit: int) -> list[tuple[float, _Body]]:
    """Return when the latest turns ended, in seconds since 1970, and their events; newest first."""
    query = sa.select(table.c.time, table.c.events).order_by(table.c.id.desc()).limit(limit)
    rows = transaction.execute(query)
    return [(row.time, msgspec.json.decode(row.events, type=kind)) for row in rows]


def last(transaction: Transaction) -> tuple[int, float] | None:
    """Return the last exchange of the last turn and the turn's end, None if there was no turn."""
    query = sa.select(table.c.looked_at, table.c.time).order_by(table.c.id.desc()).limit(1)
    row = transaction.execute(query).one_or_none()
    return None if row is None else (row.looked_at, row.time)


def add_failure(transaction: Transaction, task_id: str | None, reason: str | None) -> None:
    """Add a failure at a task, or at none; without a reason its process died."""
    now = sql.now()  # learners' clocks may differ, and all of them wait for it
    transaction.execute(
        sa.insert(starts).values(time=now, task_id=task_id, noticed=now, reason=reason)
    )


def forget_failures(transaction: Transaction, task_id: str | None) -> None:
    """Forget the failures at a task, or at none."""
    transaction.execute(
        sa.delete(starts).where(starts.c.task_id == task_id, starts.c.noticed.is_not(None))
    )


def failures(transaction: Transaction) -> list[FailedTurn]:
    """Return the failures that are not forgotten, oldest first."""
    columns = (starts.c.noticed, starts.c.task_id, starts.c.reason)
    query = sa.select(*columns).where(starts.c.noticed.is_not(None)).order_by(starts.c.id)
    return [FailedTurn._make(row) for row in transaction.execute(query)]
