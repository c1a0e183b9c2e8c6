"""Opens the store: one file, its transactions, and its exchanges in order of arrival."""

import random
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa

from openwheel.errors import StoreError, UnstorableError
from openwheel.store.exchange import Exchange
from openwheel.store.exchanges import (
    EXCHANGE_COLUMNS,
    TASK_ROW_COLUMNS,
    TaskRow,
    exchange_of,
    insert_rows,
    newest_seq,
    values_of,
)
from openwheel.store.schema import MIGRATIONS, metadata
from openwheel.store.schema import exchanges as table
from openwheel.store.sqlite import (
    Changes,
    file_identity,
    make_engine,
    make_private,
    prepare,
    store_errors,
    write_options,
)

Transaction = sa.Connection
"""What `Store.read` and `Store.write` give, and the functions of this package take."""

_ASSIGN_BATCH = 5_000
_PAUSE_SECONDS = 0.005
_MAX_VARIABLES = 500
_LATEST = 20_000

_ASSIGN = (
    sa.update(table)
    .where(table.c.seq == sa.bindparam("_seq"))
    .values(
        task_id=sa.bindparam("_task_id"),
        inputs=sa.bindparam("_inputs"),
        settings=sa.bindparam("_settings"),
    )
)


class Store:
    """One file with all data, shared by any number of threads and processes.

    Every exchange has a ``seq``, which grows in the order of commits: a reader that asks for all
    exchanges after the last ``seq`` it read misses none. Made by `Store.open`.

    All methods raise `StoreError` when the file cannot be read or written; a write that fails
    leaves no part of its transaction behind.

    Attributes:
        path: The file; for this package, and for tests.
        engine: For this package alone.
    """

    def __init__(self, path: Path, engine: sa.Engine) -> None:
        self.path = path
        self.engine = engine
        self._writing = threading.Lock()
        self._file = file_identity(path)
        self._changes = Changes(engine)

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        create: bool = True,
        read_only: bool = False,
        busy_seconds: float = 30.0,
    ) -> Self:
        """Open the store at ``path``, making it first if need be and ``create`` allows it.

        Args:
            create: Whether to make it if there is none.
            read_only: Whether to refuse every write; nothing is made or brought up to date.
            busy_seconds: How long a write waits for those of other processes before it fails.

        Raises:
            StoreError: There is no such store, or the file cannot be used as one.
        """
        path = Path(path)
        if path.is_dir():
            raise StoreError(f"{path} is a folder; a traffic store is a file")
        if not path.exists():
            if not create or read_only:
                raise StoreError(f"There is no traffic store at {path}")
            if not path.absolute().parent.is_dir():
                raise StoreError(f"{path} cannot be made: there is no folder {path.parent}")
            make_private(path)
        engine = make_engine(path, busy_seconds=busy_seconds, read_only=read_only)
        try:
            prepare(
                engine,
                path,
                metadata,
                MIGRATIONS,
                busy_seconds=busy_seconds,
                read_only=read_only,
            )
        except BaseException:
            engine.dispose()
            raise
        return cls(path, engine)

    def __str__(self) -> str:
        """Return the store's place, for messages."""
        return str(self.path)

    def beside(self, suffix: str = "", *, prefix: str = "") -> Path:
        """Return a path beside the store's file, named after it."""
        return self.path.with_name(f"{prefix}{self.path.name}{suffix}")

    def close(self) -> None:
        """Close all connections; the store can then no longer be used."""
        self._changes.close()
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """Yield a transaction that holds the write lock and commits at the end.

        Keep it short: one write at a time is allowed.
        """
        self._require_in_place()
        with (
            store_errors(self.path),
            self._writing,
            self.engine.connect().execution_options(**write_options()) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Yield a transaction that sees the store as it is now; it never waits for writers."""
        self._require_in_place()
        with store_errors(self.path), self.engine.connect() as connection, connection.begin():
            yield connection

    def changed(self) -> int:
        """Return a number that differs once another connection or process has written.

        For one thread at a time.
        """
        self._require_in_place()
        with store_errors(self.path):
            return self._changes.number()

    def _require_in_place(self) -> None:
        """Refuse to go on with a file that was deleted or replaced, since its data would be lost.

        Raises:
            StoreError: The file at the path is not the one that was opened.
        """
        status = file_identity(self.path)
        if status is None:
            raise StoreError(
                f"{self.path} is gone, though it is in use; put it back, or restart Openwheel"
            )
        if status != self._file:
            raise StoreError(
                f"{self.path} was replaced by another file while it was in use; restart Openwheel"
            )

    def append(self, exchanges: Sequence[Exchange]) -> int:
        """Store exchanges whose id is new, in one transaction; return how many those were.

        Raises:
            UnstorableError: A value is one that it cannot hold.
            StoreError: The file could not be written; none is stored.
        """
        if not exchanges:
            return 0
        try:
            rows = [values_of(exchange) for exchange in exchanges]
            with self.write() as connection:
                return insert_rows(connection, rows)
        except (UnicodeEncodeError, OverflowError) as error:
            raise UnstorableError(
                f"{self.path} cannot hold a value of these exchanges: {error}"
            ) from None

    def vouch(self, ids: Sequence[str], *, after: int = 0) -> int:
        """Mark exchanges of logs as in order of arrival, so that they calibrate; return how many.

        Those up to ``after`` are left: exchanges in a verdict stay as they were then.
        """
        vouched = 0
        with self.write() as connection:
            for start in range(0, len(ids), _MAX_VARIABLES):
                vouched += connection.execute(
                    sa.update(table)
                    .where(table.c.id.in_(ids[start : start + _MAX_VARIABLES]))
                    .where(table.c.source == "log", table.c.seq > after, ~table.c.unbiased)
                    .values(unbiased=True)
                ).rowcount
        return vouched

    def has_same(self, exchange: Exchange, *, within: float) -> bool:
        """Return whether the same request by the same key was answered shortly before.

        Args:
            exchange: The exchange to compare with; its id does not count.
            within: How many seconds before it.
        """
        latest = sa.select(sa.func.max(table.c.seq)).scalar_subquery()
        same = (
            sa.select(table.c.seq)
            .where(table.c.seq > latest - _LATEST)
            .where(table.c.time >= exchange.time - within)
            .where(table.c.api == exchange.api, table.c.key == exchange.key)
            # Last, since it is long, and lies on pages that the others do not need.
            .where(table.c.request == exchange.request)
            .limit(1)
        )
        with self.read() as connection:
            return connection.execute(same).first() is not None

    def count(self) -> int:
        """Return the number of exchanges."""
        with self.read() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()

    def last_seq(self) -> int:
        """Return the ``seq`` of the newest exchange, 0 when there is none."""
        with self.read() as connection:
            return newest_seq(connection)

    def exchanges(
        self,
        *,
        after: int = 0,
        until: int | None = None,
        task_id: str | None = None,
        unassigned: bool = False,
        batch: int = 5_000,
    ) -> Iterator[tuple[int, Exchange]]:
        """Yield ``(seq, exchange)`` in order of ``seq``, after one and until another or the newest.

        Rows are read ``batch`` at a time, and no transaction stays open between batches, so that a
        slow reader blocks no other. ``unassigned`` asks for exchanges of no task.
        """
        conditions = []
        if task_id is not None:
            conditions.append(table.c.task_id == task_id)
        if unassigned:
            conditions.append(table.c.task_id.is_(None))
        for row in self._pages(EXCHANGE_COLUMNS, conditions, after, until, batch):
            yield row[0], exchange_of(row)

    def task_rows(
        self, task_id: str, *, after: int = 0, until: int | None = None, batch: int = 5_000
    ) -> Iterator[TaskRow]:
        """Yield a task's rows without their requests, as `exchanges` yields exchanges."""
        conditions = [table.c.task_id == task_id]
        for row in self._pages(TASK_ROW_COLUMNS, conditions, after, until, batch):
            yield TaskRow._make(row)

    def _pages(
        self,
        columns: Sequence[sa.Column[Any]],
        conditions: Sequence[sa.ColumnElement[bool]],
        after: int,
        until: int | None,
        batch: int,
    ) -> Iterator[sa.Row[Any]]:
        last = self.last_seq() if until is None else until
        query = sa.select(*columns).where(*conditions).order_by(table.c.seq).limit(batch)
        while after < last:
            with self.read() as connection:
                page = connection.execute(
                    query.where(table.c.seq > after, table.c.seq <= last)
                ).all()
            yield from page
            if len(page) < batch:
                return
            after = page[-1][0]

    def assign(self, rows: Iterable[tuple[int, str, str, str]]) -> int:
        """Assign exchanges to tasks: ``(seq, task_id, inputs, settings)`` in JSON; return how many.

        Writes 5,000 rows a transaction, and lets other writers in between. A ``seq`` that is not in
        the store counts for none.
        """
        remaining = iter(rows)
        changed = 0
        while batch := list(islice(remaining, _ASSIGN_BATCH)):
            values = [
                {"_seq": seq, "_task_id": task, "_inputs": inputs, "_settings": settings}
                for seq, task, inputs, settings in batch
            ]
            with self.write() as connection:
                changed += connection.execute(_ASSIGN, values).rowcount
            time.sleep(_PAUSE_SECONDS)
        return changed

    def unassign(self, task_id: str) -> int:
        """Make a task's exchanges unassigned again, and return how many there were."""
        assigned = (
            sa.select(table.c.seq)
            .where(table.c.task_id == task_id)
            .order_by(table.c.seq)
            .limit(_ASSIGN_BATCH)
        )
        change = sa.update(table).where(table.c.seq.in_(assigned)).values(task_id=None, inputs=None)
        changed = 0
        while True:
            with self.write() as connection:
                now = connection.execute(change).rowcount
            changed += now
            if now < _ASSIGN_BATCH:
                return changed
            time.sleep(_PAUSE_SECONDS)

    def unassigned_counts(self) -> dict[tuple[str, str], int]:
        """Return the number of unassigned exchanges by the task their client named, and the key."""
        columns = (table.c.task, table.c.key)
        query = (
            sa.select(*columns, sa.func.count()).where(table.c.task_id.is_(None)).group_by(*columns)
        )
        with self.read() as connection:
            return {(row[0], row[1]): row[2] for row in connection.execute(query)}

    def sample_unassigned(
        self, limit: int, seed: int, names: Collection[str] | None = None
    ) -> list[tuple[int, Exchange]]:
        """Return ``limit`` unassigned exchanges drawn without replacement, by ``seq``.

        Only exchanges whose clients named no task. Each key has an equal share, so that none crowds
        others out; other keys get the rest of a share that is not used. Within a key all are
        equally likely. The same store and seed give the same sample; all are returned if there are
        no more than ``limit``. Memory grows with ``limit``, not with the log.

        Args:
            limit: The most that are drawn.
            seed: Of the draw.
            names: Instead of the exchanges without a name those of these names, an equal share
                for each name.
        """
        group = table.c.key if names is None else table.c.task
        allowed = {""} if names is None else set(names)
        counts: Counter[str] = Counter()
        for (name, key), number in self.unassigned_counts().items():
            if name in allowed:
                counts[key if names is None else name] += number
        draw = random.Random(seed)
        picked = {
            task: set(draw.sample(range(counts[task]), share))
            for task, share in equal_shares(counts, limit).items()
        }
        at: Counter[str] = Counter()
        query = sa.select(table.c.seq, table.c.task, group.label("of")).where(
            table.c.task_id.is_(None)
        )
        with self.read() as connection:
            seqs: list[int] = []
            for seq, name, of in connection.execute(query.order_by(table.c.seq)):
                if name not in allowed:
                    continue
                if at[of] in picked.get(of, ()):
                    seqs.append(seq)
                at[of] += 1
            rows: list[tuple[int, Exchange]] = []
            for start in range(0, len(seqs), _MAX_VARIABLES):
                batch = seqs[start : start + _MAX_VARIABLES]
                selected = sa.select(*EXCHANGE_COLUMNS).where(table.c.seq.in_(batch))
                page = connection.execute(selected.order_by(table.c.seq)).all()
                rows.extend((row[0], exchange_of(row)) for row in page)
        return rows

    def key_counts(self) -> dict[tuple[str, str], int]:
        """Return the number of exchanges of each task by the key that sent them."""
        columns = (table.c.task_id, table.c.key)
        query = (
            sa.select(*columns, sa.func.count())
            .where(table.c.task_id.is_not(None))
            .group_by(*columns)
        )
        with self.read() as connection:
            return {(row[0], row[1]): row[2] for row in connection.execute(query)}

    def tasks_since(self, after: int) -> set[str]:
        """Return the tasks that exchanges after a ``seq`` are assigned to."""
        query = sa.select(table.c.task_id).where(table.c.seq > after).distinct()
        with self.read() as connection:
            return {row[0] for row in connection.execute(query) if row[0] is not None}

    def task_counts(self) -> dict[str | None, int]:
        """Return the number of exchanges of each task; under ``None`` the unassigned ones."""
        query = sa.select(table.c.task_id, sa.func.count()).group_by(table.c.task_id)
        with self.read() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}


def equal_shares(counts: Mapping[str, int], limit: int) -> dict[str, int]:
    """Share room equally: return how many of each fit, no more than there are.

    >>> equal_shares({"a": 5, "b": 100, "c": 100}, 45)
    {'a': 5, 'b': 20, 'c': 20}
    """
    shares, remaining = {}, limit
    for i, (name, count) in enumerate(sorted(counts.items(), key=lambda item: (item[1], item[0]))):
        shares[name] = min(count, remaining // (len(counts) - i))
        remaining -= shares[name]
    return shares
