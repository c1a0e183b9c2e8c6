"""Stores the turns taken, the turn under way, and failed turns."""

import time
from typing import NamedTuple, TypeVar

import msgspec
import sqlalchemy as sa

from openwheel.store.schema import turn_starts as starts
from openwheel.store.schema import turns as table
from openwheel.store.store import Transaction

_Body = TypeVar("_Body")

_UNDER_WAY = starts.c.noticed.is_(None)


class FailedTurn(NamedTuple):
    """A turn that failed, altogether or at one task: see `openwheel.loop.turn.failures`."""

    began: float
    noticed: float
    task_id: str | None
    reason: str | None


def add(transaction: Transaction, looked_at: int, events: object, *, seconds: float) -> None:
    """Add a finished turn: it is no longer under way, and failures at no task are cleared."""
    transaction.execute(sa.delete(starts).where(sa.or_(_UNDER_WAY, starts.c.task_id.is_(None))))
    body = msgspec.json.encode(events)
    transaction.execute(
        sa.insert(table).values(looked_at=looked_at, events=body, seconds=seconds, time=time.time())
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


def begin(transaction: Transaction) -> None:
    """Note that a turn begins."""
    transaction.execute(sa.insert(starts).values(time=time.time()))


def set_task(transaction: Transaction, task_id: str | None) -> None:
    """Note which task the turn under way is at."""
    transaction.execute(sa.update(starts).where(_UNDER_WAY).values(task_id=task_id))


def is_under_way(transaction: Transaction) -> bool:
    """Return whether a turn was begun and not ended."""
    return transaction.execute(sa.select(starts.c.id).where(_UNDER_WAY)).first() is not None


def forget(transaction: Transaction) -> None:
    """Forget the turn under way."""
    transaction.execute(sa.delete(starts).where(_UNDER_WAY))


def fail(transaction: Transaction) -> None:
    """Note that the turn under way has failed."""
    transaction.execute(sa.update(starts).where(_UNDER_WAY).values(noticed=time.time()))


def add_failure(transaction: Transaction, task_id: str | None, reason: str) -> None:
    """Add a failure at a task, or at none."""
    now = time.time()
    transaction.execute(
        sa.insert(starts).values(time=now, task_id=task_id, noticed=now, reason=reason)
    )


def forget_failures(transaction: Transaction, task_id: str) -> None:
    """Forget the failures at a task."""
    transaction.execute(
        sa.delete(starts).where(starts.c.task_id == task_id, starts.c.noticed.is_not(None))
    )


def failures(transaction: Transaction) -> list[FailedTurn]:
    """Return the failures that are not forgotten, oldest first."""
    columns = (starts.c.time, starts.c.noticed, starts.c.task_id, starts.c.reason)
    query = sa.select(*columns).where(starts.c.noticed.is_not(None)).order_by(starts.c.id)
    return [FailedTurn._make(row) for row in transaction.execute(query)]
