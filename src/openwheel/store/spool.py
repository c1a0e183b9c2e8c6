"""Stores what an edge has still to send upstream, within a number of bytes.

Exchanges wait in their own table. Requests that the upstream has still to be asked wait in another.
"""

import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

import msgspec
import sqlalchemy as sa

from openwheel.store import sql, sqlite
from openwheel.store.exchange import BY_STUDENTS, Exchange
from openwheel.store.exchanges import EXCHANGE_COLUMNS, WRITTEN, exchange_of, values_of
from openwheel.store.schema import edge_notes, edge_queue, exchanges
from openwheel.store.store import Store, Transaction

_Note = TypeVar("_Note")

_BY_STUDENT = exchanges.c.source.in_(sorted(BY_STUDENTS))


class WaitingRow(NamedTuple):
    """A request that is still to be asked upstream; ``body`` is a struct as JSON."""

    id: int
    exchange: str
    promised: bool
    body: bytes


class Deleted(NamedTuple):
    """How many rows were deleted to make room.

    Attributes:
        student: Answers of students, of which none was picked by the coin.
        teacher: Answers of the teacher, likewise.
        audits: What the coin had picked: answers of the teacher, and requests still to be asked.
    """

    student: int = 0
    teacher: int = 0
    audits: int = 0


def put_note(transaction: Transaction, name: str, note: msgspec.Struct) -> None:
    """Keep a note under a name, in place of the one before."""
    insert = sql.insert(transaction, edge_notes).values(name=name, note=msgspec.json.encode(note))
    transaction.execute(
        insert.on_conflict_do_update(index_elements=["name"], set_={"note": insert.excluded.note})
    )


def find_note(transaction: Transaction, name: str, kind: type[_Note]) -> _Note | None:
    """Return the note of a name, None if there is none."""
    query = sa.select(edge_notes.c.note).where(edge_notes.c.name == name)
    body = transaction.execute(query).scalar_one_or_none()
    return None if body is None else msgspec.json.decode(body, type=kind)


def add_waiting(
    transaction: Transaction, exchange: str, body: msgspec.Struct, *, promised: bool
) -> bool:
    """Add a request that is still to be asked; return whether its exchange was not there yet."""
    encoded = msgspec.json.encode(body)
    insert = sql.insert(transaction, edge_queue).values(
        exchange=exchange,
        promised=promised,
        time=time.time(),
        size=len(encoded),
        body=encoded,
    )
    return transaction.execute(insert.on_conflict_do_nothing()).rowcount == 1


def waiting(transaction: Transaction, *, after: int = 0, limit: int) -> list[WaitingRow]:
    """Return requests that are still to be asked, in the order in which they came."""
    columns = (edge_queue.c[name] for name in WaitingRow._fields)
    query = sa.select(*columns).where(edge_queue.c.id > after)
    rows = transaction.execute(query.order_by(edge_queue.c.id).limit(limit))
    return [WaitingRow._make(row) for row in rows]


def count_waiting(transaction: Transaction) -> tuple[int, int]:
    """Return how many requests are still to be asked, and their bytes."""
    query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(edge_queue.c.size), 0))
    number, size = transaction.execute(query).one()
    return int(number), int(size)


def promised_bytes(transaction: Transaction) -> int:
    """Return the bytes of the requests that clients were told will be sent."""
    query = sa.select(sa.func.coalesce(sa.func.sum(edge_queue.c.size), 0))
    return int(transaction.execute(query.where(edge_queue.c.promised)).scalar_one())


def settle(transaction: Transaction, row: int, made: Iterable[Exchange] = ()) -> None:
    """Delete a request that was asked, and keep the exchanges that came of it."""
    transaction.execute(sa.delete(edge_queue).where(edge_queue.c.id == row))
    if rows := [values_of(exchange) for exchange in made]:
        sqlite.insert_many(transaction, exchanges, WRITTEN, rows)


def unsent(transaction: Transaction, *, limit: int) -> list[tuple[int, Exchange]]:
    """Return the oldest exchanges, each with its ``seq``."""
    query = sa.select(*EXCHANGE_COLUMNS).order_by(exchanges.c.seq).limit(limit)
    return [(row[0], exchange_of(row)) for row in transaction.execute(query)]


def delete_sent(transaction: Transaction, seqs: Sequence[int]) -> None:
    """Delete exchanges that the upstream has."""
    transaction.execute(sa.delete(exchanges).where(exchanges.c.seq.in_(seqs)))


def used_bytes(transaction: Transaction) -> int:
    """Return how many bytes of the file are in use."""
    return sqlite.used_bytes(transaction)


def disk_bytes(store: Store) -> int:
    """Return how many bytes the store takes on the disk, with the files beside it."""
    return sqlite.disk_bytes(store.path)


def empty_wal(store: Store, *, past: int) -> None:
    """Cut the file beside the store that holds the latest writes, if it is longer than that."""
    sqlite.empty_wal(store.engine, store.path, past=past)


def make_room(transaction: Transaction, *, most: int, batch: int) -> Deleted | None:
    """Delete rows until at most so many bytes of the file are in use.

    First the oldest answers of students that no coin picked, then those of the teacher. What the
    coin picked comes last, by its age alone: whatever the answers are, all are deleted alike.

    Returns:
        How many were deleted; None if there is still no room, and nothing more may be deleted.
    """
    plain = sa.not_(exchanges.c.unbiased)
    student = teacher = audits = 0
    while sqlite.used_bytes(transaction) > most:
        if gone := _delete_oldest(transaction, _BY_STUDENT, batch):
            student += gone
        elif gone := _delete_oldest(transaction, plain, batch):
            teacher += gone
        elif gone := _delete_oldest_picked(transaction, batch):
            audits += gone
        else:
            return None
    return Deleted(student, teacher, audits)


def _delete_oldest(transaction: Transaction, which: sa.ColumnElement[bool], batch: int) -> int:
    oldest = sa.select(exchanges.c.seq).where(which).order_by(exchanges.c.seq).limit(batch)
    return transaction.execute(sa.delete(exchanges).where(exchanges.c.seq.in_(oldest))).rowcount


def _delete_oldest_picked(transaction: Transaction, batch: int) -> int:
    """Delete the oldest of what the coin picked: answers, or requests that are still to be asked.

    The ids of exchanges sort by the time at which they were made.
    """
    first = transaction.execute(
        sa.select(exchanges.c.id).order_by(exchanges.c.seq).limit(1)
    ).scalar_one_or_none()
    unpromised = sa.not_(edge_queue.c.promised)
    queued = transaction.execute(
        sa.select(edge_queue.c.exchange).where(unpromised).order_by(edge_queue.c.id).limit(1)
    ).scalar_one_or_none()
    if queued is not None and (first is None or queued < first):
        oldest = sa.select(edge_queue.c.id).where(unpromised).order_by(edge_queue.c.id).limit(batch)
        return transaction.execute(
            sa.delete(edge_queue).where(edge_queue.c.id.in_(oldest))
        ).rowcount
    return _delete_oldest(transaction, sa.true(), batch)
