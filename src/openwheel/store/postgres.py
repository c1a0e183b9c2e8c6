"""Keeps a store in a Postgres database that any number of machines share.

Exchanges are partitioned by the day on which they were stored. Their requests are kept apart, each
once a day by its hash, so that dropping a day drops both. A row with the last ``seq`` is locked
from before rows are numbered until they are committed: so the order of ``seq`` is that of commits.

Knows nothing of what the tables hold.
"""

import contextlib
import datetime
import hashlib
import math
import operator
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from openwheel.errors import StoreError, UnstorableError
from openwheel.store.schema import MIGRATIONS, ORDERED, exchanges, feedback, metadata
from openwheel.store.sql import INTEGER, Text, escaped

try:
    import psycopg
    from psycopg import errors
except ImportError:
    raise StoreError("A store in Postgres needs psycopg: install `openwheel[postgres]`") from None

CHANNEL: Final = "openwheel"
"""What tells that promotions, stops, audit plans or keys have changed."""

PARTITION: Final = "exchanges_"
"""How the name of a day's exchanges begins, and with `BODIES` that of their requests."""

BODIES: Final = "exchange_bodies_"

_LOCK_SPACE: Final = 0x4F57_4845
_WRITING, _PREPARING = 1, 2

# A process that is frozen or cut off must not keep a lock for longer than this: all others wait.
_IDLE_WRITER_S: Final = 10

_DAY_S: Final = 86_400.0

_SINGLE_DAYS: Final = 60
"""How many days of a store that is copied here get partitions of their own."""
_TOLD = ("promotions", "audit_plans", "stops", "api_keys")
"""The tables whose changes processes wait for."""

_SENTENCES: dict[str, str] = {
    "08": "cannot be opened",
    "53100": "could not be written: its disk is full; nothing of this write was kept",
    "53": "has no room for more (connections or memory)",
    "55P03": "is locked: another process keeps writing to it",
    "57P03": "is starting or stopping",
    "57": "was stopped, or ended this connection",
    "25006": "is read-only; writes must go to the primary server, and this user must be allowed to",
    "25P03": "ended a transaction that its process had left idle",
    "42501": "does not allow this user to do so; it must own the tables",
    "40": "could not put this write in order with others; it can be tried again",
}

_BASE = """
CREATE TABLE openwheel_store (schema INTEGER NOT NULL);
CREATE TABLE exchange_state (single BOOLEAN PRIMARY KEY CHECK (single), last_seq BIGINT NOT NULL,
  day DATE NOT NULL) WITH (fillfactor = 10);
INSERT INTO exchange_state VALUES (true, 0, '1970-01-01');
CREATE TABLE exchange_days (day DATE PRIMARY KEY, first_seq BIGINT NOT NULL,
  latest DOUBLE PRECISION NOT NULL, earliest DOUBLE PRECISION, untimed BOOLEAN NOT NULL)
  WITH (fillfactor = 10);
CREATE TABLE exchange_ids (id TEXT PRIMARY KEY, day DATE NOT NULL, seq BIGINT NOT NULL);
CREATE TABLE exchange_bodies (day DATE NOT NULL, hash BYTEA NOT NULL, body BYTEA NOT NULL,
  PRIMARY KEY (day, hash)) PARTITION BY RANGE (day)
"""
"""Tables that SQLite has no use for. The small ones are changed with each batch: the room that is
left in their pages keeps such a change within one page."""

_TELL = """
CREATE FUNCTION openwheel_tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('openwheel', TG_TABLE_NAME);
  RETURN NULL;
END $$
"""

