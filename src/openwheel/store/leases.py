"""Stores leases: rights of which one holder at a time has each, until it gives them back.

A lease has a token, which grows by one each time that it is taken: a write that was meant under an
earlier token is told from one under the latest. Whether a lease has ended is decided by the
database's clock alone.
"""

from typing import NamedTuple

import sqlalchemy as sa

from openwheel.store import sql
from openwheel.store.schema import leases as table
from openwheel.store.store import Transaction

_UNFINISHED = sa.and_(table.c.holder == "", table.c.until.is_not(None))


class LeaseRow(NamedTuple):
    """A lease: see the table."""

    name: str
    holder: str
    token: int
    turn: int
    looked_at: int


def acquire(
    transaction: Transaction, name: str, holder: str, *, seconds: float | None, steal: bool = False
) -> int | None:
    """Take a lease that is free; return its token, None if somebody has it.

    One that has ended is free once `free_ended` has told of it.

    Args:
        transaction: A transaction that writes.
        name: The lease.
        holder: Who takes it; not empty.
        seconds: How long it lasts unless it is renewed; None: until it is released.
        steal: Whether to take it from whoever has it.
    """
    added = sql.insert(transaction, table).values(
        name=name, holder="", token=0, turn=0, looked_at=0
    )
    transaction.execute(added.on_conflict_do_nothing(index_elements=["name"]))
    change = sa.update(table).where(table.c.name == name)
    if not steal:
        change = change.where(table.c.holder == "")
    taken = transaction.execute(
        change.values(holder=holder, token=table.c.token + 1, until=_end(seconds)).returning(
            table.c.token
        )
    )
    return taken.scalar_one_or_none()


def renew(transaction: Transaction, name: str, holder: str, token: int, *, seconds: float) -> bool:
    """Have a lease last for so many seconds from now; return whether the holder still has it."""
    change = sa.update(table).where(_is_held(name, holder, token))
    return transaction.execute(change.values(until=_end(seconds))).rowcount == 1


def is_held(transaction: Transaction, name: str, holder: str, token: int) -> bool:
    """Return whether a holder has a lease; if so, nobody takes it before this transaction ends.

    One that has ended and that nobody has taken since is still held.
    """
    query = sa.select(table.c.name).where(_is_held(name, holder, token))
    return transaction.execute(query.with_for_update(read=True)).first() is not None


def release(
    transaction: Transaction,
    name: str,
    holder: str,
    token: int,
    *,
    done: tuple[int, int] | None,
    stopped: bool = False,
) -> None:
    """Give a lease back, unless another has taken it.

    Args:
        transaction: A transaction that writes.
        name: The lease.
        holder: Who has it.
        token: Its token.
        done: The turn in which its work was done, and that turn's newest exchange; None if it was
            not done.
        stopped: Whether the holder was stopped: the work is unfinished.
    """
    values: dict[str, object] = {"holder": "", "until": sql.now() if stopped else None}
    if done is not None:
        values |= {"turn": done[0], "looked_at": done[1]}
    transaction.execute(sa.update(table).where(_is_held(name, holder, token)).values(values))


def release_all(transaction: Transaction, holder: str) -> None:
    """Give back all leases of a holder, who is stopped: the work is unfinished."""
    transaction.execute(
        sa.update(table).where(table.c.holder == holder).values(holder="", until=sql.now())
    )


def unfinished(transaction: Transaction) -> list[str]:
    """Return the leases whose holders were stopped, and that nobody has taken or claimed since."""
    return sorted(transaction.execute(sa.select(table.c.name).where(_UNFINISHED)).scalars())


def claim_unfinished(transaction: Transaction) -> list[str]:
    """Return the leases of `unfinished`, which are then none of them any more."""
    claimed = sa.update(table).where(_UNFINISHED).values(until=None).returning(table.c.name)
    return sorted(transaction.execute(claimed).scalars())


def have_ended(transaction: Transaction, *, everyone: bool = False) -> bool:
    """Return whether there are leases that have ended and were not given back."""
    query = sa.select(table.c.name).where(table.c.holder != "")
    return transaction.execute(query if everyone else query.where(_ended())).first() is not None


def free_ended(
    transaction: Transaction, *, name: str | None = None, everyone: bool = False
) -> list[str]:
    """Free the leases that have ended and were not given back; return their names.

    Args:
        transaction: A transaction that writes.
        name: The only one to look at.
        everyone: Whether all leases that are held have ended.
    """
    change = sa.update(table).where(table.c.holder != "")
    if name is not None:
        change = change.where(table.c.name == name)
    if not everyone:
        change = change.where(_ended())
    freed = transaction.execute(change.values(holder="", until=None).returning(table.c.name))
    return sorted(freed.scalars())


def read(transaction: Transaction) -> dict[str, LeaseRow]:
    """Return all leases that were ever taken, by their names."""
    query = sa.select(*(table.c[name] for name in LeaseRow._fields))
    return {row.name: LeaseRow._make(row) for row in transaction.execute(query)}


def find(transaction: Transaction, name: str) -> LeaseRow | None:
    """Return a lease, None if it was never taken."""
    query = sa.select(*(table.c[name] for name in LeaseRow._fields)).where(table.c.name == name)
    row = transaction.execute(query).one_or_none()
    return None if row is None else LeaseRow._make(row)


def _is_held(name: str, holder: str, token: int) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.name == name, table.c.holder == holder, table.c.token == token)


def _ended() -> sa.ColumnElement[bool]:
    return table.c.until < sql.now()


def _end(seconds: float | None) -> sa.ColumnElement[float] | None:
    return None if seconds is None else sql.now() + seconds
