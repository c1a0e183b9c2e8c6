"""What was wrong with the lines of a log: counted in full, the first few kept."""

import msgspec

from openwheel.errors import LogError

KEPT = 10


class BadLine(msgspec.Struct, frozen=True):
    """A line that could not be read: where it is and why."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


class LogProblems(msgspec.Struct):
    """A tally that `read_log` keeps while it reads; one may serve several logs.

    Attributes:
        lines: Records read: lines of JSON, rows of CSV, elements of an array. Blank lines and
            CSV headers are none.
        usable: How many of them became exchanges.
        bad: How many could not be read, and damage to a file itself.
        first_bad: The first ten of those.
        skipped: Records that were read but hold nothing to learn from, counted by reason.
        times_unread: Records whose time is in no form known here; they count as without time.
    """

    lines: int = 0
    usable: int = 0
    bad: int = 0
    first_bad: list[BadLine] = []
    skipped: dict[str, int] = {}
    times_unread: int = 0

    def add_bad(self, file: str, line: int, reason: str, *, strict: bool) -> None:
        """Count a bad line.

        Raises:
            LogError: If ``strict``.
        """
        found = BadLine(file, line, reason)
        self.bad += 1
        if len(self.first_bad) < KEPT:
            self.first_bad.append(found)
        if strict:
            raise LogError(str(found))

    def add_skipped(self, reason: str) -> None:
        """Count a record that is readable but of no use."""
        self.skipped[reason] = self.skipped.get(reason, 0) + 1

    def require_usable(self) -> None:
        """Check that something could be used.

        Raises:
            LogError: Nothing could; the message says what there was instead.
        """
        if self.usable:
            return
        if not self.lines and not self.bad:
            raise LogError("The log is empty: there is no line in it")
        parts = [f"{count} skipped ({reason})" for reason, count in self.skipped.items()]
        if self.bad:
            parts.append(f"{self.bad} bad (the first is {self.first_bad[0]})")
        raise LogError(f"No usable exchange in {self.lines} lines: {', '.join(parts)}")