_APPEND = """
CREATE FUNCTION openwheel_append(
  today DATE, hashes BYTEA[], bodies BYTEA[], ids TEXT[], latest_time DOUBLE PRECISION,
  earliest_time DOUBLE PRECISION, has_untimed BOOLEAN,
  OUT on_day DATE, OUT before BIGINT, OUT fresh TEXT[]
) LANGUAGE plpgsql AS $$
DECLARE
  added BIGINT;
BEGIN
  -- Before the lock, since they are most of the bytes; in the order of their hashes, so that two
  -- processes with the same requests do not wait for each other.
  INSERT INTO exchange_bodies
    SELECT today, given.* FROM unnest(hashes, bodies) AS given ON CONFLICT DO NOTHING;
  SELECT s.day, s.last_seq INTO on_day, before FROM exchange_state AS s FOR UPDATE;
  IF on_day > today THEN  -- midnight has passed meanwhile, or the server's clock was set back
    INSERT INTO exchange_bodies
      SELECT on_day, given.* FROM unnest(hashes, bodies) AS given ON CONFLICT DO NOTHING;
  ELSE
    on_day := today;
  END IF;
  INSERT INTO exchange_ids
    SELECT given.id, on_day, before + given.number
    FROM unnest(ids) WITH ORDINALITY AS given (id, number) ON CONFLICT DO NOTHING;
  GET DIAGNOSTICS added = ROW_COUNT;
  IF added = 0 THEN
    fresh := '{}';
    RETURN;
  END IF;
  IF added < cardinality(ids) THEN
    SELECT array_agg(i.id ORDER BY i.seq) INTO fresh FROM exchange_ids AS i
      WHERE i.id = ANY (ids) AND i.seq > before;
    UPDATE exchange_ids AS i SET seq = before + given.number
      FROM unnest(fresh) WITH ORDINALITY AS given (id, number) WHERE i.id = given.id;
  END IF;
  INSERT INTO exchange_days AS d
    VALUES (on_day, before + 1, latest_time, earliest_time, has_untimed)
    ON CONFLICT (day) DO UPDATE SET latest = greatest(d.latest, excluded.latest),
      earliest = least(d.earliest, excluded.earliest), untimed = d.untimed OR excluded.untimed;
  UPDATE exchange_state SET last_seq = before + added, day = on_day;
END $$
"""
"""Takes a batch in as far as its requests, ids and numbers go; one statement, so that a batch takes
few turns between process and server. ``fresh`` is null where all ids were new."""

_ASSIGN = """
UPDATE exchanges SET task_id = given.task_id, inputs = given.inputs, settings = given.settings
FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[])
  AS given (seq, task_id, inputs, settings)
WHERE exchanges.seq = given.seq AND exchanges.task_id IS NULL AND exchanges.day BETWEEN %s AND %s
"""


def _day_of(time: float, today: datetime.date) -> datetime.date:
    """Return the day of a time, the first of its month if it is long ago; the first day if none."""
    if time <= 0:
        return datetime.date(1970, 1, 1)
    latest = min(time, 4e9)  # what is later than any clock says is a mistake
    day = datetime.datetime.fromtimestamp(latest, datetime.UTC).date()
    return day if (today - day).days <= _SINGLE_DAYS else day.replace(day=1)


def _number(value: float | None) -> float | None:
    """Return a number as SQLite keeps it: what is none is null."""
    return None if value is None or math.isnan(value) else value


_CONVERT: dict[type[Any], Callable[[Any], Any]] = {Text: escaped, sa.Float: _number}
"""What makes a column's value one that Postgres can hold, or one that SQLite would."""


class Day(NamedTuple):
    """What is known of a day's exchanges.

    Attributes:
        day: On which they were stored, in UTC.
        first_seq: The first one's.
        latest: The latest time of one, in seconds since 1970.
        earliest: The earliest time of one that has a time; None if none has.
        untimed: Whether some have no time.
    """

    day: datetime.date
    first_seq: int
    latest: float
    earliest: float | None
    untimed: bool


def _copy_rows(
    connection: "psycopg.Connection[Any]",
    day: datetime.date,
    names: Sequence[str],
    rows: Iterable[tuple[int, bytes, tuple[Any, ...]]],
) -> None:
    """Copy exchanges to a day: each with its ``seq``, its request's hash, and values by name."""
    columns = [name for name in names if name not in {"request", "seq"}]
    values_of = operator.itemgetter(*(names.index(name) for name in columns))
    convert = [
        (i, make)
        for i, name in enumerate(columns)
        if (make := _CONVERT.get(type(exchanges.c[name].type))) is not None
    ]
    listed = ", ".join(f'"{name}"' for name in columns)
    statement = f"COPY exchanges (seq, day, request_hash, {listed}) FROM STDIN"
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for seq, key, row in rows:
            values = list(values_of(row))
            for i, make in convert:
                values[i] = make(values[i])
            copy.write_row((seq, day, key, *values))


