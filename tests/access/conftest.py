"""What the tests of access share: a store, clocks that tests move, and real processes."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from forks import Fork, forks
from openwheel.store import Store

NOON = 1_800_014_400.0
"""2027-01-15 12:00 UTC."""

SECOND = 1_000_000_000
START = 5_000_000 * SECOND


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def wall() -> Clock:
    return Clock(NOON)


@pytest.fixture
def ticks() -> Clock:
    return Clock(START)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "openwheel.db") as store:
        yield store


@pytest.fixture
def start() -> Iterator[Callable[..., Fork]]:
    """Start Python scripts, and kill what still runs at the end."""
    with forks() as start:
        yield start
