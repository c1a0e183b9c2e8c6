"""Lets one learner at a time learn from a store."""

import contextlib
import fcntl
import io
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from openwheel.errors import StoreError
from openwheel.store import Store

_POLL_S = 0.05


class OtherLearnerError(StoreError):
    """Another process is learning from the store."""


class LearnerLock(Protocol):
    """The right to learn from a store."""

    def held(self, *, patience: float = 0.0) -> AbstractContextManager[None]:
        """Hold the right until the block or the process ends.

        Args:
            patience: Seconds to wait for another process. A gateway without turns holds it for a
                moment at times, to keep the store within its limits.

        Raises:
            OtherLearnerError: Another process holds it.
            StoreError: It cannot be held at all.
        """


class FileLock:
    """The right to learn from a store on this machine: a lock of the system on a file beside it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @contextmanager
    def held(self, *, patience: float = 0.0) -> Iterator[None]:
        """See `LearnerLock.held`."""
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
            yield


def learner_lock(store: Store) -> LearnerLock:
    """Return the right to learn from a store."""
    return FileLock(store)


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
