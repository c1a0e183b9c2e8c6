"""Expressions that SQLite and Postgres spell differently, and the types of columns.

Knows nothing of connections. The name of an expression's compiler says the database.
"""

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""64 bits; SQLite calls a key that it numbers itself INTEGER."""

NEVER_USED_TWICE: dict[str, Any] = {"sqlite_autoincrement": True}
"""Of a table whose ids are given to no other row, also when the last one was deleted."""

KEPT_BY_KEY: dict[str, Any] = {"sqlite_with_rowid": False}
"""Of a table whose rows are short and found by the primary key alone."""

AS_THEY_CAME: sa.ColumnElement[int] = sa.literal_column("rowid", INTEGER)
"""Orders the rows of one table. Their times would do, had no clock ever been set back. SQLite gives
it to every table; in Postgres it is a column of the tables that are read in this order."""

# Postgres cannot hold U+0000 in a text. These two are no characters, and stand for it and for the
# first of them.
_ESCAPE, _ZERO, _ITSELF = "\ufdd0", "\ufdd0\ufdd1", "\ufdd0\ufdd2"


def escaped(text: str | None) -> str | None:
    """Return a text as Postgres can hold it."""
    if not text or ("\0" not in text and _ESCAPE not in text):
        return text
    return text.replace(_ESCAPE, _ITSELF).replace("\0", _ZERO)


def unescaped(text: str | None) -> str | None:
    """Return the text that `escaped` was given."""
    if text is None or _ESCAPE not in text:
        return text
    return text.replace(_ZERO, "\0").replace(_ITSELF, _ESCAPE)


class Text(sa.types.TypeDecorator[str]):
    """A text with any characters, U+0000 among them; costs nothing in SQLite."""

    impl = sa.Text
    cache_ok = True

    def bind_processor(self, dialect: sa.Dialect) -> Any:
        """Return what makes a value one that the database can hold."""
        return escaped if dialect.name == "postgresql" else None

    def result_processor(self, dialect: sa.Dialect, coltype: Any) -> Any:
        """Return what makes a stored value the one that was given."""
        del coltype
        return unescaped if dialect.name == "postgresql" else None


def insert(transaction: sa.Connection, table: sa.Table) -> sqlite.Insert:
    """Return an insert that allows a clause for rows whose key exists already."""
    if transaction.dialect.name == "postgresql":
        return postgresql.insert(table)  # type: ignore[return-value]  # the same methods
    return sqlite.insert(table)


def unique_where(condition: sa.ColumnElement[bool]) -> dict[str, Any]:
    """Return the options of a unique index on the rows for which a condition holds."""
    return {"unique": True, "sqlite_where": condition, "postgresql_where": condition}


class greater(FunctionElement[Any]):  # noqa: N801 - reads as a function
    """The greater of two values."""

    inherit_cache = True
    name = "greater"


class json_value(FunctionElement[str]):  # noqa: N801
    """A JSON object's value under a name, null if it has none."""

    inherit_cache = True
    name = "json_value"
    type = sa.Text()


class whole_hours(FunctionElement[int]):  # noqa: N801
    """A time in seconds as whole hours."""

    inherit_cache = True
    name = "whole_hours"
    type = INTEGER


class now(FunctionElement[float]):  # noqa: N801
    """The time by the database's clock, in seconds since 1970."""

    inherit_cache = True
    name = "now"
    type = sa.Float()


class request_body(FunctionElement[bytes]):  # noqa: N801
    """The request of the exchange that a query is at, as bytes."""

    inherit_cache = True
    name = "request_body"
    type = sa.LargeBinary()


class same_request(FunctionElement[bool]):  # noqa: N801
    """Whether the exchange that a query is at has this request."""

    inherit_cache = True
    name = "same_request"
    type = sa.Boolean()


class days_since(FunctionElement[bool]):  # noqa: N801
    """Whether an exchange is in a day that may have a ``seq`` or later ones.

    True of every exchange from this ``seq`` on: it only has Postgres leave out whole partitions.
    """

    inherit_cache = True
    name = "days_since"
    type = sa.Boolean()


