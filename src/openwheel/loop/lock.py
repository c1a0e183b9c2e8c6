"""One learner at a time for each store."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from openwheel.errors import StoreError


@contextmanager
def learner_lock(database: Path) -> Iterator[None]:
    """Hold the right to learn from a store; the system frees it when the process ends.

    Raises:
        StoreError: Another process holds it.
    """
    path = database.with_name(database.name + ".learner")
    try:
        file = path.open("w")
    except OSError as error:
        raise StoreError(f"The learner's lock {path} cannot be opened: {error}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StoreError(
                f"Another process is learning from {database}; there can be one at a time"
            ) from None
        yield