def _restore_day(
    connection: "psycopg.Connection[Any]",
    day: datetime.date,
    names: Sequence[str],
    rows: Sequence[tuple[Any, ...]],
) -> None:
    """Put exchanges of another store in a day, with their requests and ids."""
    at = {name: index for index, name in enumerate(names)}
    keys = [hashlib.sha256(row[at["request"]]).digest() for row in rows]
    bodies = {key: row[at["request"]] for key, row in zip(keys, rows, strict=True)}
    connection.execute(
        "INSERT INTO exchange_bodies SELECT %s, given.* FROM unnest(%b::bytea[], %b::bytea[]) "
        "AS given ON CONFLICT DO NOTHING",
        (day, list(bodies), list(bodies.values())),
    )
    with (
        connection.cursor() as cursor,
        cursor.copy("COPY exchange_ids (id, day, seq) FROM STDIN") as copy,
    ):
        for row in rows:
            copy.write_row((escaped(row[at["id"]]), day, row[at["seq"]]))
    numbered = ((row[at["seq"]], key, row) for key, row in zip(keys, rows, strict=True))
    _copy_rows(connection, day, names, numbered)
    times = [row[at["time"]] for row in rows]
    timed = [time for time in times if time > 0]
    connection.execute(
        "INSERT INTO exchange_days AS d VALUES (%s, %s, %s, %s, %s) ON CONFLICT (day) DO UPDATE "
        "SET latest = greatest(d.latest, excluded.latest), "
        "earliest = least(d.earliest, excluded.earliest), untimed = d.untimed OR excluded.untimed",
        (
            day,
            rows[0][at["seq"]],
            max(times),
            min(timed, default=None),
            len(timed) < len(times),
        ),
    )


