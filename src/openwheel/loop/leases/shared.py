"""Shares leases among learners on any machines, which may die, freeze or be cut off."""

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import msgspec

from openwheel.loop.learner.background import in_background
from openwheel.loop.leases.lease import (
    Found,
    Lease,
    LeaseLostError,
    found_in,
    free_dead,
    given_back,
)
from openwheel.machine import process_name
from openwheel.store import Store, Transaction
from openwheel.store import leases as rows

RENEWALS = 4
"""How often a lease is renewed before it would end."""

TRUSTED = 0.9
"""The share of a lease's time that its holder counts on, by its own clock: clocks run at slightly
different rates."""

_POLL_S = 1.0


class SharedLeases:
    """The leases of a store that learners on any machines share.

    Whoever holds one renews it several times before it ends. When it ends is decided by the
    database's clock; a holder that could not renew it gives up some time before that, by a clock of
    its own that is never set.

    Args:
        store: The store.
        seconds: How long a lease lasts that is not renewed.
        holder: Who takes them; by default somebody new.
    """

    alone = False

    def __init__(self, store: Store, *, seconds: float, holder: str = "") -> None:
        self._store = store
        self._seconds = seconds
        self._holder = holder or process_name()

    def learning(self, *, patience: float = 0.0) -> AbstractContextManager[None]:
        """See `Leases.learning`: there may be any number."""
        del patience
        return contextlib.nullcontext()

    @contextmanager
    def held(self, name: str, *, patience: float = 0.0) -> Iterator[Lease | None]:
        """See `Leases.held`."""
        deadline = time.monotonic() + patience
        while (taken := self._take(name)) is None:
            if time.monotonic() >= deadline:
                yield None
                return
            time.sleep(_POLL_S)
        grip, before = taken
        lease = Lease(store=self._store.fenced(grip.check), before=before, token=grip.token)
        with (
            in_background(
                grip.renew,
                name="openwheel-lease",
                every=self._seconds / RENEWALS,
                failed=f"The lease of {name} could not be renewed",
            ),
            given_back(self._store, name, self._holder, lease),
        ):
            yield lease

    def _take(self, name: str) -> "tuple[_Grip, Found] | None":
        began = time.monotonic()
        with self._store.write(alone=False) as transaction:
            free_dead(transaction, name=name)
            token = rows.acquire(transaction, name, self._holder, seconds=self._seconds)
            if token is None:
                return None
            # Only now: the last holder may have been giving it back.
            before = found_in(rows.find(transaction, name))
        grip = _Grip(
            store=self._store,
            name=name,
            holder=self._holder,
            token=token,
            seconds=self._seconds,
            until=began + self._seconds * TRUSTED,
        )
        return grip, before

    def release_all(self) -> None:
        """See `Leases.release_all`."""
        with self._store.write(alone=False) as transaction:
            rows.release_all(transaction, self._holder)


class _Grip(msgspec.Struct, kw_only=True):
    """A holder's knowledge of its lease.

    Attributes:
        until: When it is lost unless it is renewed, by the monotonic clock.
        lost: Whether it is lost.
    """

    store: Store
    name: str
    holder: str
    token: int
    seconds: float
    until: float
    lost: bool = False

    def renew(self, over: Callable[[], bool]) -> None:
        """Renew the lease, unless it is lost, or its block is over."""
        began = time.monotonic()
        if self._is_lost(began) or over():
            return
        with self.store.write(alone=False) as transaction:
            kept = rows.renew(transaction, self.name, self.holder, self.token, seconds=self.seconds)
        self.until = began + self.seconds * TRUSTED
        self.lost = not kept

    def check(self, transaction: Transaction) -> None:
        """Refuse a write once the lease is lost.

        Raises:
            LeaseLostError: It is.
        """
        self.lost = self._is_lost(time.monotonic()) or not rows.is_held(
            transaction, self.name, self.holder, self.token
        )
        if self.lost:
            raise LeaseLostError(
                f"The lease of {self.name} was lost, since this learner was frozen or cut off from "
                f"{self.store}; it writes nothing more under it"
            )

    def _is_lost(self, now: float) -> bool:
        return self.lost or now >= self.until
