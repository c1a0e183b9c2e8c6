"""Copies a store to another, of the same or of another database, and compares the two."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec
import sqlalchemy as sa

from openwheel.errors import StoreError
from openwheel.progress import Progress, Step, each, silent
from openwheel.store import sql
from openwheel.store.exchanges import delete_exchanges, newest_seq
from openwheel.store.schema import (
    ORDERED,
    copies,
    exchanges,
    feedback,
    leases,
    metadata,
    student_blobs,
    student_chunks,
)
from openwheel.store.store import Store, Transaction

_BATCH = 2_000
_PLACES = tuple(column.name for column in exchanges.columns)
_COLUMNS = [
    sql.request_body().label(name) if name == "request" else exchanges.c[name] for name in _PLACES
]
_LATER = ("unbiased", "task_id", "settings", "inputs")
"""What of an exchange may change after it was stored."""

_APART = {table.name for table in (exchanges, copies, student_blobs, student_chunks)}
"""Exchanges go in batches; the files of students are the caller's to copy."""

_KEPT = [table for table in metadata.sorted_tables if table.name not in _APART]
_encode = msgspec.msgpack.Encoder().encode


class Copied(msgspec.Struct, frozen=True):
    """What a copy holds.

    Attributes:
        exchanges: How many exchanges there are now.
        added: How many of them this call copied.
        until: The ``seq`` of the last one.
        later: How many have come to the first store since; they are not in the copy.
        changed: The other tables of the first store that were changed since.
    """

    exchanges: int
    added: int
    until: int
    later: int
    changed: tuple[str, ...]


def copy_store(source: Store, target: Store, *, progress: Progress = silent) -> Copied:
    """Make a store a copy of another: all rows, with their numbers and in their order.

    A call that was killed is continued by the next one. So is one that ended, as long as nothing
    else was written to the copy: it then catches up, also with exchanges that were assigned or
    deleted since. What the copy holds is one state of the source, and is compared with it.

    Others may write to the source meanwhile. What they write after the state that was copied is
    told in the result.

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
        _compare_exchanges(reading, target, progress, mend=True)
        progress("copying tasks, students and the rest")
        _replace(reading, target, place=str(source), numbers=source.database.numbers(reading))
        kept = _compare_kept(reading, target)
        until = newest_seq(reading)
    count = target.count()
    with source.read() as reading:
        changed = tuple(table.name for table in _KEPT if _hash(reading, table) != kept[table.name])
    later = source.last_seq() - until
    return Copied(count, _count_after(target, began), until, later, changed)


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
        _compare_exchanges(reading, target, progress, mend=False)
        _compare_kept(reading, target)
        return int(reading.execute(sa.select(sa.func.count()).select_from(exchanges)).scalar_one())


def _require_copy(source: Store, target: Store) -> None:
    """Raise `StoreError` unless the target is empty, or a copy that nobody else has written to."""
    with target.read() as transaction:
        _require_unused(transaction, target)
        last = newest_seq(transaction)
        latest = _identity(transaction, last)
    with source.read() as transaction:
        if latest is not None and _identity(transaction, last) != latest:
            raise StoreError(
                f"{target} holds exchanges that {source} does not have, the last one {latest!r}; a "
                "copy needs an empty store"
            )


def _require_unused(transaction: Transaction, target: Store) -> None:
    """Raise `StoreError` if anybody else has written to a copy, or if it is another store."""
    done = transaction.execute(sa.select(copies.c.digest)).scalar_one_or_none()
    kept = {table.name for table in _KEPT if _has_rows(transaction, table)}
    if kept and (done is None or done != _digest(transaction)):
        raise StoreError(
            f"{target} holds data of its own, in the table {min(kept)}; a copy needs an empty "
            "store, or one that was not used since it was copied"
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
        _require_unused(writing, target)
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
    """Return the query of a table's rows, in their order where that counts."""
    # Whoever holds a lease holds none of the copy.
    free = {leases.c.holder: sa.literal(""), leases.c.until: sa.null()}
    columns = [
        free[column].label(column.name) if column in free else column for column in table.columns
    ]
    query = sa.select(*columns).select_from(table).execution_options(yield_per=_BATCH)
    return query.order_by(sql.AS_THEY_CAME) if table.name in ORDERED else query


