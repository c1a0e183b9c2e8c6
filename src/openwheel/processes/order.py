"""Defines the messages between the supervisor and its child processes."""

import os
import signal
import sys
from typing import Final

import msgspec

from openwheel.job import Failed
from openwheel.settings import Settings

_STDIN = 0

DRAIN: Final = signal.SIGUSR1
"""The signal by which the supervisor has its workers want no more requests."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The process has begun its work."""


Event = Ready | Failed
"""What a process tells: that it has begun, or what is wrong with its settings."""

EVENTS: Final[msgspec.json.Decoder[Event]] = msgspec.json.Decoder(Event)


class LocalModel(msgspec.Struct, frozen=True):
    """A model that an engine runs.

    Attributes:
        source: A folder, or an id of the hub.
        revision: The hub's commit.
        name: The name it is served under.
        adapters: Whether students' adapters may be loaded.
        teaches: Whether it is a teacher too.
    """

    source: str
    revision: str
    name: str
    adapters: bool = False
    teaches: bool = False


class ConsoleAddress(msgspec.Struct, frozen=True):
    """Where the console's process listens on this machine.

    Attributes:
        port: Of the loopback address.
        secret: What a request to it has to carry, so that it is reached through the gateway alone.
    """

    port: int
    secret: str


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """The first line on a process's standard input.

    Attributes:
        settings: All settings.
        runtime: The folder that the processes share while they run.
        descriptor: Of the listening socket, which a worker, an engine or the console inherits; -1
            for the learner.
        slot: Number of a worker, from 0.
        local: The model that an engine runs.
        config: The settings file, made if a person changes a setting in the console.
        console: Where the console is, for its process and for workers; None if there is none.
    """

    settings: Settings
    runtime: str
    descriptor: int = -1
    slot: int = 0
    local: LocalModel | None = None
    config: str = ""
    console: ConsoleAddress | None = None


def encode_order(order: Order) -> bytes:
    """Return the line that `read_order` reads."""
    return msgspec.json.encode(order) + b"\n"


def read_order() -> Order:
    """Read the order from standard input."""
    line = b""
    while not line.endswith(b"\n") and (more := os.read(_STDIN, 1 << 16)):
        line += more
    return msgspec.json.decode(line, type=Order)


def say_ready() -> None:
    """Report to the supervisor that this process has begun its work."""
    _tell(Ready())


def end_as_wrong(error: Exception) -> None:
    """Report an error in the settings to the supervisor, and end this process."""
    _tell(Failed(str(error)))
    # Threads of libraries may hold up a normal end.
    os._exit(2)


def _tell(event: Event) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(event) + b"\n")
    sys.stdout.buffer.flush()
