"""Stopping on SIGINT and SIGTERM, when a server or a block that must be whole has ended."""

import contextlib
import signal
import threading
from collections.abc import Callable, Generator
from types import FrameType


@contextlib.contextmanager
def stopping_on_signals(stop: Callable[[int, FrameType | None], None]) -> Generator[None]:
    """Have ``stop`` called on SIGINT and SIGTERM until the block ends, then as it was before.

    uvicorn by itself raises the signal again afterwards, which would end the process before whoever
    called has closed what it holds. In other threads than the main one nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def finishing() -> Generator[None]:
    """Let a short block end before SIGINT or SIGTERM does what it does."""
    came: list[int] = []
    with stopping_on_signals(lambda number, _: came.append(number)):
        yield
    if came:
        signal.raise_signal(came[0])
