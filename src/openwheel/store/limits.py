"""Stores how far keys have used up their rate limits, on all machines together."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import sqlalchemy as sa

from openwheel.store import sql
from openwheel.store.schema import key_limits as table
from openwheel.store.store import Store, Transaction

_SECOND: Final = 1_000_000_000
_LIMITS: Final = ("requests", "tokens")


class Used(NamedTuple):
    """What one process counted for a key, in nanoseconds in which as much is given again.

    Attributes:
        age: Nanoseconds since it began to count this.
        requests: Of the allowance of requests.
        tokens: Of the allowance of tokens.
    """

    age: int
    requests: int
    tokens: int


def exchange(store: Store, used: Mapping[int, Used]) -> tuple[float, dict[int, tuple[int, int]]]:
    """Add what a process counted since its last call; return what all have, in one transaction.

    Returns:
        The time by the database's clock, in seconds since 1970; and for each key that has used
        something, the nanoseconds until its allowance of requests is whole again, and that of
        tokens.
    """
    with store.write(alone=False) if used else store.read() as transaction:
        seconds = transaction.execute(sa.select(sql.now())).scalar_one()
        now = int(seconds * _SECOND)
        if used:
            _add(transaction, used, now)
        query = sa.select(table).where((table.c.requests > now) | (table.c.tokens > now))
        rows = transaction.execute(query).all()
    return seconds, {
        row.key: (max(row.requests - now, 0), max(row.tokens - now, 0)) for row in rows
    }


def _add(transaction: Transaction, used: Mapping[int, Used], now: int) -> None:
    # In one order, so that two processes that add to the same rows do not wait for each other.
    rows = [
        {
            "key": key,
            "requests": now - one.age + one.requests,
            "tokens": now - one.age + one.tokens,
            "more_requests": one.requests,
            "more_tokens": one.tokens,
        }
        for key, one in sorted(used.items())
    ]
    added = sql.insert(transaction, table)
    # The later of the two: an allowance that was whole again is used from now on.
    later = {
        name: sql.greater(table.c[name] + sa.bindparam(f"more_{name}"), added.excluded[name])
        for name in _LIMITS
    }
    values: dict[str, sa.BindParameter[int]] = {
        name: sa.bindparam(name) for name in ("key", *_LIMITS)
    }
    transaction.execute(
        added.values(values).on_conflict_do_update(index_elements=["key"], set_=later), rows
    )
