"""Gives all leases to the one learner that there is."""

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from openwheel.loop.leases.lease import Lease, found_in, given_back, is_part
from openwheel.machine import process_name
from openwheel.store import Store
from openwheel.store import leases as rows


class LeasesAlone:
    """All leases of a store to the one learner that there is: the caller knows that there is one.

    Leases last until they are given back, and nobody takes them meanwhile, so no write has to be
    checked.
    """

    alone = True

    def __init__(self, store: Store, *, holder: str = "") -> None:
        self._store = store
        self._holder = holder or process_name()

    def learning(self, *, patience: float = 0.0) -> AbstractContextManager[None]:
        """See `Leases.learning`."""
        del patience
        return contextlib.nullcontext()

    @contextmanager
    def held(self, name: str, *, patience: float = 0.0) -> Iterator[Lease | None]:
        """See `Leases.held`."""
        del patience
        if not is_part(name):  # nobody else, and nothing to note
            yield Lease(store=self._store)
            return
        with self._store.write() as transaction:
            before = found_in(rows.find(transaction, name))
            token = rows.acquire(transaction, name, self._holder, seconds=None, steal=True)
        assert token is not None
        lease = Lease(store=self._store, before=before, token=token)
        with given_back(self._store, name, self._holder, lease):
            yield lease

    def release_all(self) -> None:
        """See `Leases.release_all`."""
        with self._store.write() as transaction:
            rows.free_ended(transaction, everyone=True)