class Postgres:
    """A store's database: a `Database`.

    Args:
        url: Where it is.
        engine: On it.
        arguments: With which it connects.
        read_only: Whether it refuses writes.
    """

    shared = True

    def __init__(
        self,
        url: sa.URL,
        engine: sa.Engine,
        arguments: Mapping[str, Any],
        *,
        read_only: bool = False,
    ) -> None:
        self.engine = engine
        self._url = url
        self._arguments = arguments
        self._read_only = read_only
        self._listening: psycopg.Connection[Any] | None = None
        self._appends: psycopg.Connection[Any] | None = None
        self._appending = threading.Lock()
        self._used = False
        self._made: set[datetime.date] = set()
        self._making = threading.Lock()

    @classmethod
    def open(cls, place: str, *, create: bool, read_only: bool, busy_seconds: float) -> "Postgres":
        """Open the store at a URL, making its tables first if need be; see `Store.open`.

        What the URL leaves open, the variables of libpq say: PGPASSWORD or PGPASSFILE, PGSSLMODE.
        """
        try:
            url = sa.make_url(place).set(drivername="postgresql+psycopg")
        except (sa.exc.ArgumentError, ValueError):
            raise StoreError(
                "The store's URL must be postgresql://USER@HOST:PORT/DATABASE, "
                f"was {_without_password(place)!r}"
            ) from None
        if not url.database:
            raise StoreError(f"The store's URL must name a database, was {_shown(url)}")
        settings = {"lock_timeout": f"{int(busy_seconds * 1000)}", "timezone": "UTC"}
        if read_only:
            settings["default_transaction_read_only"] = "on"
        arguments = {
            "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
            "application_name": "openwheel",
            "connect_timeout": max(2, int(min(busy_seconds, 10))),
            # A server that is gone without a word is noticed in some seconds, not hours.
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 15_000,
        }
        engine = sa.create_engine(
            url, connect_args=arguments, pool_pre_ping=True, pool_size=5, max_overflow=20
        )
        database = cls(url, engine, arguments, read_only=read_only)
        try:
            with database.errors():
                database._prepare(create=create and not read_only, read_only=read_only)
        except BaseException:
            engine.dispose()
            raise
        return database

    def __str__(self) -> str:
        """Return the URL, without a password."""
        return _shown(self._url)

    def beside(self, suffix: str, prefix: str) -> Path:
        """Return a path in a folder of this store in the user's cache, made if need be."""
        name = hashlib.sha256(str(self).encode()).hexdigest()[:16]
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = cache / "openwheel" / name
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"The folder {folder} for what belongs to {self} cannot be made: {error}; set "
                "XDG_CACHE_HOME to a folder that can be written"
            ) from None
        return folder / f"{prefix}store{suffix}"

    @contextmanager
    def errors(self) -> Iterator[None]:
        """See `Database.errors`."""
        try:
            yield
        except sa.exc.DBAPIError as error:
            raise self._error(error.orig) from error
        except psycopg.Error as error:
            raise self._error(error) from error
        except sa.exc.TimeoutError as error:
            raise StoreError(f"{self} gives this process no further connection") from error

    def _error(self, error: BaseException | None) -> StoreError:
        state = getattr(error, "sqlstate", None) or ""
        detail = " ".join(str(error).split())
        if isinstance(error, errors.DataError):
            return UnstorableError(f"{self} cannot hold a value: {detail}")
        for start, sentence in _SENTENCES.items():
            if state.startswith(start):
                return StoreError(f"{self} {sentence} ({detail})")
        if isinstance(error, psycopg.OperationalError):
            return StoreError(f"{self} cannot be opened ({detail})")
        return StoreError(f"{self} refused an operation: {detail}")

    def require_in_place(self) -> None:
        """See `Database.require_in_place`: a database that is gone refuses by itself."""

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """See `Database.reading`."""
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with (
            self.engine.connect().execution_options(**options) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def writing(self, *, alone: bool) -> Iterator[sa.Connection]:
        """See `Database.writing`."""
        # So each statement after the lock sees what its last holder committed.
        options: dict[str, Any] = {"isolation_level": "READ COMMITTED"}
        if self._read_only:
            # What was a reading connection would else take writes again.
            options["postgresql_readonly"] = True
        with (
            self.engine.connect().execution_options(**options) as connection,
            connection.begin(),
        ):
            limit = f"set_config('idle_in_transaction_session_timeout', '{_IDLE_WRITER_S}s', true)"
            lock = f", pg_advisory_xact_lock({_LOCK_SPACE}, {_WRITING})" if alone else ""
            connection.exec_driver_sql(f"SELECT {limit}{lock}")
            yield connection

    def append(self, names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> int:
        """See `Database.append`."""
        place = {name: index for index, name in enumerate(names)}
        # An id that is given twice is stored once.
        by_id = {str(escaped(row[place["id"]])): row for row in reversed(rows)}
        given = {identity: by_id[identity] for identity in reversed(by_id)}
        with self._appending:
            try:
                return self._append(names, place, given)
            except errors.CheckViolation:
                # Midnight passed: the day's partitions came after this transaction had begun.
                return self._append(names, place, given)
            except psycopg.OperationalError:
                # The server may have been restarted since the last time. What the first try
                # committed, the second one finds by its ids.
                if not self._leave():
                    raise
                return self._append(names, place, given)

    def _append(
        self, names: Sequence[str], place: Mapping[str, int], given: Mapping[str, tuple[Any, ...]]
    ) -> int:
        hashes = {
            identity: hashlib.sha256(row[place["request"]]).digest()
            for identity, row in given.items()
        }
        bodies = {key: given[identity][place["request"]] for identity, key in hashes.items()}
        times = [row[place["time"]] for row in given.values()]
        timed = [time for time in times if time > 0]
        today = self._today()
        keys = sorted(bodies)
        connection = self._appender()
        try:
            with connection.pipeline():
                connection.execute("BEGIN")
                taken = connection.execute(
                    "SELECT * FROM openwheel_append(%s, %b, %b, %s, %s, %s, %s)",
                    (
                        today,
                        keys,
                        [bodies[key] for key in keys],
                        list(given),
                        max(times),
                        min(timed, default=None),
                        len(timed) < len(times),
                    ),
                )
            day, before, fresh = taken.fetchone() or (today, 0, [])
            fresh = list(given) if fresh is None else fresh
            if fresh:
                numbered = enumerate(fresh, before + 1)
                values = ((seq, hashes[identity], given[identity]) for seq, identity in numbered)
                _copy_rows(connection, day, names, values)
            connection.execute("COMMIT")
            self._used = True
        except BaseException:
            with contextlib.suppress(psycopg.Error):
                connection.execute("ROLLBACK")
            raise
        return len(fresh)

    def _appender(self) -> "psycopg.Connection[Any]":
        """Return the connection that appends: its own, since most of a gateway's writes are."""
        if self._appends is None or self._appends.closed:
            self._used = False
            self._appends = self._connect(
                "openwheel-append", idle_in_transaction_session_timeout=_IDLE_WRITER_S * 1000
            )
        return self._appends

    def _leave(self) -> bool:
        """Give up the connection that appends; return whether it had ever worked."""
        appends, self._appends = self._appends, None
        if appends is not None:
            appends.close()
        used, self._used = self._used, False
        return used

    def _connect(self, name: str, **settings: Any) -> "psycopg.Connection[Any]":
        """Return a connection of its own, whose statements commit by themselves."""
        positional, named = self.engine.dialect.create_connect_args(self._url)
        options = [f"-c {key}={value}" for key, value in settings.items()]
        arguments = {**named, **self._arguments, "application_name": name}
        arguments["options"] = " ".join([self._arguments["options"], *options])
        return psycopg.connect(*positional, **arguments, autocommit=True)

    def _today(self) -> datetime.date:
        """Return the day by the server's clock, whose partitions are there."""
        answer = (
            self._appender()
            .execute("SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date")
            .fetchone()
        )
        (day,) = answer or (datetime.date.min,)
        if day not in self._made:
            self._make_day(day)
        return datetime.date(day.year, day.month, day.day)

    def _make_day(self, day: datetime.date) -> None:
        """Make a day's partitions, unless there are."""
        with self._making, self.writing(alone=True) as connection:
            following = day + datetime.timedelta(days=1)
            for parent, name in (
                ("exchange_bodies", f"{BODIES}{day:%Y%m%d}"),
                ("exchanges", f"{PARTITION}{day:%Y%m%d}"),
            ):
                if connection.exec_driver_sql("SELECT to_regclass(%s)", (name,)).scalar():
                    continue
                # Made apart and attached, which keeps nobody from reading or writing meanwhile.
                connection.exec_driver_sql(
                    f"CREATE TABLE {name} (LIKE {parent} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"
                )
                connection.exec_driver_sql(
                    f"ALTER TABLE {parent} ATTACH PARTITION {name} "
                    f"FOR VALUES FROM ('{day}') TO ('{following}')"
                )
        self._made.add(day)

    def restore(self, names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        """See `Database.restore`.

        An exchange is put in the day of its time, or of the exchange before it if that was later,
        and no day is after today; days of more than `_SINGLE_DAYS` ago are put together by month.
        """
        place = {name: index for index, name in enumerate(names)}
        with self._appending:
            today = self._today()
            connection = self._appender()
            answer = connection.execute("SELECT day FROM exchange_state").fetchone()
            (day,) = answer or (today,)
            by_day: dict[datetime.date, list[tuple[Any, ...]]] = {}
            for row in rows:
                day = min(max(day, _day_of(row[place["time"]], today)), today)
                by_day.setdefault(day, []).append(row)
            for each in by_day:
                self._make_day(each)  # before the transaction, which would not see them
            try:
                connection.execute("BEGIN")
                state = connection.execute("SELECT last_seq FROM exchange_state FOR UPDATE")
                (last,) = state.fetchone() or (0,)
                if last >= rows[0][place["seq"]]:
                    raise StoreError(
                        f"{self} had further exchanges while it was made a copy of another store"
                    )
                for each, some in by_day.items():
                    _restore_day(connection, each, names, some)
                connection.execute(
                    "UPDATE exchange_state SET last_seq = %s, day = %s",
                    (rows[-1][place["seq"]], day),
                )
                connection.execute("COMMIT")
                self._used = True
            except BaseException:
                with contextlib.suppress(psycopg.Error):
                    connection.execute("ROLLBACK")
                raise

    def numbers(self, transaction: sa.Connection) -> dict[str, int]:
        """See `Database.numbers`."""
        last = transaction.exec_driver_sql("SELECT last_seq FROM exchange_state").scalar_one()
        numbers = {exchanges.name: int(last)}
        for table, sequence in self._sequences(transaction).items():
            value, called = transaction.exec_driver_sql(
                f"SELECT last_value, is_called FROM {sequence}"
            ).one()
            if called:
                numbers[table] = int(value)
        return numbers

    def set_numbers(self, transaction: sa.Connection, numbers: Mapping[str, int]) -> None:
        """See `Database.set_numbers`."""
        for table, sequence in self._sequences(transaction).items():
            if table in numbers:
                transaction.exec_driver_sql("SELECT setval(%s, %s)", (sequence, numbers[table]))
        if exchanges.name in numbers:
            transaction.exec_driver_sql(
                "UPDATE exchange_state SET last_seq = greatest(last_seq, %s)",
                (numbers[exchanges.name],),
            )

    @staticmethod
    def _sequences(transaction: sa.Connection) -> dict[str, str]:
        """Return the sequence of each table that numbers its rows for good."""
        found = {}
        for table in metadata.tables.values():
            if table is exchanges or not table.dialect_options["sqlite"]["autoincrement"]:
                continue
            query = "SELECT pg_get_serial_sequence(%s, 'id')"
            if sequence := transaction.exec_driver_sql(query, (table.name,)).scalar_one():
                found[table.name] = str(sequence)
        return found

    def assign(
        self, rows: Sequence[tuple[int, str, str, str]], check: Callable[[sa.Connection], None]
    ) -> int:
        """See `Database.assign`."""
        seqs, *texts = map(list, zip(*rows, strict=True))
        columns = (seqs, *([escaped(text) for text in column] for column in texts))
        with self.writing(alone=False) as connection:
            check(connection)
            # The days are looked up first, so that other partitions are left out.
            first, last = connection.exec_driver_sql(
                "SELECT coalesce((SELECT max(day) FROM exchange_days WHERE first_seq <= %s), "
                "'1970-01-01'), (SELECT coalesce(max(day), '1970-01-01') FROM exchange_days)",
                (min(seqs),),
            ).one()
            return connection.exec_driver_sql(_ASSIGN, (*columns, first, last)).rowcount

    def days(self) -> list[Day]:
        """Return the days that have exchanges, oldest first."""
        with self.reading() as connection:
            rows = connection.exec_driver_sql("SELECT * FROM exchange_days ORDER BY day")
            return [Day._make(row) for row in rows]

    def delete_old(self, before: float, delete: Callable[[sa.ColumnElement[bool]], int]) -> int:
        """See `Database.delete_old`.

        Days go whole, once their last exchange is too old. An exchange that is a day older than
        that, as of a log of long ago, is deleted by itself.
        """
        days = self.days()
        old = [day for day in days[:-1] if day.latest < before and not day.untimed]
        deleted = sum(self.drop_day(day) for day in old)
        too_old = before - _DAY_S
        for day in days:
            if day in old or day.earliest is None or day.earliest >= too_old:
                continue
            on_this_day = sa.literal_column("exchanges.day") == day.day
            times = exchanges.c.time
            deleted += delete(on_this_day & (times < too_old) & (times > 0))
            with self.writing(alone=False) as connection:
                connection.exec_driver_sql(
                    "UPDATE exchange_days SET earliest = (SELECT min(time) FROM exchanges "
                    "WHERE exchanges.day = %s AND time > 0) WHERE day = %s",
                    (day.day, day.day),
                )
        return deleted

    def delete_oldest(self, most_bytes: int, delete: Callable[[Callable[[], bool]], int]) -> int:
        """See `Database.delete_oldest`: whole days, and never the current one."""
        del delete  # single rows give no room back at once, so that too many would go
        dropped = 0
        for day in self.days()[:-1]:
            if self.used_bytes() <= most_bytes:
                break
            dropped += self.drop_day(day)
        return dropped

    def drop_day(self, day: Day) -> int:
        """Drop a day's exchanges with their requests and the feedback on them; return how many.

        A process that ends in the middle leaves what the next call completes.
        """
        name, bodies = f"{PARTITION}{day.day:%Y%m%d}", f"{BODIES}{day.day:%Y%m%d}"
        plain = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        with plain as connection:
            if not connection.exec_driver_sql(
                "SELECT pg_try_advisory_lock(%s, hashtext(%s))", (_LOCK_SPACE, name)
            ).scalar():
                return 0  # another process does it
            try:
                number = self._drop_day(connection, day, name, bodies)
            finally:
                connection.exec_driver_sql(
                    "SELECT pg_advisory_unlock(%s, hashtext(%s))", (_LOCK_SPACE, name)
                )
        return number

    def _drop_day(self, connection: sa.Connection, day: Day, name: str, bodies: str) -> int:
        number = 0
        if connection.exec_driver_sql("SELECT to_regclass(%s)", (name,)).scalar():
            first, last, number = connection.exec_driver_sql(
                f"SELECT min(seq), max(seq), count(*) FROM {name}"
            ).one()
            if number:
                connection.execute(sa.delete(feedback).where(feedback.c.seq.between(first, last)))
                connection.exec_driver_sql(
                    f"DELETE FROM exchange_ids USING {name} WHERE exchange_ids.id = {name}.id "
                    f"AND exchange_ids.seq = {name}.seq"
                )
        # Apart from each other, and concurrently: neither readers nor writers wait.
        for parent, child in (("exchanges", name), ("exchange_bodies", bodies)):
            pending = connection.exec_driver_sql(
                "SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = to_regclass(%s)",
                (child,),
            ).scalar()
            if pending is not None:
                how = "FINALIZE" if pending else "CONCURRENTLY"
                connection.exec_driver_sql(f"ALTER TABLE {parent} DETACH PARTITION {child} {how}")
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {child}")
        connection.exec_driver_sql("DELETE FROM exchange_days WHERE day = %s", (day.day,))
        return int(number)

    def used_bytes(self) -> int:
        """See `Database.used_bytes`."""
        query = (
            "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class "
            "WHERE relkind = 'r' AND relnamespace = "
            "(SELECT relnamespace FROM pg_class WHERE oid = 'exchange_state'::regclass)"
        )
        with self.reading() as connection:
            return int(connection.exec_driver_sql(query).scalar_one())

    def change(self) -> int:
        """See `Database.change`."""
        # The highest number of a transaction that ended is not enough: an earlier one may end
        # later. Which of them still run is in the snapshot's text.
        plain = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        with plain as connection:
            snapshot = connection.exec_driver_sql("SELECT pg_current_snapshot()::text").scalar_one()
        return int.from_bytes(hashlib.sha256(snapshot.encode()).digest()[:7], "big")

    def wait(self, seconds: float) -> None:
        """See `Database.wait`: the database tells what was committed."""
        deadline = time.monotonic() + seconds
        try:
            if self._listening is None or self._listening.closed:
                self._listening = self._connect("openwheel-listen")
                self._listening.execute(f"LISTEN {CHANNEL}")
                return  # what changed before it listened was not told
            for _ in self._listening.notifies(timeout=seconds, stop_after=1):
                return
        except psycopg.Error:
            # Those who wait look again when time is up; that says what is wrong.
            self._stop_listening()
            time.sleep(max(0.0, deadline - time.monotonic()))

    def _stop_listening(self) -> None:
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.close()

    def close(self) -> None:
        """Close all connections."""
        self._stop_listening()
        self._leave()
        self.engine.dispose()

    def _prepare(self, *, create: bool, read_only: bool) -> None:
        """Make all tables, or bring them up to date; any number of processes may at once.

        Raises:
            StoreError: The database is not a store and may not be made one, is a store of a later
                version, or with ``read_only`` of an earlier one; or its encoding is not UTF-8.
        """
        latest = max(MIGRATIONS)
        with self.engine.connect() as connection, connection.begin():
            version = self._version(connection)
            if version == latest and self._has_tables(connection):
                return
        if version is None and not create:
            raise StoreError(f"There is no traffic store at {self}")
        if version is not None and version > latest:
            raise StoreError(
                f"{self} was written by a later version of Openwheel (schema {version}; this "
                f"version knows {latest}); upgrade Openwheel to open it"
            )
        if read_only:
            raise StoreError(
                f"{self} was written by an earlier version of Openwheel, and is to be left as it "
                "is; a command that writes, such as `openwheel tasks --db URL`, brings it up to "
                "date"
            )
        with self.engine.connect() as connection, connection.begin():
            connection.exec_driver_sql(
                "SELECT pg_advisory_xact_lock(%s, %s)", (_LOCK_SPACE, _PREPARING)
            )
            version = self._version(connection)  # another process may have been first
            if version is None:
                self._make(connection)
            for since, statements in MIGRATIONS.items():
                if version is not None and version < since:
                    for statement in statements:
                        connection.exec_driver_sql(statement)
            _metadata().create_all(connection)
            connection.exec_driver_sql("DELETE FROM openwheel_store")
            connection.exec_driver_sql("INSERT INTO openwheel_store VALUES (%s)", (latest,))

    @staticmethod
    def _has_tables(connection: sa.Connection) -> bool:
        """Return whether all tables are there: a new one does not take a version of its own."""
        query = "SELECT bool_and(to_regclass(name) IS NOT NULL) FROM unnest(%s::text[]) AS t (name)"
        return bool(connection.exec_driver_sql(query, (list(metadata.tables),)).scalar_one())

    def _version(self, connection: sa.Connection) -> int | None:
        """Return the version of the schema, None if there is no store."""
        there = connection.exec_driver_sql(
            "SELECT to_regclass('openwheel_store'), to_regclass('exchanges'), to_regclass('tasks')"
        ).one()
        if there[0] is not None:
            return int(
                connection.exec_driver_sql("SELECT schema FROM openwheel_store").scalar_one()
            )
        if there[1] is not None or there[2] is not None:
            raise StoreError(
                f"{self} has tables of another program where a traffic store's would be; use a "
                "database, or a schema in the search path, of its own"
            )
        return None

    def _make(self, connection: sa.Connection) -> None:
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
        if encoding != "UTF8":
            raise StoreError(f"The encoding of {self} must be UTF8, was {encoding}")
        for statement in (*_BASE.split(";\n"), _TELL, _APPEND):
            connection.exec_driver_sql(statement)
        _metadata().create_all(connection)
        for table in ORDERED:
            connection.exec_driver_sql(
                f"ALTER TABLE {table} ADD COLUMN rowid BIGINT GENERATED ALWAYS AS IDENTITY"
            )
        for table in _TOLD:
            connection.exec_driver_sql(
                f"CREATE TRIGGER openwheel_tell AFTER INSERT OR UPDATE OR DELETE ON {table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION openwheel_tell()"
            )


def _metadata() -> sa.MetaData:
    """Return the tables as Postgres has them: the exchanges by day, their requests apart."""
    target = sa.MetaData()
    own = {exchanges.name, feedback.name}
    for table in metadata.sorted_tables:
        if table.name not in own:
            table.to_metadata(target)
    columns = [
        column._copy() for column in exchanges.columns if column.name not in {"request", "seq"}
    ]
    for column in columns:
        column.unique = None  # by `exchange_ids`, of all days together
    sa.Table(
        exchanges.name,
        target,
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("seq", INTEGER, nullable=False),
        sa.Column("request_hash", sa.LargeBinary, nullable=False),
        *columns,
        sa.PrimaryKeyConstraint("seq", "day"),
        sa.Index("exchanges_by_task", "task_id", "seq"),
        *(
            sa.Index(name, column, postgresql_where=sa.text(f"{column} IS NOT NULL"))
            for name, column in (
                ("exchanges_by_reply", "reply_id"),
                ("exchanges_by_request", "request_id"),
            )
        ),
        postgresql_partition_by="RANGE (day)",
    )
    # Without the reference: a key of a table in partitions has the day too.
    sa.Table(
        feedback.name,
        target,
        *(
            sa.Column(
                column.name,
                column.type,
                primary_key=column.primary_key,
                nullable=column.nullable,
                server_default=column.server_default,
                autoincrement=False,
            )
            for column in feedback.columns
        ),
    )
    return target


def _shown(url: sa.URL) -> str:
    return url.set(drivername="postgresql").render_as_string(hide_password=True)


def _without_password(place: str) -> str:
    """Return what may be shown of a URL that could not be read."""
    scheme, _, rest = place.partition("://")
    return f"{scheme}://...@{rest.rpartition('@')[2]}" if "@" in rest else place
