"""Stores keys by their hashes, and their spending."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import sqlalchemy as sa

from openwheel.store import sql
from openwheel.store.schema import api_keys as table
from openwheel.store.schema import key_spending, once_keyed
from openwheel.store.store import Transaction

_UNREVOKED = table.c.revoked.is_(None)


class StoredKey(NamedTuple):
    """A key; ``scope`` and ``limits`` are JSON."""

    id: int
    name: str
    hash: bytes
    hint: str
    created: float
    expires: float | None
    revoked: float | None
    scope: str
    limits: str


_KEYS = sa.select(*(table.c[name] for name in StoredKey._fields))


def read(transaction: Transaction) -> list[StoredKey]:
    """Return all keys that were ever added, oldest first."""
    return [StoredKey._make(row) for row in transaction.execute(_KEYS.order_by(table.c.id))]


def find(transaction: Transaction, key: int) -> StoredKey:
    """Return a key by its id."""
    return StoredKey._make(transaction.execute(_KEYS.where(table.c.id == key)).one())


def find_unrevoked(transaction: Transaction, which: str | int) -> StoredKey | None:
    """Return a key that is not revoked, by its name or its id; None if there is none."""
    column: sa.Column[str] | sa.Column[int] = table.c.name if isinstance(which, str) else table.c.id
    row = transaction.execute(_KEYS.where(column == which, _UNREVOKED)).one_or_none()
    return None if row is None else StoredKey._make(row)


def unrevoked_names(transaction: Transaction) -> list[str]:
    """Return the names of all keys that are not revoked."""
    return list(transaction.execute(sa.select(table.c.name).where(_UNREVOKED)).scalars())


def revoke_expired(transaction: Transaction, name: str, now: float) -> None:
    """Revoke the key of a name if it has expired, as of its expiry."""
    transaction.execute(
        sa.update(table)
        .where(table.c.name == name, _UNREVOKED, table.c.expires <= now)
        .values(revoked=table.c.expires)
    )


def add(
    transaction: Transaction,
    *,
    name: str,
    digest: bytes,
    hint: str,
    created: float,
    expires: float | None,
    scope: str,
    limits: str,
) -> int:
    """Add a key, and return its id. That there was one stays known, also if it is deleted."""
    once = sql.insert(transaction, once_keyed).values(id=1, time=created)
    transaction.execute(once.on_conflict_do_nothing(index_elements=["id"]))
    added = transaction.execute(
        sa.insert(table)
        .values(
            name=name,
            hash=digest,
            hint=hint,
            created=created,
            expires=expires,
            scope=scope,
            limits=limits,
        )
        .returning(table.c.id)
    )
    return int(added.scalar_one())


def were(transaction: Transaction) -> bool:
    """Return whether there ever was a key."""
    known = (sa.select(sa.literal(1)).select_from(one).limit(1) for one in (once_keyed, table))
    return any(transaction.execute(query).first() is not None for query in known)


def revoke(transaction: Transaction, key: int, now: float) -> None:
    """Revoke a key."""
    transaction.execute(sa.update(table).where(table.c.id == key).values(revoked=now))


def set_limits(transaction: Transaction, key: int, limits: str) -> None:
    """Replace a key's limits."""
    transaction.execute(sa.update(table).where(table.c.id == key).values(limits=limits))


def set_scope(transaction: Transaction, key: int, scope: str) -> None:
    """Replace a key's scope."""
    transaction.execute(sa.update(table).where(table.c.id == key).values(scope=scope))


def version(transaction: Transaction) -> tuple[int, ...]:
    """Return a version that changes when a key is added or revoked, or its limits change length."""
    query = sa.select(
        sa.func.coalesce(sa.func.max(table.c.id), 0),
        sa.func.count(),
        sa.func.count(table.c.revoked),
        sa.func.coalesce(sa.func.sum(table.c.id * sa.func.length(table.c.limits)), 0),
    ).select_from(table)
    return tuple(transaction.execute(query).one())


def read_spent(
    transaction: Transaction, periods: Collection[str]
) -> dict[tuple[str, int], tuple[int, int]]:
    """Return the spending of keys in tokens and millionths of a dollar, by period and key."""
    query = sa.select(key_spending).where(key_spending.c.period.in_(periods))
    return {
        (row.period, row.key): (row.tokens, row.micro_dollars) for row in transaction.execute(query)
    }


def add_spent(transaction: Transaction, spent: Mapping[tuple[str, int], tuple[int, int]]) -> None:
    """Add to the spending of keys."""
    # In one order, so that two processes that add to the same rows do not wait for each other.
    rows = [
        {"period": period, "key": key, "tokens": tokens, "micro_dollars": micro_dollars}
        for (period, key), (tokens, micro_dollars) in sorted(spent.items())
    ]
    if not rows:
        return
    added = sql.insert(transaction, key_spending)
    more = {
        name: key_spending.c[name] + added.excluded[name] for name in ("tokens", "micro_dollars")
    }
    transaction.execute(
        added.on_conflict_do_update(index_elements=["period", "key"], set_=more), rows
    )
