"""Counts what was found in logs, and keeps the first few bad lines."""

import msgspec

from openwheel.errors import LogError

KEPT = 10
MOST_REASONS = 100
"""Different reasons and formats that are counted each by itself."""


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
        lines: Records read: lines of JSON, rows of CSV, elements of an array, spans of a trace.
            Blank lines and CSV headers are none.
        usable: How many of them became exchanges.
        bad: How many could not be read, and damage to a file itself.
        first_bad: The first ten of those.
        skipped: Records that were read but hold nothing to learn from, counted by reason.
        formats: The exchanges, counted by the name of the format they were read as.
        times_unread: Records whose time is in no form known here; they count as without time.
        times_missing: Exchanges without a time.
        time_keys: Keys of the first of those whose values look like times.
        reordered: Exchanges of logs that were not in the order of their times, and were put
            in it.
        wrapped: Exchanges whose answer is JSON that looks like the envelope of an answer.
        wrapped_example: The first of those answers, cut.
    """

    lines: int = 0
    usable: int = 0
    bad: int = 0
    first_bad: list[BadLine] = []
    skipped: dict[str, int] = {}
    formats: dict[str, int] = {}
    times_unread: int = 0
    times_missing: int = 0
    time_keys: list[str] = []
    reordered: int = 0
    wrapped: int = 0
    wrapped_example: str = ""

    def add_bad(self, file: str, line: int, reason: str, *, strict: bool) -> None:
        """Count a bad line; raise it as a `LogError` if ``strict``."""
        problem = BadLine(file, line, reason)
        self.bad += 1
        if len(self.first_bad) < KEPT:
            self.first_bad.append(problem)
        if strict:
            raise LogError(str(problem))

    def add_skipped(self, reason: str) -> None:
        """Count a record that is readable but of no use."""
        if reason not in self.skipped and len(self.skipped) >= MOST_REASONS:
            reason = "other reasons"
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
