"""Keeps the store within a number of days and of bytes by deleting the oldest exchanges."""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import sqlalchemy as sa

from openwheel.errors import StoreError
from openwheel.store import sql
from openwheel.store.exchanges import delete_exchanges
from openwheel.store.schema import exchanges as table
from openwheel.store.store import Store

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 60.0
# A thousand of 100 KB kept writers out for half a second.
_BATCH = 200
_PAUSE_S = 0.02
_DAY_S = 86_400.0

SETTLED_AFTER_S = 3_600.0
"""Seconds that a clock must have run evenly before exchanges are deleted for their age. Machines
may start with a wrong clock, and people set clocks."""

_STEP_S = 60.0


def retention(
    store: Store,
    *,
    days: float,
    most_bytes: int,
    held: Callable[[], AbstractContextManager[object]] = lambda: nullcontext(True),
    clock: Callable[[], float] = time.time,
    ticks: Callable[[], float] = time.monotonic,
) -> Callable[[], None]:
    """Return a function that deletes exchanges too old or too many, once a minute at most.

    It deletes none for its age in the first hour, nor in the hour after the clock was set.

    Args:
        days: Days that an exchange is kept; 0 for ever. One without a time is never too old.
        most_bytes: The most bytes that the store may use; 0 for no limit.
        held: Holds the right to do so for a block; gives None while another has it.
        clock: Seconds since 1970.
        ticks: Seconds of a monotonic clock.
    """
    looked_at = float("-inf")
    even_since, ahead = ticks(), clock() - ticks()

    def is_settled(now: float) -> bool:
        nonlocal even_since, ahead
        was, ahead = ahead, clock() - now
        if abs(ahead - was) > _STEP_S:
            even_since = now
            logger.warning(
                "The clock was set by %+.0f s; nothing is deleted for its age for an hour",
                ahead - was,
            )
        return now - even_since >= SETTLED_AFTER_S

    def look() -> None:
        nonlocal looked_at
        now = ticks()
        if not (days or most_bytes) or now - looked_at < _LOOK_EVERY_S:
            return
        looked_at = now
        settled = bool(days) and is_settled(now)
        deleted = 0
        try:
            with held() as right:
                if right is None:
                    return
                if settled:
                    deleted += delete_old(store, before=clock() - days * _DAY_S)
                if most_bytes:
                    deleted += delete_oldest(store, most_bytes=most_bytes)
        except StoreError as error:
            logger.error("Old exchanges could not be deleted: %s", error)
            return
        if deleted:
            logger.info("%d exchanges were deleted, by the limits set for the store", deleted)

    return look


def delete_old(store: Store, *, before: float) -> int:
    """Delete exchanges that arrived before a time, in seconds since 1970; return how many.

    Of a store in Postgres whole days are dropped, each up to a day later.
    """

    def delete(old: sa.ColumnElement[bool]) -> int:
        return _delete(store, sa.select(table.c.seq).where(old), lambda: True)

    with store.database.errors():
        return store.database.delete_old(before, delete)


def delete_oldest(store: Store, *, most_bytes: int) -> int:
    """Delete the oldest exchanges until the rest takes at most so many bytes; return how many.

    Of a store in Postgres whole days are dropped, and the current one never is.
    """

    def delete(goes_on: Callable[[], bool]) -> int:
        return _delete(store, sa.select(table.c.seq), goes_on)

    with store.database.errors():
        return store.database.delete_oldest(most_bytes, delete)


def used_bytes(store: Store) -> int:
    """Return how many bytes the store uses."""
    with store.database.errors():
        return store.database.used_bytes()


def days(store: Store) -> list[str]:
    """Return the days whose exchanges lie apart and are dropped together, oldest first."""
    with store.database.errors():
        return [day.day.isoformat() for day in store.database.days()]


def _delete(store: Store, which: sa.Select[tuple[int]], goes_on: Callable[[], bool]) -> int:
    """Delete in batches, so that writers are not kept waiting."""
    batch = which.order_by(table.c.seq).limit(_BATCH)
    total = after = 0
    while goes_on():
        # Looking may take long, and holds up nobody outside a transaction that writes.
        with store.read() as connection:
            later = batch.where(sql.after(table, after))
            seqs = [row.seq for row in connection.execute(later)]
        if not seqs:
            break
        after = seqs[-1]
        with store.write(alone=False) as connection:
            total += delete_exchanges(connection, seqs)
        time.sleep(_PAUSE_S)
    return total
