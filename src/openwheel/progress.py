"""Progress of long work: what is being done, and how far it is. Knows nothing of terminals."""

import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Final, Protocol, Self, TypeVar

T = TypeVar("T")

TELL_EVERY_S: Final = 0.1
"""Seconds between two times that a step tells how far it is: it may be asked to at each row."""


class Progress(Protocol):
    """Told of long work as it goes on. Never raises, and takes no time worth counting."""

    def __call__(
        self, said: str, done: float | None = None, total: float | None = None, unit: str = "", /
    ) -> None:
        """Take a phrase, or how far a step is.

        Args:
            said: A phrase, such as ``task route: training on 7,500``; or the name of a step.
            done: How much of the step is done; None for a phrase. A step begins when it is first
                told of, and ends when ``done`` reaches ``total``.
            total: How much there is to do; None if that is not known.
            unit: What is counted: ``bytes``, or a word for things, such as ``exchanges``.
        """


def silent(
    _said: str, _done: float | None = None, _total: float | None = None, _unit: str = "", /
) -> None:
    """Tell nobody."""


class Step:
    """A step of long work: it begins and ends with a block, however the block ends.

    Args:
        progress: Is told.
        name: Of the step.
        total: How much there is to do; None if that is not known yet.
        unit: What is counted; see `Progress`.

    >>> with Step(print, "training", 300, "steps") as at:
    ...     at(20)
    training 0 300 steps
    training 20 20 steps
    """

    def __init__(
        self, progress: Progress, name: str, total: float | None = None, unit: str = ""
    ) -> None:
        self._progress = progress
        self._name = name
        self._total = total
        self._unit = unit
        self._done = 0.0
        self._told_at = 0.0

    def __enter__(self) -> Self:
        self._told_at = time.monotonic()
        self._progress(self._name, 0, self._total, self._unit)
        return self

    def __call__(self, done: float, total: float | None = None) -> None:
        """Tell how much is done, and how much there is to do if that has become known."""
        self._done = done
        self._total = self._total if total is None else total
        now = time.monotonic()
        if now - self._told_at >= TELL_EVERY_S and done != self._total:
            self._told_at = now
            self._progress(self._name, done, self._total, self._unit)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress(self._name, self._done, self._done, self._unit)


def each(
    progress: Progress,
    name: str,
    items: Iterable[T],
    unit: str,
    *,
    total: int | None = None,
    size: Callable[[T], int] = lambda _: 1,
) -> Iterator[T]:
    """Yield items, telling as a step how much is done: how many, or the sum of their sizes."""
    with Step(progress, name, total, unit) as step:
        done = 0
        for item in items:
            yield item
            done += size(item)
            step(done)


def lasting(seconds: float) -> str:
    """Return how long something lasts, in words that are as exact as an estimate is.

    >>> lasting(0.2), lasting(44), lasting(100), lasting(700), lasting(9000)
    ('1 s', '44 s', '100 s', '12 min', '2.5 h')
    """
    if seconds < 120:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