class days_until(FunctionElement[bool]):  # noqa: N801
    """Whether an exchange is in a day that may have a ``seq`` or earlier ones: as `days_since`."""

    inherit_cache = True
    name = "days_until"
    type = sa.Boolean()


def after(table: sa.Table, seq: Any) -> sa.ColumnElement[bool]:
    """Return the condition that an exchange came after another."""
    return sa.and_(table.c.seq > seq, days_since(sa.literal(seq, INTEGER)))


def until(table: sa.Table, seq: Any) -> sa.ColumnElement[bool]:
    """Return the condition that an exchange came no later than another."""
    return sa.and_(table.c.seq <= seq, days_until(sa.literal(seq, INTEGER)))


def at(table: sa.Table, seq: Any) -> sa.ColumnElement[bool]:
    """Return the condition that an exchange has a ``seq``."""
    number = sa.literal(seq, INTEGER)
    return sa.and_(table.c.seq == seq, days_since(number), days_until(number))


def has_id(
    transaction: sa.Connection, table: sa.Table, ids: Collection[str]
) -> sa.ColumnElement[bool]:
    """Return the condition that an exchange has one of these ids."""
    if transaction.dialect.name != "postgresql":
        return table.c.id.in_(ids)
    known = sa.table("exchange_ids", sa.column("id", Text), sa.column("day"), sa.column("seq"))
    found = sa.select(known.c.day, known.c.seq).where(known.c.id.in_(ids))
    return sa.tuple_(sa.literal_column("exchanges.day"), table.c.seq).in_(found)


def free_ids(
    transaction: sa.Connection, table: sa.Table, condition: sa.ColumnElement[bool]
) -> None:
    """Have the ids of exchanges that are about to be deleted be new again."""
    if transaction.dialect.name == "postgresql":
        known = sa.table("exchange_ids", sa.column("id", Text), sa.column("seq"))
        free = sa.delete(known).where(known.c.id == table.c.id, known.c.seq == table.c.seq)
        transaction.execute(free.where(condition))


_FIRST_DAY = "SELECT max(d.day) FROM exchange_days d WHERE d.first_seq <= {0}"

_SPELLINGS: dict[type[FunctionElement[Any]], tuple[str, str]] = {
    # For SQLite, and for Postgres; {0} is the first argument.
    greater: ("max({0}, {1})", "greatest({0}, {1})"),
    json_value: ("json_extract({0}, '$.' || {1})", "(CAST({0} AS json) ->> {1})"),
    whole_hours: (
        "CAST({0} / 3600.0 AS INTEGER)",
        "CAST(trunc(CAST({0} / 3600.0 AS numeric)) AS BIGINT)",
    ),
    now: (
        "((julianday('now') - 2440587.5) * 86400.0)",
        # Not that of the transaction's beginning.
        "CAST(extract(epoch FROM clock_timestamp()) AS double precision)",
    ),
    request_body: (
        "exchanges.request",
        "(SELECT b.body FROM exchange_bodies b "
        "WHERE b.day = exchanges.day AND b.hash = exchanges.request_hash)",
    ),
    same_request: ("exchanges.request = {0}", "exchanges.request_hash = sha256({0})"),
    days_since: ("1", f"exchanges.day >= coalesce(({_FIRST_DAY}), '-infinity')"),
    days_until: ("1", f"exchanges.day <= coalesce(({_FIRST_DAY}), '-infinity')"),
}


def _spell(kind: type[FunctionElement[Any]], database: str, template: str) -> None:
    def spelled(element: FunctionElement[Any], compiler: SQLCompiler, **kw: Any) -> str:
        arguments = (compiler.process(clause, **kw) for clause in element.clauses)
        return template.format(*arguments)

    compiles(kind, database)(spelled)


for _kind, _templates in _SPELLINGS.items():
    for _database, _template in zip(("sqlite", "postgresql"), _templates, strict=True):
        _spell(_kind, _database, _template)
