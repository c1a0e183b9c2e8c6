"""What the supervisor tells a process to do, and how the process learns that it is alone."""

import os
import signal
import sys
import threading
from collections.abc import Callable

import msgspec

from openwheel.settings import Settings

READY = b"ready\n"
"""The line by which a process says that it has begun its work."""

WRONG = b"wrong: "
"""How the line begins by which a process says what is wrong with its settings."""

_STDIN = 0


class LocalModel(msgspec.Struct, frozen=True):
    """A model that an engine runs.

    Attributes:
        source: A folder, or an id of the hub.
        revision: The hub's commit.
        name: What it is served as.
        adapters: Whether students' adapters may be loaded.
    """

    source: str
    revision: str
    name: str
    adapters: bool = False


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """The first line on a process's standard input.

    Attributes:
        settings: All settings.
        runtime: The folder that the processes share while they run.
        descriptor: Of the listening socket, which a worker or an engine inherits; -1 for the
            learner.
        slot: Number of a worker, from 0.
        local: The model that an engine runs.
    """

    settings: Settings
    runtime: str
    descriptor: int = -1
    slot: int = 0
    local: LocalModel | None = None


def encode_order(order: Order) -> bytes:
    """Return the line that `read_order` reads."""
    return msgspec.json.encode(order) + b"\n"


def read_order() -> Order:
    """Read what to do from standard input."""
    line = b""
    while not line.endswith(b"\n") and (more := os.read(_STDIN, 1 << 16)):
        line += more
    return msgspec.json.decode(line, type=Order)


def say_ready() -> None:
    """Tell the supervisor that this process has begun its work."""
    _say(READY)


def end_as_wrong(error: Exception) -> None:
    """Tell the supervisor what is wrong with the settings, and end this process."""
    _say(WRONG + " ".join(str(error).split()).encode() + b"\n")
    # Threads of libraries may hold up a normal end.
    os._exit(2)


def when_alone(stop: Callable[[], None]) -> None:
    """Call ``stop`` once the supervisor is gone, however it went: its end of the pipe closes."""

    def wait() -> None:
        # Not by way of `sys.stdin`, whose lock the end of the interpreter would wait for.
        while os.read(_STDIN, 1 << 16):
            pass
        stop()

    # Meant for the supervisor alone, though terminals and `pkill` send it to every process.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    threading.Thread(target=wait, name="openwheel-supervisor-watch", daemon=True).start()


def _say(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()
