"""Prints results on standard output, all else on standard error."""

import datetime
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from openwheel.logs import escaped, escaped_json

if TYPE_CHECKING:
    from openwheel.importing import LogProblems


class PlainConsole(Console):
    """A console that shows text as it is: what came with traffic commands no terminal.

    Nothing is taken for markup, and every string goes through `render_str`, cells of tables too.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, soft_wrap=True, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return text to be printed."""
        return super().render_str(escaped(text, keep="\n\t"), **options)


errors = PlainConsole(stderr=True)
# A pipe has no width: what reads it should not have to undo folded cells.
out = PlainConsole(width=None if sys.stdout.isatty() else 200)


MOSTLY = 0.9
"""Share of answers that look like envelopes beyond which they are one by mistake."""


def complain(message: str) -> None:
    """Print one line about what is wrong."""
    errors.print(f"openwheel: {message}", style="red")


def note(message: str) -> None:
    """Print one line about what is being done."""
    errors.print(message, style="dim")


def warn(message: str) -> None:
    """Print one line that the user should read."""
    errors.print(f"warning: {message}", style="yellow")


def print_json(value: object) -> None:
    """Print one JSON object, indented."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    sys.stdout.write(escaped_json(text) + "\n")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; numbers were formatted by the caller."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", overflow="fold")
    for row in rows:
        # A line end would begin what looks like another row.
        table.add_row(*[escaped(cell) for cell in row])
    out.print(table)


def print_problems(problems: "LogProblems") -> None:
    """Say what logs were read as, and what of them could not be used."""
    if problems.formats:
        parts = (f"{name} ({n:,})" for name, n in problems.formats.items())
        note(f"read as {', '.join(parts)}")
    if problems.bad:
        warn(f"{problems.bad:,} of {problems.lines:,} lines could not be read; the first:")
        for bad in problems.first_bad:
            warn(f"  {bad}")
    for reason, count in problems.skipped.items():
        note(f"{count:,} lines skipped: {reason}")
    if problems.reordered:
        note("the lines were not in the order of their times, and were put in it")
    if problems.times_unread:
        note(f"{problems.times_unread:,} lines have a time in no form known; their order counts")
    if problems.usable and problems.wrapped >= MOSTLY * problems.usable:
        warn(
            "the answers look like something inside something else, such as "
            f"{problems.wrapped_example}; if the answer is a field of it, name that with "
            "--output-key"
        )


def percent(share: float | None, digits: int = 1) -> str:
    """Format a share."""
    return "-" if share is None else f"{share:.{digits}%}"


def iso(seconds: float) -> str:
    """Format a time since 1970 in ISO 8601, UTC."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")
