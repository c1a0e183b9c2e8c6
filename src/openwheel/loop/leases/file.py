"""Gives all leases to one learner at a time on this machine."""

import contextlib
import fcntl
import io
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from openwheel.errors import StoreError
from openwheel.loop.leases.alone import LeasesAlone
from openwheel.loop.leases.lease import Lease, OtherLearnerError
from openwheel.store import Store

_POLL_S = 0.05


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
