"""Decides when the next turn is due."""

import msgspec

FEWEST_NEW = 200
MOST_NEW = 2_000
SHARE_NEW = 0.05

SHADOWING = 0.02
"""The share of new exchanges at which a turn is due while a student shadows: its tests may be
repeated at any time, and each look may promote it."""

FEWEST_SHADOWING = 50


def next_turn(exchanges: int, *, shadowing: bool = False) -> int:
    """Return at how many exchanges the next turn is due, after one at ``exchanges``.

    A twentieth more, within bounds: early on fewer exchanges teach too little, and later a student
    that waits to be certified should not wait for long. Sooner while one shadows.

    Examples:
        >>> next_turn(0), next_turn(5_000), next_turn(100_000)
        (200, 5250, 102000)
        >>> next_turn(2_000, shadowing=True), next_turn(5_000, shadowing=True)
        (2050, 5100)
    """
    share, fewest = (SHADOWING, FEWEST_SHADOWING) if shadowing else (SHARE_NEW, FEWEST_NEW)
    return exchanges + int(min(max(share * exchanges, fewest), MOST_NEW))


class Timetable(msgspec.Struct, frozen=True, kw_only=True):
    """What makes the next turn due: new evidence, or time.

    Its times are of a monotonic clock: setting the wall clock neither stops turns nor repeats them.

    Attributes:
        newest: The newest exchange at the last turn.
        due: The newest exchange at which a turn is due.
        every: Seconds after which a turn is due if anything new came; 0: never for time alone.
        last: When the last turn ended.
        not_before: No turn before this time: turns failed, and wait.
        retry_at: When a task may be tried again at which turns failed.
    """

    newest: int = 0
    due: int = next_turn(0)
    every: float = 0.0
    last: float = 0.0
    not_before: float = 0.0
    retry_at: float = float("inf")

    def is_due(self, newest: int, now: float, *, ready: bool = False) -> bool:
        """Return whether a turn is due.

        Args:
            newest: The newest exchange.
            now: By the monotonic clock.
            ready: Whether a task may be trained again after an alarm.

        Examples:
            >>> daily = Timetable(newest=1_000, due=1_200, every=86_400.0, last=5.0)
            >>> daily.is_due(1_200, 6.0), daily.is_due(1_001, 6.0), daily.is_due(1_001, 86_405.0)
            (True, False, True)
            >>> daily.is_due(1_000, 86_405.0)
            False
        """
        if now < self.not_before:
            return False
        in_time = bool(self.every) and newest > self.newest and now - self.last >= self.every
        return newest >= self.due or in_time or ready

    def may_retry(self, now: float) -> bool:
        """Return whether a task at which the last turn failed may be tried again."""
        return now >= max(self.not_before, self.retry_at)

    def after_turn(self, newest: int, now: float, *, shadowing: bool = False) -> "Timetable":
        """Return what makes the next one due after a turn; ``shadowing``: whether a student is."""
        due = next_turn(newest, shadowing=shadowing)
        return Timetable(newest=newest, due=due, every=self.every, last=now)


def timetable(
    every: float, *, last: tuple[int, float] | None, clock: float, now: float
) -> Timetable:
    """Return the timetable of a learner that starts: its first turn is due at once.

    That needs as many exchanges as a first turn; with fewer, one is due after ``every`` seconds if
    anything new came. ``last`` has the newest exchange at the last turn, and when that ended by
    ``clock``, the clock on the wall, as ``now`` is the monotonic one. If the clock was set between
    two learners, that turn is late by at most ``every``, or one turn too early.
    """
    if last is None:
        return Timetable(every=every, last=now)
    newest, ended = last
    return Timetable(newest=newest, every=every, last=now - min(max(clock - ended, 0.0), every))
