"""Shows long work as a bar on a terminal, as lines elsewhere, and ends it on control-C."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

import typer

from openwheel.cli.output import errors, note
from openwheel.progress import Lines, Progress, Watched

if TYPE_CHECKING:
    from rich.progress import TaskID

STOPPED: Final = 130
"""Exit code of a command that control-C ended: 128 and the signal's number, as shells have it."""


class Bars(Lines):
    """Prints phrases above bars, one a step that is under way."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Shown

        super().__init__(note)
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
        self._bars: dict[str, TaskID] = {}

    def __enter__(self) -> "Bars":
        self._shown.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._shown.stop()
        self.close()

    def began(self, step: Watched) -> None:
        """Show a bar."""
        self._bars[step.name] = self._shown.add_task(step.name, total=step.total, far="")

    def went_on(self, step: Watched, now: float) -> None:
        """Move the bar."""
        bar = self._bars[step.name]
        self._shown.update(bar, completed=step.done, total=step.total, far=step.status(now))

    def ended(self, step: Watched, now: float) -> None:
        """Take the bar off, and leave a line."""
        self._shown.remove_task(self._bars.pop(step.name))
        self._shown.refresh()
        super().ended(step, now)


@contextlib.contextmanager
def shown() -> Iterator[Progress]:
    """Show long work on standard error until the block ends."""
    # Colours may be forced where there is no terminal, on which bars would be a line each.
    if not (errors.is_terminal and errors.file.isatty()) or errors.is_dumb_terminal:
        with contextlib.closing(Lines(note)) as lines:
            yield lines
        return
    with Bars() as bars:
        yield bars


@contextlib.contextmanager
def stopping(outcome: Callable[[], str]) -> Iterator[None]:
    """Have control-C end the command with a line on its outcome and exit code 130."""
    try:
        yield
    except KeyboardInterrupt:
        note(f"stopped: {outcome()}")
        raise typer.Exit(STOPPED) from None
