"""What the supervisor tells a process to do, and how the process learns that it is alone."""

import os
import threading
from collections.abc import Callable

import msgspec

from openwheel.settings import Settings

_STDIN = 0


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """The first line on a process's standard input.

    Attributes:
        settings: All settings.
        runtime: The folder that the processes share while they run.
        descriptor: Of the listening socket, which a worker inherits; -1 for the learner.
        slot: Number of a worker, from 0.
    """

    settings: Settings
    runtime: str
    descriptor: int = -1
    slot: int = 0


def encode_order(order: Order) -> bytes:
    """Return the line that `read_order` reads."""
    return msgspec.json.encode(order) + b"\n"


def read_order() -> Order:
    """Read what to do from standard input."""
    line = b""
    while not line.endswith(b"\n") and (more := os.read(_STDIN, 1 << 16)):
        line += more
    return msgspec.json.decode(line, type=Order)


def when_alone(stop: Callable[[], None]) -> None:
    """Call ``stop`` once the supervisor is gone, however it went: its end of the pipe closes."""

    def wait() -> None:
        # Not by way of `sys.stdin`, whose lock the end of the interpreter would wait for.
        while os.read(_STDIN, 1 << 16):
            pass
        stop()

    threading.Thread(target=wait, name="openwheel-supervisor-watch", daemon=True).start()
