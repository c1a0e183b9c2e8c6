"""Shares the work among learners: finding tasks, and each task's part of a turn, is done by one.

What is to be done by one learner at a time has a lease, which is taken before and given back after.
The leases are in the store. A lease that was not given back tells that its holder died at it.
"""

import contextlib
import fcntl
import io
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import msgspec

from openwheel.errors import OpenwheelError, StoreError
from openwheel.machine import process_name
from openwheel.store import Store
from openwheel.store import leases as rows

FINDING = "finding tasks"
"""The lease of finding tasks, with which a turn begins; its token is the turn's number."""

RETENTION = "retention"
"""The lease of keeping the store within its limits."""

ASKING = "asking teachers again"
"""The lease of asking teachers twice."""

_TASK = "task "
_POLL_S = 0.05


def of_task(task_id: str) -> str:
    """Return the lease of a task: of its part of a turn."""
    return _TASK + task_id


class OtherLearnerError(StoreError):
    """Another learner does the work."""


class LeaseLostError(OpenwheelError):
    """A lease has ended, or another learner has it: nothing was written."""


class Found(msgspec.Struct, frozen=True):
    """The tasks of a turn were found, so that any learner may take their parts.

    Attributes:
        number: The turn's number.
        looked_at: The turn's newest exchange.
    """

    number: int = 0
    looked_at: int = 0


class Lease(msgspec.Struct, kw_only=True):
    """A lease that is held.

    Attributes:
        store: The store; what is written through it is refused once the lease is lost.
        before: The latest turn in which the work was done.
        token: Grows by one each time that the lease is taken.
        done: The turn in which the work has now been done; set it before the end.
    """

    store: Store
    before: Found = Found()
    token: int = 0
    done: Found | None = None


class Leases(Protocol):
    """The leases of a store, for one learner.

    Attributes:
        alone: Whether there is one learner at a time, so that all that others left has ended.
    """

    alone: bool

    def learning(self, *, patience: float = 0.0) -> AbstractContextManager[None]:
        """Be one of the store's learners until the block or the process ends.

        Args:
            patience: Seconds to wait for another process where there may be one at a time. A
                gateway without turns is one for a moment at times, to keep the store within its
                limits.

        Raises:
            OtherLearnerError: Another process is, and there may be one at a time.
            StoreError: No process can be.
        """

    def held(self, name: str, *, patience: float = 0.0) -> AbstractContextManager[Lease | None]:
        """Hold a lease until the block ends; None while another learner has it.

        A block that ends by an error does not give it back, unless it was stopped: that counts as
        the learner's death.

        Args:
            name: The lease.
            patience: Seconds to wait for another learner.
        """

    def release_all(self) -> None:
        """Give all leases back, because this learner is stopped and does not die."""


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
        with _given_back(self._store, name, self._holder, lease):
            yield lease

    def release_all(self) -> None:
        """See `Leases.release_all`."""
        with self._store.write() as transaction:
            rows.free_ended(transaction, everyone=True)


class FileLeases(LeasesAlone):
    """All leases to one learner at a time on this machine, by a system's lock on a file.

    The file is beside the store.
    """

    def __init__(self, store: Store, *, holder: str = "") -> None:
        super().__init__(store, holder=holder)
        self._learning = False

    @contextmanager
    def learning(self, *, patience: float = 0.0) -> Iterator[None]:
        """See `Leases.learning`."""
        path = self._store.beside(".learner")
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreError(
                f"The learner's lock {path} must be writable: {error.strerror}"
            ) from None
        with io.FileIO(descriptor, "r+") as file:
            deadline = time.monotonic() + patience
            while not _take(file, path):
                if time.monotonic() < deadline:
                    time.sleep(_POLL_S)
                    continue
                holder = file.read(20).decode("ascii", "replace").strip()
                by = f" (process {holder})" if holder.isdecimal() else ""
                raise OtherLearnerError(
                    f"Another process{by} is learning from {self._store}; there can be one at a "
                    "time"
                )
            with contextlib.suppress(OSError):  # for messages alone; the disk may be full
                file.truncate(0)
                file.write(f"{os.getpid()}\n".encode())
            self._learning = True
            try:
                yield
            finally:
                self._learning = False

    @contextmanager
    def held(self, name: str, *, patience: float = 0.0) -> Iterator[Lease | None]:
        """See `Leases.held`."""
        with contextlib.ExitStack() as stack:
            if not self._learning:
                try:
                    stack.enter_context(self.learning(patience=patience))
                except OtherLearnerError:
                    yield None
                    return
            yield stack.enter_context(super().held(name))


def leases_of(store: Store, *, holder: str = "") -> Leases:
    """Return the leases of a store.

    Args:
        store: The store.
        holder: Who takes them; by default somebody new.
    """
    return FileLeases(store, holder=holder)


def latest_found(store: Store) -> Found:
    """Return the latest turn of which the tasks were found."""
    with store.read() as transaction:
        return found_in(rows.find(transaction, FINDING))


def found_in(row: rows.LeaseRow | None) -> Found:
    """Return the latest turn in which the work of a lease was done."""
    return Found() if row is None else Found(row.turn, row.looked_at)


def settled(store: Store, found: Found) -> set[str]:
    """Return the leases that need not be tried: held now, or their work done in a turn."""
    with store.read() as transaction:
        return {
            row.name
            for row in rows.read(transaction).values()
            if row.holder or row.turn >= found.number
        }


def is_part(name: str) -> bool:
    """Return whether a lease is of a part of a turn: of finding tasks, or of a task."""
    return name == FINDING or name.startswith(_TASK)


def task_of(name: str) -> str | None:
    """Return the task that a lease is of, None if it is of none."""
    return name.removeprefix(_TASK) if name.startswith(_TASK) else None


@contextmanager
def _given_back(store: Store, name: str, holder: str, lease: Lease) -> Iterator[None]:
    """Give a lease back at the end of the block, or when it is stopped."""

    def give_back() -> None:
        done = None if lease.done is None else (lease.done.number, lease.done.looked_at)
        with store.write() as transaction:
            rows.release(transaction, name, holder, lease.token, done=done)

    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        give_back()  # stopped, which is no failure
        raise
    give_back()


def _take(file: io.FileIO, path: Path) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise StoreError(
            f"The learner's lock {path} must be on a file system with locks, such as a local "
            f"disk: {error.strerror}"
        ) from None
    return True
