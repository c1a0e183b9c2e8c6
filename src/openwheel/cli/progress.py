"""Showing long work: a bar on a terminal, lines elsewhere, and a clean end on control-C."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

import msgspec
import typer

from openwheel.cli.output import errors, note
from openwheel.progress import Progress, lasting

if TYPE_CHECKING:
    from rich.progress import TaskID

LINE_EVERY_S: Final = 10.0
"""Seconds between lines about a step, where there is no terminal."""

BRIEF_S: Final = 1.0
"""A step that took less than this is over without a line."""

STOPPED: Final = 130
"""Exit code of a command that control-C ended: 128 and the signal's number, as shells have it."""


class Watched(msgspec.Struct):
    """A step that is under way.

    Attributes:
        name: Of the step.
        unit: What is counted.
        began: When it was first told of.
        since: When its rate began to be measured, and `first` what was done by then.
        done: How much is done.
        total: How much there is to do, None if that is not known.
        told: When a line was last printed.
        bar: Its bar, on a terminal.
    """

    name: str
    unit: str
    began: float
    since: float
    first: float
    done: float
    total: float | None
    told: float
    bar: "TaskID | None" = None

    def rate(self, now: float) -> float:
        """Return how much is done a second, 0 if that cannot be told yet."""
        return (self.done - self.first) / (now - self.since) if now > self.since else 0.0

    def left(self, now: float) -> str:
        """Return how long it goes on at this rate, ``""`` if that cannot be told."""
        rate = self.rate(now)
        return f"{lasting((self.total - self.done) / rate)} left" if self.total and rate else ""

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
    """

    def __init__(
        self, say: Callable[[str], None] = note, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.say = say
        self._clock = clock
        self._steps: dict[str, Watched] = {}
        self._over = False

    def __call__(
        self, said: str, done: float | None = None, total: float | None = None, unit: str = "", /
    ) -> None:
        """Show a phrase, or how far a step is; see `Progress`."""
        if self._over:
            return  # a step may end late, when nobody waits for it any more
        if done is None:
            self.say(said)
            return
        now = self._clock()
        step = self._steps.get(said)
        if total is not None and done >= total:
            if step is not None:
                step.done = done
                del self._steps[said]
                self.ended(step, now)
        elif step is None:
            step = self._steps[said] = Watched(said, unit, now, now, done, done, total, now)
            self.began(step)
        else:
            if step.total is None and total is not None:
                # What came before was getting ready, or was done by an earlier run.
                step.since, step.first = now, done
            step.done, step.total = done, total
            self.went_on(step, now)

    def close(self) -> None:
        """Show nothing any more."""
        self._over = True

    def began(self, step: Watched) -> None:
        """Show a step's beginning."""

    def went_on(self, step: Watched, now: float) -> None:
        """Show how far a step is."""
        if now - step.told >= LINE_EVERY_S:
            step.told = now
            left = step.left(now)
            self.say(f"{step.name}: {step.so_far(now)}" + (f", {left}" if left else ""))

    def ended(self, step: Watched, now: float) -> None:
        """Show a step's end."""
        if now - step.began >= BRIEF_S and step.done:
            amount = step.so_far(now)
            self.say(f"{step.name}: {amount}, {lasting(now - step.began)} in all")


class Bars(Lines):
    """Prints phrases above bars, one a step that is under way."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Shown

        super().__init__()
        self._shown = Shown(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),  # so that a step that tells nothing is seen to go on
            TextColumn("{task.fields[far]}", markup=False),
            console=errors,
            transient=True,
            refresh_per_second=4,
            # What a command prints as its result is no part of this.
            redirect_stdout=False,
        )

    def __enter__(self) -> "Bars":
        self._shown.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._shown.stop()
        self.close()

    def began(self, step: Watched) -> None:
        """Show a bar."""
        step.bar = self._shown.add_task(step.name, total=step.total, far="")

    def went_on(self, step: Watched, now: float) -> None:
        """Move the bar."""
        assert step.bar is not None
        left = step.left(now)
        far = step.so_far(now) + (f", {left}" if left else "")
        self._shown.update(step.bar, completed=step.done, total=step.total, far=far)

    def ended(self, step: Watched, now: float) -> None:
        """Take the bar off, and leave a line."""
        assert step.bar is not None
        self._shown.remove_task(step.bar)
        self._shown.refresh()
        super().ended(step, now)


@contextlib.contextmanager
def shown() -> Iterator[Progress]:
    """Show long work on standard error until the block ends."""
    # Colours may be forced where there is no terminal, on which bars would be a line each.
    if not (errors.is_terminal and errors.file.isatty()) or errors.is_dumb_terminal:
        with contextlib.closing(Lines()) as lines:
            yield lines
        return
    with Bars() as bars:
        yield bars


@contextlib.contextmanager
def stopping(kept: Callable[[], str]) -> Iterator[None]:
    """Have control-C end the command with one line and exit code 130.

    Args:
        kept: Returns what was kept, and how to go on.
    """
    try:
        yield
    except KeyboardInterrupt:
        note(f"stopped: {kept()}")
        raise typer.Exit(STOPPED) from None


def _amount(number: float, unit: str) -> str:
    if unit == "bytes":
        return f"{number / 1e6:,.1f} MB"
    return f"{number:,.0f} {unit}".rstrip()


def _rate(rate: float, unit: str) -> str:
    if unit == "bytes":
        return f"{rate / 1e6:,.1f} MB/s"
    return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s"
