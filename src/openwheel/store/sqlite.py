"""Holds all code for SQLite alone: the file, its locks and errors, and non-standard SQL.

Knows nothing of the tables. Another database takes a file like this one.
"""

import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from openwheel.errors import StoreError

APPLICATION_ID = 0x4F57_4845
"""``OWHE``, kept in SQLite's ``application_id``, to recognise another program's database."""

NEVER_USED_TWICE: dict[str, Any] = {"sqlite_autoincrement": True}
"""Of a table whose ids are given to no other row, also when the last one was deleted."""

KEPT_BY_KEY: dict[str, Any] = {"sqlite_with_rowid": False}
"""Of a table whose rows are short and found by the primary key alone."""

AS_THEY_CAME: sa.ColumnElement[int] = sa.literal_column("rowid", sa.Integer)
"""Orders the rows of one table. Their times would do, had no clock ever been set back."""

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


def insert(table: sa.Table) -> sqlite.Insert:
    """Return an insert that allows a clause for rows whose key exists already."""
    return sqlite.insert(table)


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


def unique_where(condition: sa.ColumnElement[bool]) -> dict[str, Any]:
    """Return the options of a unique index on the rows for which a condition holds."""
    return {"unique": True, "sqlite_where": condition}


def greater(first: Any, second: Any) -> sa.ColumnElement[Any]:
    """Return the greater of two values."""
    return sa.func.max(first, second)


def json_value(column: sa.Column[str], name: str) -> sa.ColumnElement[Any]:
    """Return a JSON object's value under a name, null if it has none."""
    return sa.func.json_extract(column, f"$.{name}")


def whole_hours(seconds: sa.ColumnElement[float]) -> sa.ColumnElement[int]:
    """Return a time in seconds as whole hours."""
    return sa.cast(seconds / 3600.0, sa.Integer)


class Changes:
    """Tells whether other connections have written to the file; for one thread at a time."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._connection: sa.Connection | None = None

    def number(self) -> int:
        """Return a number that differs once another connection has written."""
        # It is a connection's own: two connections' numbers cannot be compared.
        if self._connection is None:
            self._connection = self._engine.connect()
        raw = self._connection.connection.dbapi_connection
        assert isinstance(raw, sqlite3.Connection)
        return int(raw.execute("PRAGMA data_version").fetchone()[0])

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
