"""Copies a store to another, of the same or of another database, and compares the two."""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec
import sqlalchemy as sa

from openwheel.errors import StoreError
from openwheel.progress import Progress, each, silent
from openwheel.store import sql
from openwheel.store.exchanges import newest_seq
from openwheel.store.schema import ORDERED, copies, exchanges, metadata
from openwheel.store.store import Store, Transaction

_BATCH = 2_000
_PLACES = tuple(column.name for column in exchanges.columns)
_COLUMNS = [
    sql.request_body().label(name) if name == "request" else exchanges.c[name] for name in _PLACES
]
_KEPT = [table for table in metadata.sorted_tables if table not in {exchanges, copies}]
_encode = msgspec.msgpack.Encoder().encode


class Copied(msgspec.Struct, frozen=True):
    """What a copy holds.

    Attributes:
        exchanges: How many exchanges there are now.
        added: How many of them this call copied.
        until: The ``seq`` of the last one.
        later: How many have come to the first store since; they are not in the copy.
    """

    exchanges: int
    added: int
    until: int
    later: int


def copy_store(source: Store, target: Store, *, progress: Progress = silent) -> Copied:
    """Make a store a copy of another: all rows, with their numbers and in their order.

    A call that was killed is continued by the next one. So is one that ended, as long as nothing
    else was written to the copy: it then catches up. What the copy holds is one state of the
    source, and is compared with it at the end.

    The caller keeps learners from the source. Gateways may go on; what they store after the state
    that was copied is counted in the result.

    Raises:
        StoreError: The target holds other data, a store cannot be read or written, or the two
            differ at the end; the message names the table. The source is never changed.
    """
    _require_copy(source, target)
    began, last = target.last_seq(), source.last_seq()
    rows = each(
        progress, "copying", _exchanges(source, began, last), "exchanges", total=last - began
    )
    _put(target, rows)
    # From here on all is one state of the source.
    with source.read() as reading:
        _put(target, _page(reading, target.last_seq()))
        progress("copying tasks, students and the rest")
        _replace(reading, target, place=str(source), numbers=source.database.numbers(reading))
        _compare(reading, target, progress)
        until = newest_seq(reading)
    count = target.count()
    return Copied(count, _count_after(target, began), until, source.last_seq() - until)


def _count_after(store: Store, after: int) -> int:
    """Return how many exchanges a store has after one."""
    query = sa.select(sa.func.count()).select_from(exchanges).where(sql.after(exchanges, after))
    with store.read() as transaction:
        return int(transaction.execute(query).scalar_one())


def compare(source: Store, target: Store, *, progress: Progress = silent) -> int:
    """Compare two stores, and return how many exchanges they have.

    Raises:
        StoreError: They differ; the message names the table, and what both have of it.
    """
    with source.read() as reading:
        _compare(reading, target, progress)
    return source.count()


def _require_copy(source: Store, target: Store) -> None:
    """Raise `StoreError` unless the target is empty, or a copy that nobody else has written to."""
    with target.read() as transaction:
        last = newest_seq(transaction)
        done = transaction.execute(sa.select(copies.c.digest)).scalar_one_or_none()
        kept = {table.name for table in _KEPT if _has_rows(transaction, table)}
        if kept and (done is None or done != _digest(transaction)):
            raise StoreError(
                f"{target} holds data of its own, in the table {min(kept)}; a copy needs an empty "
                "store, or one that was not used since it was copied"
            )
        latest = _identity(transaction, last)
    with source.read() as transaction:
        if latest is not None and _identity(transaction, last) != latest:
            raise StoreError(
                f"{target} holds exchanges that {source} does not have, the last one {latest!r}; a "
                "copy needs an empty store"
            )


def _has_rows(transaction: Transaction, table: sa.Table) -> bool:
    return (
        transaction.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first()
        is not None
    )


