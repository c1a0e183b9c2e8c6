"""Reads requests so that none takes long: very large ones are not read at all.

A body that is not read goes to the teacher as it came, like any body that is no request of its API.
No student answers it, and it is not captured. Measured on the worst shapes, reading costs up to two
microseconds for each value, and ten milliseconds for a MiB of text.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final, TypeVar

from openwheel.errors import RequestError

_Read = TypeVar("_Read")
LARGEST_READ: Final = 8 << 20
"""The most bytes of a body that is read; a larger one is passed on."""

MOST_VALUES: Final = 100_000
"""About the most values that a body may have: commas and opening brackets, also those in text."""

_AT_ONCE: Final = 8 << 10
"""Bytes of a body that is read, and a student asked about, on the event loop: a student takes a
tenth of a second for the longest text that it reads."""


def is_small(body: bytes) -> bool:
    """Return whether a body is small enough to read and decide about on the event loop."""
    return len(body) <= _AT_ONCE


async def read_large(read: Callable[[bytes], _Read], body: bytes, threads: Executor) -> _Read:
    """Read a request that is not small, in a thread; raises `RequestError`."""
    _require_readable(body)
    return await asyncio.get_running_loop().run_in_executor(threads, read, body)


def _require_readable(body: bytes) -> None:
    if len(body) > LARGEST_READ:
        raise RequestError(f"A body of more than {LARGEST_READ >> 20} MiB is not read")
    if sum(body.count(mark) for mark in (b",", b"{", b"[")) > MOST_VALUES:
        raise RequestError(f"A body with more than about {MOST_VALUES:,} values is not read")
