"""Stores when a person stopped all students, and when they could answer again."""

import time
from typing import NamedTuple

import sqlalchemy as sa

from openwheel.store.schema import stops as table
from openwheel.store.store import Transaction


class Stop(NamedTuple):
    """A stop of all students, or with ``stopped`` false its end."""

    stopped: bool
    by: str
    time: float


def add(transaction: Transaction, *, stopped: bool, by: str) -> bool:
    """Stop all students or let them answer again; return whether that was a change."""
    latest = read(transaction, limit=1)
    if (latest[0].stopped if latest else False) == stopped:
        return False
    transaction.execute(sa.insert(table).values(stopped=stopped, by=by, time=time.time()))
    return True


def read(transaction: Transaction, *, limit: int) -> list[Stop]:
    """Return the latest stops and their ends, newest first."""
    columns = [table.c[name] for name in Stop._fields]
    rows = transaction.execute(sa.select(*columns).order_by(table.c.id.desc()).limit(limit))
    return [Stop._make(row) for row in rows]