def _identity(transaction: Transaction, seq: int) -> str | None:
    query = sa.select(exchanges.c.id).where(sql.at(exchanges, seq))
    return transaction.execute(query).scalar_one_or_none()


def _exchanges(store: Store, after: int, last: int) -> Iterator[Sequence[Any]]:
    """Yield exchanges as rows of all columns, without holding a transaction open."""
    while after < last:
        with store.read() as transaction:
            page = list(islice(_page(transaction, after, most=_BATCH), _BATCH))
        if not page:
            return
        yield from page
        after = page[-1][0]


def _page(transaction: Transaction, after: int, most: int | None = None) -> Iterator[Sequence[Any]]:
    """Yield a transaction's exchanges after one as rows of all columns, in order."""
    query = sa.select(*_COLUMNS).order_by(exchanges.c.seq).limit(most or _BATCH)
    while True:
        page = transaction.execute(query.where(sql.after(exchanges, after))).all()
        yield from page
        if most is not None or len(page) < _BATCH:
            return
        after = page[-1][0]


def _put(target: Store, rows: Iterator[Sequence[Any]]) -> None:
    while batch := [tuple(row) for row in islice(rows, _BATCH)]:
        with target.database.errors():
            target.database.restore(_PLACES, batch)


def _replace(reading: Transaction, target: Store, *, place: str, numbers: dict[str, int]) -> None:
    """Put the rows of all other tables in place of those there, in one transaction."""
    with target.write() as writing:
        for table in reversed(_KEPT):
            writing.execute(sa.delete(table))
        for table in _KEPT:
            rows = reading.execute(_ordered(table))
            while batch := rows.fetchmany(_BATCH):
                writing.execute(sa.insert(table), [dict(row._mapping) for row in batch])
        target.database.set_numbers(writing, numbers)
        writing.execute(sa.delete(copies))
        writing.execute(sa.insert(copies).values(id=1, place=place, digest=_digest(writing)))


def _ordered(table: sa.Table) -> sa.Select[Any]:
    query = sa.select(*table.columns).execution_options(yield_per=_BATCH)
    return query.order_by(sql.AS_THEY_CAME) if table.name in ORDERED else query


def _digest(transaction: Transaction) -> str:
    """Return a hash of all rows but the exchanges."""
    parts = [f"{table.name} {_hash(transaction, table)}" for table in _KEPT]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _hash(transaction: Transaction, table: sa.Table) -> str:
    """Return how many rows a table has, and a hash of them; of their order where it counts."""
    rows = transaction.execute(_ordered(table))
    return _hash_of(enumerate(rows) if table.name in ORDERED else ((0, row) for row in rows))


def _hash_of(rows: Iterator[tuple[int, Sequence[Any]]] | enumerate[Any]) -> str:
    # A sum, since two databases sort texts differently.
    total = count = 0
    for number, row in rows:
        digest = hashlib.sha256(_encode((number, *row))).digest()
        total = (total + int.from_bytes(digest, "big")) % (1 << 256)
        count += 1
    return f"{count} {total:064x}"


def _compare(reading: Transaction, target: Store, progress: Progress) -> None:
    with target.read() as other:
        total = target.count()
        for table in (exchanges, *_KEPT):
            if table is exchanges:
                rows = each(progress, "comparing", _page(reading, 0), "exchanges", total=total)
                have = _hash_of((0, row) for row in rows)
                rows = each(progress, "comparing", _page(other, 0), "exchanges", total=total)
                has = _hash_of((0, row) for row in rows)
            else:
                have, has = _hash(reading, table), _hash(other, table)
            if have != has:
                raise StoreError(
                    f"The table {table.name} of {target} is not that of the store it was copied "
                    f"from: {_said(has)} where there are {_said(have)}. Keep learners from both, "
                    "and copy to an empty store"
                )


def _said(counted: str) -> str:
    count, _, digest = counted.partition(" ")
    return f"{int(count):,} rows of hash {digest[:12]}"
