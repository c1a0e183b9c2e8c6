"""Stores which alerts were sent where, so that each is sent once, also by several processes."""

import time
from typing import Literal, NamedTuple

import sqlalchemy as sa

from openwheel.store import sql
from openwheel.store.schema import alert_deliveries as table
from openwheel.store.store import Transaction

State = Literal["waiting", "sent", "failed", "old"]


class Delivery(NamedTuple):
    """An alert to one receiver.

    Attributes:
        receiver: Which it is for, by a hash of its address.
        kind, ident: The alert's kind, and what identifies it among those.
        text: What it says.
        happened: When it happened, in seconds since 1970.
        time: When it was last tried.
        state: ``old`` for what happened before the receiver was first known: it is not sent.
        tries: How often it was tried.
        error: Why the last try failed, ``""`` if it did not.
    """

    receiver: str
    kind: str
    ident: str
    text: str
    happened: float
    time: float
    state: State
    tries: int
    error: str


def known(transaction: Transaction, receiver: str) -> set[tuple[str, str]]:
    """Return kind and ident of every alert that was noted for a receiver."""
    query = sa.select(table.c.kind, table.c.ident).where(table.c.receiver == receiver)
    return {(row[0], row[1]) for row in transaction.execute(query)}


def add(transaction: Transaction, delivery: Delivery) -> bool:
    """Note an alert for a receiver; return whether no other process had."""
    added = sql.insert(transaction, table).values(delivery._asdict()).on_conflict_do_nothing()
    return transaction.execute(added).rowcount == 1


def due(transaction: Transaction, *, now: float, wait: float) -> list[Delivery]:
    """Return the alerts that wait to be sent, oldest first.

    Args:
        transaction: One that reads.
        now: Seconds since 1970.
        wait: Seconds after the first try; they double with each.
    """
    query = sa.select(table).where(table.c.state == "waiting").order_by(table.c.happened)
    rows = [Delivery(**row._mapping) for row in transaction.execute(query)]
    return [row for row in rows if not row.tries or now - row.time >= wait * 2 ** (row.tries - 1)]


def claim(transaction: Transaction, delivery: Delivery) -> bool:
    """Take an alert to send it; return whether no other process has taken it since it was read."""
    change = (
        sa.update(table)
        .where(*_is(delivery), table.c.tries == delivery.tries, table.c.state == "waiting")
        .values(tries=delivery.tries + 1, time=time.time())
    )
    return transaction.execute(change).rowcount == 1


def settle(transaction: Transaction, delivery: Delivery, state: State, error: str) -> None:
    """Note what came of a try."""
    transaction.execute(sa.update(table).where(*_is(delivery)).values(state=state, error=error))


def latest(transaction: Transaction, *, limit: int) -> list[Delivery]:
    """Return the latest alerts that were sent, or are to be, newest first."""
    query = (
        sa.select(table)
        .where(table.c.state != "old")
        .order_by(table.c.happened.desc())
        .limit(limit)
    )
    return [Delivery(**row._mapping) for row in transaction.execute(query)]


def _is(delivery: Delivery) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        table.c.receiver == delivery.receiver,
        table.c.kind == delivery.kind,
        table.c.ident == delivery.ident,
    )
