"""One learner at a time for each store."""

import contextlib
import fcntl
import io
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from openwheel.errors import StoreError

_POLL_S = 0.05


class OtherLearnerError(StoreError):
    """Another process is learning from the store."""


@contextmanager
def learner_lock(database: Path, *, patience: float = 0.0) -> Iterator[None]:
    """Hold the right to learn from a store; the system frees it when the process ends.

    Args:
        database: The store's file.
        patience: Seconds to wait for another process. A gateway without turns holds it now and
            then for a moment, to keep the store within its limits.

    Raises:
        OtherLearnerError: Another process holds it.
        StoreError: The lock cannot be opened, or its file system has no locks.
    """
    path = database.with_name(database.name + ".learner")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StoreError(f"The learner's lock {path} must be writable: {error.strerror}") from None
    with io.FileIO(descriptor, "r+") as file:
        deadline = time.monotonic() + patience
        while not _take(file, path):
            if time.monotonic() < deadline:
                time.sleep(_POLL_S)
                continue
            who = file.read(20).decode("ascii", "replace").strip()
            by = f" (process {who})" if who.isdecimal() else ""
            raise OtherLearnerError(
                f"Another process{by} is learning from {database}; there can be one at a time"
            )
        with contextlib.suppress(OSError):  # for messages alone; the disk may be full
            file.truncate(0)
            file.write(f"{os.getpid()}\n".encode())
        yield


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
