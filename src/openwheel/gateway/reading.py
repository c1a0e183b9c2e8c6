"""Reading requests so that none takes long: what is large or has many parts is not read at all.

What is not read is the teacher's to judge, like any body that is no request of its API: it is
passed on as it came, no student answers it, and it is not captured. Measured on the worst shapes,
reading costs up to two microseconds for each value, and ten milliseconds for a MiB of text.
"""

import asyncio
from concurrent.futures import Executor
from typing import Final

from openwheel.errors import RequestError
from openwheel.wire import Api, Request

LARGEST_READ: Final = 8 << 20
"""Bytes of a body that is read; more is passed on."""

MOST_VALUES: Final = 100_000
"""About the most values that a body may have: commas and opening brackets, also those in text."""

_AT_ONCE: Final = 8 << 10
"""Bytes of a body that is read, and a student asked about, on the event loop: a student takes a
tenth of a second for the longest text that it looks at."""


def is_small(body: bytes) -> bool:
    """Return whether reading a body, and asking a student, holds nobody up."""
    return len(body) <= _AT_ONCE


async def read_large(api: Api, body: bytes, threads: Executor) -> Request:
    """Read a request that is not small, in a thread.

    Raises:
        RequestError: The body is no request of the API, or more than is read.
    """
    _require_readable(body)
    return await asyncio.get_running_loop().run_in_executor(threads, api.read_request, body)


def _require_readable(body: bytes) -> None:
    if len(body) > LARGEST_READ:
        raise RequestError(f"A body of more than {LARGEST_READ >> 20} MiB is not read")
    if sum(body.count(mark) for mark in (b",", b"{", b"[")) > MOST_VALUES:
        raise RequestError(f"A body with more than about {MOST_VALUES:,} values is not read")
