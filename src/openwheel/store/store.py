"""Opens the store: its transactions, and its exchanges in order of arrival."""

import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa

from openwheel.errors import StoreError, UnstorableError
from openwheel.settings.place import is_url
from openwheel.store import sql
from openwheel.store.database import Database
from openwheel.store.exchange import Exchange
from openwheel.store.exchanges import (
    EXCHANGE_COLUMNS,
    TASK_ROW_COLUMNS,
    WRITTEN,
    TaskRow,
    exchange_of,
    newest_seq,
    values_of,
)
from openwheel.store.schema import MIGRATIONS
from openwheel.store.schema import exchanges as table
from openwheel.store.sqlite import SqliteFile

Transaction = sa.Connection
"""What `Store.read` and `Store.write` give, and the functions of this package take."""

_ASSIGN_BATCH = 5_000
_PAUSE_SECONDS = 0.005
_MAX_VARIABLES = 500
_LATEST = 20_000


class Store:
    """A store with all data, shared by any number of threads and processes.

    Every exchange has a ``seq``, which grows in the order of commits: a reader that asks for all
    exchanges after the last ``seq`` it read misses none. Made by `Store.open`.

    All methods raise `StoreError` when it cannot be read or written; a write that fails leaves no
    part of its transaction behind.

    Attributes:
        database: For this package alone.
        objects: The URL of the object store for large files, ``""`` if there is none.
    """

    def __init__(
        self,
        database: Database,
        *,
        objects: str = "",
        check: Callable[[Transaction], None] = lambda _: None,
    ) -> None:
        self.database = database
        self.objects = objects
        self._check = check

    @classmethod
    def open(
        cls,
        place: Path | str,
        *,
        create: bool = True,
        read_only: bool = False,
        busy_seconds: float = 30.0,
        objects: str = "",
    ) -> Self:
        """Open a store, making it first if need be and ``create`` allows it.

        Args:
            place: A file for SQLite, or a URL: ``postgresql://USER@HOST/DATABASE``.
            create: Whether to make it if there is none.
            read_only: Whether to refuse every write; nothing is made or brought up to date.
            busy_seconds: How long a write waits for those of other processes before it fails.
            objects: The URL of the object store for large files that are published; what was
                published before is found without.

        Raises:
            StoreError: There is no such store, or the file or database cannot be used as one.
        """
        if is_url(place):
            # Here, since a gateway with a file needs none of it.
            from openwheel.store.postgres import Postgres  # noqa: PLC0415

            url = str(place)
            return cls(
                Postgres.open(url, create=create, read_only=read_only, busy_seconds=busy_seconds),
                objects=objects,
            )
        file = Path(place)
        return cls(
            SqliteFile.open(file, create=create, read_only=read_only, busy_seconds=busy_seconds)
        )

    @property
    def path(self) -> Path:
        """The file; for tests. Raises `StoreError` if it is in no file."""
        if isinstance(self.database, SqliteFile):
            return self.database.path
        raise StoreError(f"{self} is in no file")

    @property
    def engine(self) -> sa.Engine:
        """The engine; for this package and for tests."""
        return self.database.engine

    @property
    def shared(self) -> bool:
        """Whether processes on other machines may use it too."""
        return self.database.shared

    @property
    def schema(self) -> int:
        """The version of its tables: opening brings them up to date."""
        return max(MIGRATIONS)

    def fenced(self, check: Callable[[Transaction], None]) -> "Store":
        """Return this store as one whose writes call a function first, in their transaction.

        What the function raises refuses the write. Appending exchanges is not checked: what came
        in is kept, whoever has it.
        """
        return Store(self.database, objects=self.objects, check=check)

    def __str__(self) -> str:
        """Return the store's place, for messages."""
        return str(self.database)

    def beside(self, suffix: str = "", *, prefix: str = "") -> Path:
        """Return a path on this machine for what belongs to the store: beside its file."""
        return self.database.beside(suffix, prefix)

    def close(self) -> None:
        """Close all connections; the store can then no longer be used."""
        self.database.close()

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
    def write(self, *, alone: bool = True) -> Iterator[Transaction]:
        """Yield a transaction that commits at the end.

        Keep it short: one such write at a time is allowed.

        Args:
            alone: False for statements of which each is right whatever others write meanwhile: a
                database that can do so then lets other writers go on.
        """
        self.database.require_in_place()
        with self.database.errors(), self.database.writing(alone=alone) as connection:
            self._check(connection)
            yield connection

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Yield a transaction that sees the store as it is now; it never waits for writers."""
        self.database.require_in_place()
        with self.database.errors(), self.database.reading() as connection:
            yield connection

    def clock(self) -> float:
        """Return the time in seconds since 1970, the same for all processes that use the store."""
        with self.read() as connection:
            return connection.execute(sa.select(sql.now())).scalar_one()

    def changed(self) -> int:
        """Return a number that differs once another connection or process has written.

        For one thread at a time.
        """
        self.database.require_in_place()
        with self.database.errors():
            return self.database.change()

    def wait(self, seconds: float) -> None:
        """Return after so many seconds, sooner if promotions, stops, audits or keys may differ.

        For one thread at a time.
        """
        with self.database.errors():
            self.database.wait(seconds)

    def append(self, exchanges: Sequence[Exchange]) -> int:
        """Store exchanges whose id is new, in one transaction; return how many those were.

        Raises:
            UnstorableError: A value is one that it cannot hold.
            StoreError: They could not be written; none is stored.
        """
        if not exchanges:
            return 0
        try:
            rows = [values_of(exchange) for exchange in exchanges]
            self.database.require_in_place()
            with self.database.errors():
                return self.database.append(WRITTEN, rows)
        except (UnicodeEncodeError, OverflowError) as error:
            raise UnstorableError(
                f"{self} cannot hold a value of these exchanges: {error}"
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
        same = (
            sa.select(table.c.seq)
            .where(table.c.time >= exchange.time - within)
            .where(table.c.api == exchange.api, table.c.key == exchange.key)
            # Last, since it is long, and lies on pages that the others do not need.
            .where(sql.same_request(sa.literal(exchange.request, sa.LargeBinary)))
            .limit(1)
        )
        with self.read() as connection:
            latest = newest_seq(connection) - _LATEST
            return connection.execute(same.where(sql.after(table, latest))).first() is not None

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
        columns: Sequence[sa.ColumnElement[Any]],
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
                    query.where(sql.after(table, after), sql.until(table, last))
                ).all()
            yield from page
            if len(page) < batch:
                return
            after = page[-1][0]

    def assign(self, rows: Iterable[tuple[int, str, str, str]]) -> int:
        """Assign exchanges to tasks: ``(seq, task_id, inputs, settings)`` in JSON; return how many.

        Writes 5,000 rows a transaction, and lets other writers in between. An exchange that has a
        task, or that is not in the store, is left as it is.
        """
        remaining = iter(rows)
        changed = 0
        while batch := list(islice(remaining, _ASSIGN_BATCH)):
            self.database.require_in_place()
            with self.database.errors():
                changed += self.database.assign(batch, self._check)
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
            with self.write(alone=False) as connection:
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
                selected = sa.select(*EXCHANGE_COLUMNS).where(
                    table.c.seq.in_(batch),
                    sql.after(table, batch[0] - 1),
                    sql.until(table, batch[-1]),
                )
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
        query = sa.select(table.c.task_id).where(sql.after(table, after)).distinct()
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
