"""Keeps a store in one SQLite file: its locks, its errors, and what its SQL alone does not say.

Knows nothing of what the tables hold.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from openwheel.errors import StoreError
from openwheel.store.schema import MIGRATIONS, exchanges, metadata

APPLICATION_ID = 0x4F57_4845
"""``OWHE``, kept in SQLite's ``application_id``, to recognise another program's database."""

_ROWS_A_STATEMENT = (256, 64, 16, 4, 1)

_POLL_SECONDS = 0.002
_WRITE = "openwheel_write"

_SENTENCES = {
    "SQLITE_NOTADB": "is not a SQLite database",
    "SQLITE_CORRUPT": "is damaged; restore a backup, or save what `sqlite3 FILE .recover` can",
    "SQLITE_BUSY": "is locked: another process keeps writing to it",
    "SQLITE_LOCKED": "is locked by another connection of this process",
    "SQLITE_FULL": "could not be written: the disk is full; nothing of this write was kept",
    "SQLITE_READONLY": "is read-only for this user; the file and its folder must be writable",
    "SQLITE_CANTOPEN": "cannot be opened; its folder must exist and be readable and writable",
    "SQLITE_IOERR": "could not be read or written: the disk reports an error",
}


class SqliteFile:
    """A store's file: a `Database`.

    Args:
        path: The file.
        engine: On it, from `make_engine`.
    """

    shared = False

    def __init__(self, path: Path, engine: sa.Engine) -> None:
        self.path = path
        self.engine = engine
        self._lock = threading.Lock()
        self._file = file_identity(path)
        self._looking: sa.Connection | None = None

    @classmethod
    def open(
        cls, path: Path, *, create: bool, read_only: bool, busy_seconds: float
    ) -> "SqliteFile":
        """Open the file, making it first if need be; see `Store.open`."""
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
        """Return the path."""
        return str(self.path)

    def beside(self, suffix: str, prefix: str) -> Path:
        """Return a path beside the file, named after it."""
        return self.path.with_name(f"{prefix}{self.path.name}{suffix}")

    @contextmanager
    def errors(self) -> Iterator[None]:
        """See `Database.errors`."""
        with store_errors(self.path):
            yield

    def require_in_place(self) -> None:
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

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """See `Database.reading`."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self, *, alone: bool) -> Iterator[sa.Connection]:
        """See `Database.writing`: one at a time, whatever is asked."""
        del alone
        with (
            self._lock,
            self.engine.connect().execution_options(**write_options()) as connection,
            connection.begin(),
        ):
            yield connection

    def append(self, names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> int:
        """See `Database.append`."""
        with self.writing(alone=True) as connection:
            return insert_many(connection, exchanges, names, rows)

    def restore(self, names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        """See `Database.restore`."""
        with self.writing(alone=True) as connection:
            insert_many(connection, exchanges, names, rows)

    def numbers(self, transaction: sa.Connection) -> dict[str, int]:
        """See `Database.numbers`."""
        rows = transaction.exec_driver_sql("SELECT name, seq FROM sqlite_sequence")
        return {str(name): int(number) for name, number in rows}

    def set_numbers(self, transaction: sa.Connection, numbers: Mapping[str, int]) -> None:
        """See `Database.set_numbers`."""
        for name, number in numbers.items():
            changed = transaction.exec_driver_sql(
                "UPDATE sqlite_sequence SET seq = ? WHERE name = ?", (number, name)
            )
            if not changed.rowcount:
                transaction.exec_driver_sql(
                    "INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (name, number)
                )

    def assign(
        self, rows: Sequence[tuple[int, str, str, str]], check: Callable[[sa.Connection], None]
    ) -> int:
        """See `Database.assign`."""
        values = [
            {"_seq": seq, "_task_id": task, "_inputs": inputs, "_settings": settings}
            for seq, task, inputs, settings in rows
        ]
        with self.writing(alone=True) as connection:
            check(connection)
            return connection.execute(_ASSIGN, values).rowcount

    def delete_old(self, before: float, delete: Callable[[sa.ColumnElement[bool]], int]) -> int:
        """See `Database.delete_old`."""
        return delete((exchanges.c.time < before) & (exchanges.c.time > 0))

    def delete_oldest(self, most_bytes: int, delete: Callable[[Callable[[], bool]], int]) -> int:
        """See `Database.delete_oldest`."""
        return delete(lambda: self.used_bytes() > most_bytes)

    def days(self) -> Sequence[Any]:
        """See `Database.days`: none."""
        return ()

    def used_bytes(self) -> int:
        """See `Database.used_bytes`."""
        with self.errors(), self.reading() as connection:
            return used_bytes(connection)

    def change(self) -> int:
        """See `Database.change`."""
        # It is a connection's own: two connections' numbers cannot be compared.
        if self._looking is None:
            self._looking = self.engine.connect()
        raw = self._looking.connection.dbapi_connection
        assert isinstance(raw, sqlite3.Connection)
        return int(raw.execute("PRAGMA data_version").fetchone()[0])

    def wait(self, seconds: float) -> None:
        """See `Database.wait`: a file tells nobody, and time passes."""
        time.sleep(seconds)

    def close(self) -> None:
        """Close all connections."""
        if self._looking is not None:
            self._looking.close()
            self._looking = None
        self.engine.dispose()


_ASSIGN = (
    sa.update(exchanges)
    .where(exchanges.c.seq == sa.bindparam("_seq"), exchanges.c.task_id.is_(None))
    .values(
        task_id=sa.bindparam("_task_id"),
        inputs=sa.bindparam("_inputs"),
        settings=sa.bindparam("_settings"),
    )
)


def make_engine(path: Path, *, busy_seconds: float, read_only: bool = False) -> sa.Engine:
    """Return an engine on the SQLite file at ``path``.

    With ``read_only`` its connections refuse to write.

    A process that finds it locked by another one waits for ``busy_seconds`` before giving up.

    A transaction that is begun with the execution option that `write_options` gives takes the
    write lock at its start, so that it cannot fail half-way because another process wrote.
    """
    engine = sa.create_engine(sa.URL.create("sqlite", database=str(path)))

    @sa.event.listens_for(engine, "connect")
    def _connect(connection: sqlite3.Connection, _record: Any) -> None:
        # The driver would begin transactions by itself, and only before the first write.
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {int(busy_seconds * 1000)}")
        # For a new file. An exchange of the usual 2 kB has a page of 4 kB to itself, and a commit
        # writes whole pages: with these it takes half the time.
        connection.execute("PRAGMA page_size = 8192")
        connection.execute("PRAGMA foreign_keys = ON")
        # FULL and not NORMAL: in WAL mode NORMAL keeps the file whole but may lose the last
        # commits in a power cut. Writers batch, so the sync is paid once a batch.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -65536")
        connection.execute("PRAGMA wal_autocheckpoint = 2000")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        if read_only:
            connection.execute("PRAGMA query_only = ON")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        raw = connection.connection.dbapi_connection
        assert isinstance(raw, sqlite3.Connection)
        if connection.get_execution_options().get(_WRITE):
            _begin_write(raw, busy_seconds)
        else:
            raw.execute("BEGIN")

    return engine


def write_options() -> dict[str, bool]:
    """Return the execution options of a connection that writes."""
    return {_WRITE: True}


def _begin_write(connection: sqlite3.Connection, busy_seconds: float) -> None:
    # SQLite's own waiting backs off to 100 ms between tries, so a process that writes batch after
    # batch would keep the others out for as long as it has batches. Trying often does not.
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        deadline = time.monotonic() + busy_seconds
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if not _name(error).startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                    raise
            time.sleep(_POLL_SECONDS)
    finally:
        connection.execute(f"PRAGMA busy_timeout = {int(busy_seconds * 1000)}")


def prepare(
    engine: sa.Engine,
    path: Path,
    metadata: sa.MetaData,
    migrations: Mapping[int, Sequence[str]],
    *,
    busy_seconds: float,
    read_only: bool = False,
) -> None:
    """Make the file a store: WAL mode, and all tables.

    Any number of processes may do so at the same time.

    Args:
        engine: On the file.
        metadata: The tables.
        migrations: For each version, the statements that make its tables from those before.
        busy_seconds: How long to wait for other processes.
        read_only: Whether the file must be left as it is.

    Raises:
        StoreError: The file is not a store, is one that a later version wrote, or with
            ``read_only`` one that an earlier version wrote.
    """
    latest = max(migrations)
    with store_errors(path), engine.connect() as connection:
        raw = connection.connection.dbapi_connection
        assert isinstance(raw, sqlite3.Connection)
        # One look, since another process may be making the store between two.
        raw.execute("BEGIN")
        try:
            version, tables = _check_owner(raw, path, latest)
        finally:
            raw.rollback()
        if version == latest and tables >= set(metadata.tables):
            return
        if read_only:
            raise StoreError(
                f"{path} was written by an earlier version of Openwheel, and is to be left as it "
                "is; a command that writes, such as `openwheel tasks --db FILE`, brings it up to "
                "date"
            )
        _use_wal(raw, busy_seconds)
    with store_errors(path), engine.connect() as plain:
        connection = plain.execution_options(**write_options())
        with connection.begin():
            raw = connection.connection.dbapi_connection
            assert isinstance(raw, sqlite3.Connection)
            version, tables = _check_owner(raw, path, latest)
            if tables:
                _migrate(raw, version, migrations)
            metadata.create_all(connection)
            raw.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            raw.execute(f"PRAGMA user_version = {latest}")


def _migrate(
    connection: sqlite3.Connection, version: int, migrations: Mapping[int, Sequence[str]]
) -> None:
    """Bring the tables of an older version up to date, inside the caller's transaction."""
    for since, statements in migrations.items():
        if version < since:
            for statement in statements:
                connection.execute(statement)


def _check_owner(connection: sqlite3.Connection, path: Path, latest: int) -> tuple[int, set[str]]:
    """Return the version of the schema and the names of the tables, if they are a store's."""
    owner = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    tables = {name for (name,) in names}
    if owner != APPLICATION_ID and (owner or tables):
        raise StoreError(f"{path} is a SQLite database of another program, not a traffic store")
    if version > latest:
        raise StoreError(
            f"{path} was written by a later version of Openwheel (schema {version}; this version "
            f"knows {latest}); upgrade Openwheel to open it"
        )
    return version, tables


def _use_wal(connection: sqlite3.Connection, busy_seconds: float) -> None:
    # Changing the mode is the one step for which SQLite does not wait on its own when several
    # processes open a new file at once.
    deadline = time.monotonic() + busy_seconds
    while True:
        try:
            if connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
                return
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not _name(error).startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                raise
        time.sleep(_POLL_SECONDS)


@contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Turn errors of SQLite and its driver into a `StoreError` that says what to do."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise StoreError(_sentence(path, error.orig)) from error
    except sqlite3.Error as error:
        raise StoreError(_sentence(path, error)) from error


def _sentence(path: Path, error: BaseException | None) -> str:
    name = _name(error)
    for start, sentence in _SENTENCES.items():
        if name.startswith(start):
            return f"{path} {sentence} ({error})"
    return f"{path} refused an operation: {error}"


def _name(error: BaseException | None) -> str:
    return str(getattr(error, "sqlite_errorname", ""))


def file_identity(path: Path) -> tuple[int, int] | None:
    """Return the identity of a file on this machine, None if there is no file.

    Raises:
        StoreError: It cannot be read.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{path} cannot be looked at: {error}") from None
    return status.st_dev, status.st_ino


def make_private(path: Path) -> None:
    """Make an empty file that only its owner may read; SQLite gives its WAL the same mode."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        pass  # another process was first
    except OSError as error:
        raise StoreError(f"{path} cannot be made: {error}") from None


def used_bytes(connection: sa.Connection) -> int:
    """Return how many bytes of the file are in use."""
    pages, free, size = (
        int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


def disk_bytes(path: Path) -> int:
    """Return how many bytes a store takes on the disk, its WAL and its shared memory included."""
    sizes = 0
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            sizes += path.with_name(path.name + suffix).stat().st_size
    return sizes


def empty_wal(engine: sa.Engine, path: Path, *, past: int) -> None:
    """Write a WAL of more than ``past`` bytes back into the file, and cut it to nothing.

    A reader may keep it from being cut; then the next call tries again.
    """
    with suppress(FileNotFoundError):
        if path.with_name(path.name + "-wal").stat().st_size <= past:
            return
    with store_errors(path), engine.connect() as connection:
        raw = connection.connection.dbapi_connection
        assert isinstance(raw, sqlite3.Connection)
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def insert_many(
    connection: sa.Connection, table: sa.Table, names: Sequence[str], rows: Sequence[Sequence[Any]]
) -> int:
    """Insert rows that have these columns, and return how many were new by their ``id``.

    Many rows go in one statement, without SQLAlchemy's own handling of rows. SQLite's driver
    releases the interpreter lock in each statement, and beside a busy event loop getting it back
    costs more than all other work. The statements are few, so that each is prepared once.
    """
    new = start = 0
    for size in _ROWS_A_STATEMENT:
        while len(rows) - start >= size:
            values = tuple(chain.from_iterable(rows[start : start + size]))
            statement = _insert_statement(table.name, tuple(names), size)
            new += connection.exec_driver_sql(statement, values).rowcount
            start += size
    return new


@cache
def _insert_statement(table: str, names: tuple[str, ...], rows: int) -> str:
    values = f"({', '.join('?' * len(names))})"
    return (
        f"INSERT INTO {table} ({', '.join(names)}) "
        f"VALUES {', '.join([values] * rows)} ON CONFLICT (id) DO NOTHING"
    )