def _digest(transaction: Transaction) -> str:
    """Return a hash of all rows but the exchanges."""
    parts = [f"{table.name} {_hash(transaction, table)}" for table in _KEPT]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _hash(transaction: Transaction, table: sa.Table) -> str:
    """Return how many rows a table has, and a hash of them; of their order where it counts."""
    # A sum, since two databases sort texts differently.
    total = count = 0
    for row in transaction.execute(_ordered(table)):
        place = count if table.name in ORDERED else 0
        digest = hashlib.sha256(_encode((place, *row))).digest()
        total = (total + int.from_bytes(digest, "big")) % (1 << 256)
        count += 1
    return f"{count} {total:064x}"


def _compare_kept(reading: Transaction, target: Store) -> dict[str, str]:
    """Compare all tables but the exchanges; return the hash of each by its name."""
    hashes = {}
    with target.read() as other:
        for table in _KEPT:
            have, has = _hash(reading, table), _hash(other, table)
            if have != has:
                raise _difference(table, target, f"it has {_said(has)} and not {_said(have)}")
            hashes[table.name] = have
    return hashes


def _compare_exchanges(
    reading: Transaction, target: Store, progress: Progress, *, mend: bool
) -> None:
    """Compare all exchanges, and all that is stored of each.

    Args:
        reading: Of the store that was copied.
        target: The copy.
        progress: Is told.
        mend: Whether to have the copy follow what was changed since an earlier call copied it.
    """
    after, ends = 0, False
    with Step(progress, "comparing", newest_seq(reading), "exchanges") as step:
        while not ends:
            page = list(islice(_page(reading, after, most=_BATCH), _BATCH))
            ends = len(page) < _BATCH
            until = None if ends else int(page[-1][0])
            have = {row[0]: tuple(row) for row in page}
            has = _between(target, after, until)
            if has != have and mend:
                _mend(target, have, has)
                has = _between(target, after, until)
            if has != have:
                seq = next(seq for seq in sorted(have | has) if has.get(seq) != have.get(seq))
                what = _differing(have.get(seq), has.get(seq))
                raise _difference(exchanges, target, f"the exchange with seq {seq} {what}")
            after = until or after
            step(after)


def _between(store: Store, after: int, until: int | None) -> dict[int, tuple[Any, ...]]:
    """Return the rows after one and up to another, or all after it, by their ``seq``."""
    query = sa.select(*_COLUMNS).where(sql.after(exchanges, after)).order_by(exchanges.c.seq)
    if until is not None:
        query = query.where(sql.until(exchanges, until))
    with store.read() as transaction:
        return {row[0]: tuple(row) for row in transaction.execute(query)}


def _mend(
    target: Store, have: Mapping[int, tuple[Any, ...]], has: Mapping[int, tuple[Any, ...]]
) -> None:
    """Delete and change rows of a copy as those it was made from were."""
    gone = [seq for seq in has if seq not in have]
    at = {name: _PLACES.index(name) for name in _LATER}
    changed = [
        {"_seq": seq, **{f"_{name}": row[place] for name, place in at.items()}}
        for seq, row in have.items()
        if seq in has and has[seq] != row
    ]
    with target.write() as writing:
        if changed:
            update = (
                sa.update(exchanges)
                .where(exchanges.c.seq == sa.bindparam("_seq"))
                .where(sql.after(exchanges, changed[0]["_seq"] - 1))
                .where(sql.until(exchanges, changed[-1]["_seq"]))
            )
            values: dict[str, Any] = {name: sa.bindparam(f"_{name}") for name in _LATER}
            writing.execute(update.values(values), changed)
        if gone:
            judged = sa.select(feedback.c.seq).where(feedback.c.seq.in_(gone)).limit(1)
            on_them = writing.execute(judged).first() is not None
            delete_exchanges(writing, gone)
            if on_them:  # their feedback went too, by this call and nobody else
                writing.execute(sa.update(copies).values(digest=_digest(writing)))


def _differing(have: Sequence[Any] | None, has: Sequence[Any] | None) -> str:
    if have is None:
        return "is no longer there"
    if has is None:
        return "is missing"
    names = [name for name, one, other in zip(_PLACES, have, has, strict=True) if one != other]
    return f"differs in {', '.join(names)}"


def _difference(table: sa.Table, target: Store, what: str) -> StoreError:
    return StoreError(
        f"The table {table.name} of {target} is not that of the store it was copied from: {what}. "
        "Copy to an empty store"
    )


def _said(counted: str) -> str:
    count, _, digest = counted.partition(" ")
    return f"{int(count):,} rows of hash {digest[:12]}"
