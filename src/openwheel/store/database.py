"""Says what the store asks of a database; `sqlite` and `postgres` are those there are."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa


class Database(Protocol):
    """A database that keeps a store, with all that SQL alone does not say.

    Attributes:
        engine: Gives connections.
        shared: Whether processes on other machines may use it too.
    """

    engine: sa.Engine
    shared: bool

    def __str__(self) -> str:
        """Return where it is, for messages: without a password."""

    def beside(self, suffix: str, prefix: str) -> Path:
        """Return a path on this machine for what belongs to the store and is not in it."""

    def errors(self) -> AbstractContextManager[None]:
        """Turn errors of the database and its driver into a `StoreError` that says what to do."""

    def require_in_place(self) -> None:
        """Raise `StoreError` if writing would be lost: the file was deleted or replaced."""

    def reading(self) -> AbstractContextManager[sa.Connection]:
        """Yield a connection whose transaction sees one state, and waits for no writer."""

    def writing(self, *, alone: bool) -> AbstractContextManager[sa.Connection]:
        """Yield a connection whose transaction commits at the end.

        Args:
            alone: Whether no other such transaction may run meanwhile. Without it others may,
                where the database can do so.
        """

    def append(self, names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> int:
        """Insert exchanges with these columns in one transaction; return how many ids were new.

        Each gets the next ``seq``, in the order of commits.
        """

    def restore(self, names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert exchanges of another store in one transaction, with the ``seq`` they had there.

        All are later than those there are.
        """

    def numbers(self, transaction: sa.Connection) -> dict[str, int]:
        """Return the last number that was given to a row, by the names of tables that give them."""

    def set_numbers(self, transaction: sa.Connection, numbers: Mapping[str, int]) -> None:
        """Have tables go on after these numbers, `numbers` of another store."""

    def assign(
        self, rows: Sequence[tuple[int, str, str, str]], check: Callable[[sa.Connection], None]
    ) -> int:
        """Set task, inputs and settings of exchanges of no task, in a transaction; return how many.

        Args:
            rows: The exchanges, by ``seq``.
            check: Called first, in the same transaction.
        """

    def delete_old(self, before: float, delete: Callable[[sa.ColumnElement[bool]], int]) -> int:
        """Delete the exchanges that arrived before a time; return how many.

        Args:
            before: Seconds since 1970.
            delete: Deletes the exchanges that meet a condition, some at a time.
        """

    def delete_oldest(self, most_bytes: int, delete: Callable[[Callable[[], bool]], int]) -> int:
        """Delete the oldest exchanges until the rest takes at most so many bytes.

        Args:
            most_bytes: The limit.
            delete: Deletes the oldest exchanges, some at a time, while its argument says so.
        """

    def days(self) -> Sequence[Any]:
        """Return the days whose exchanges lie apart, each with its ``day``, oldest first."""

    def used_bytes(self) -> int:
        """Return how many bytes are in use."""

    def change(self) -> int:
        """Return a number that differs once another connection has written.

        For one thread at a time.
        """

    def wait(self, seconds: float) -> None:
        """Return once promotions, stops, audit plans or keys may have changed, or time is up.

        For one thread at a time.
        """

    def close(self) -> None:
        """Close all connections."""
