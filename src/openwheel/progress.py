"""Progress of long work: what is being done, and how far it is. Knows nothing of terminals."""

import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Final, Protocol, Self, TypeVar

import msgspec

T = TypeVar("T")

TELL_EVERY_S: Final = 0.1
"""Seconds between two times that a step tells how far it is: it may be asked to at each row."""


LINE_EVERY_S: Final = 10.0
"""Seconds between lines about a step, where there is no terminal."""

BRIEF_S: Final = 1.0


class Progress(Protocol):
    """Told of long work as it goes on. Never raises, and takes no time worth counting."""

    def __call__(
        self,
        step: str,
        done: float | None = None,
        total: float | None = None,
        unit: str = "",
        about: str = "",
        /,
    ) -> None:
        """Take a phrase, or how far a step is.

        Args:
            step: A phrase, such as ``task route: training on 7,500``; or the name of a step.
            done: How much of the step is done; None for a phrase. A step begins when it is first
                told of, and ends when ``done`` reaches ``total``.
            total: How much there is to do; None if that is not known.
            unit: What is counted: ``bytes``, or a word for things, such as ``exchanges``.
            about: How well it goes, in words such as ``loss 0.31``.
        """


def silent(
    _said: str,
    _done: float | None = None,
    _total: float | None = None,
    _unit: str = "",
    _about: str = "",
    /,
) -> None:
    """Tell nobody."""


def steps_alone(progress: Progress) -> Progress:
    """Return a callback that reports steps and leaves out phrases: there are many turns."""

    def tell(
        step: str,
        done: float | None = None,
        total: float | None = None,
        unit: str = "",
        about: str = "",
        /,
    ) -> None:
        if done is not None:
            progress(step, done, total, unit, about)

    return tell


class Step:
    """A step of long work: it begins and ends with a block, however the block ends.

    Args:
        progress: Is told.
        name: Of the step.
        total: How much there is to do; None if that is not known yet.
        unit: What is counted; see `Progress`.

    >>> with Step(print, "training", 300, "steps") as at:
    ...     at(20, about="loss 0.31")
    training 0 300 steps
    training 20 20 steps loss 0.31
    """

    def __init__(
        self, progress: Progress, name: str, total: float | None = None, unit: str = ""
    ) -> None:
        self._progress = progress
        self._name = name
        self._total = total
        self._unit = unit
        self._done = 0.0
        self._about = ""
        self._told_at = 0.0

    def __enter__(self) -> Self:
        self._told_at = time.monotonic()
        self._tell(0, self._total)
        return self

    def __call__(self, done: float, total: float | None = None, about: str = "") -> None:
        """Tell how much is done, how much there is to do if that is known now, how well it goes."""
        self._done, self._about = done, about
        self._total = self._total if total is None else total
        now = time.monotonic()
        if now - self._told_at >= TELL_EVERY_S and done != self._total:
            self._told_at = now
            self._tell(done, self._total)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._tell(self._done, self._done)

    def _tell(self, done: float, total: float | None) -> None:
        about = (self._about,) if self._about else ()
        self._progress(self._name, done, total, self._unit, *about)


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


class Watched(msgspec.Struct):
    """A step that is under way.

    Attributes:
        name: Of the step.
        unit: What is counted.
        began: When it was first told of.
        since: When its rate began to be measured, and `first` what was done by then.
        done: How much is done.
        total: How much there is to do, None if that is not known.
        told_at: When a line was last printed.
        about: How well it goes, in words.
    """

    name: str
    unit: str
    began: float
    since: float
    first: float
    done: float
    total: float | None
    told_at: float
    about: str = ""

    def rate(self, now: float) -> float:
        """Return how much is done a second, 0 if that cannot be told yet."""
        return (self.done - self.first) / (now - self.since) if now > self.since else 0.0

    def left(self, now: float) -> str:
        """Return how long it goes on at this rate, ``""`` if that cannot be told."""
        rate = self.rate(now)
        return f"{lasting((self.total - self.done) / rate)} left" if self.total and rate else ""

    def status(self, now: float) -> str:
        """Return how far it is, how fast, how well it goes and how long it still takes."""
        return ", ".join(filter(None, [self.so_far(now), self.about, self.left(now)]))

    def so_far(self, now: float) -> str:
        """Return how far it is, and how fast: ``1,200 of 4,000 steps, 12/s``."""
        rate = self.rate(now)
        far = _amount(self.done, self.unit)
        if self.total:
            alone = _amount(self.done, "bytes" if self.unit == "bytes" else "")
            far = f"{alone} of {_amount(self.total, self.unit)}"
        return far + (f", {_rate(rate, self.unit)}" if rate else "")


class Lines:
    """Prints phrases, and lines about steps now and then.

    Args:
        say: Prints a line.
        clock: Seconds that pass.
        every: Seconds between lines about a step.
        brief: A step that took less, in seconds, is over without a line.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        *,
        every: float = LINE_EVERY_S,
        brief: float = BRIEF_S,
    ) -> None:
        self.say = say
        self._clock = clock
        self._every, self._brief = every, brief
        self._steps: dict[str, Watched] = {}
        self._over = False

    def __call__(
        self,
        name: str,
        done: float | None = None,
        total: float | None = None,
        unit: str = "",
        about: str = "",
        /,
    ) -> None:
        """Show a phrase, or how far a step is; see `Progress`."""
        if self._over:
            return  # a step may end late, when nobody waits for it any more
        if done is None:
            self.say(name)
            return
        now = self._clock()
        step = self._steps.get(name)
        if total is not None and done >= total:
            if step is not None:
                step.done, step.about = done, about
                del self._steps[name]
                self.ended(step, now)
        elif step is None:
            step = self._steps[name] = Watched(name, unit, now, now, done, done, total, now)
            self.began(step)
        else:
            if step.total is None and total is not None:
                # What came before was getting ready, or was done by an earlier run.
                step.since, step.first = now, done
            step.done, step.total, step.about = done, total, about
            self.went_on(step, now)

    def close(self) -> None:
        """Show nothing any more."""
        self._over = True

    def began(self, step: Watched) -> None:
        """Show a step's beginning."""

    def went_on(self, step: Watched, now: float) -> None:
        """Show how far a step is."""
        if now - step.told_at >= self._every:
            step.told_at = now
            self.say(f"{step.name}: {step.status(now)}")

    def ended(self, step: Watched, now: float) -> None:
        """Show a step's end."""
        if now - step.began >= self._brief and step.done:
            took = f"{lasting(now - step.began)} in all"
            parts = ", ".join(filter(None, [step.so_far(now), step.about, took]))
            self.say(f"{step.name}: {parts}")


def _amount(number: float, unit: str) -> str:
    if unit == "bytes":
        return f"{number / 1e6:,.1f} MB"
    return f"{number:,.0f} {unit}".rstrip()


def _rate(rate: float, unit: str) -> str:
    if unit == "bytes":
        return f"{rate / 1e6:,.1f} MB/s"
    return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s"
