"""Whether a long run kept its promise: a rule that is fixed before it runs, and that can fail.

The promise is of each student: on traffic like that of its calibration window, disagreement among
its answers is at most epsilon, and this is wrong with probability at most delta for each task. So a
*window* is taken out of the count where the traffic is not like that, and only there: from the
moment the world of a student changed after its evidence began, until it is taken off. What is
served in between is the delay of the alarm. A delay has an end, or a loop without audits would be
excused for ever: a window closes when as many answers were given in it as the rule of the audit
needs, at the least share of audits that the product promises, to notice the rate q that the window
itself shows: `SLACK` log(run length) / KL(q, epsilon) audited answers. ``audit.py`` holds the rule
to 1.6 times that on average; `SLACK` is more since one run is no average.

Outside windows every answer counts. A task is *beyond* if so many disagreements have a probability
below `LEVEL` at a rate of epsilon (binomial). The run breaks the promise if all tasks together are
beyond, or if so many tasks are that chance would do it in less than `RARE` of runs, each task being
allowed it with probability delta + `LEVEL`.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import scipy.stats

RUN_LENGTH = 1_000_000.0
LEAST_AUDIT = 0.02
SLACK = 2.5
LEVEL = 0.01
RARE = 0.01


class Given(NamedTuple):
    """An answer that a student gave.

    Attributes:
        at: Which request it was, from 0.
        student: Who answered.
        wrong: Whether the teacher said something else.
        audited: Whether the teacher was asked.
    """

    at: int
    student: str
    wrong: bool
    audited: bool


class Change(NamedTuple):
    """A change of a task's world, from one request to another."""

    name: str
    start: int
    end: int


class Counted(NamedTuple):
    """Answers in and outside windows.

    Attributes:
        answered, wrong: Outside.
        excused, excused_wrong: In windows.
        overdue: Answers after a window had closed that its student still gave; counted outside.
    """

    answered: int = 0
    wrong: int = 0
    excused: int = 0
    excused_wrong: int = 0
    overdue: int = 0

    def plus(self, other: "Counted") -> "Counted":
        """Return both together."""
        return Counted(*(a + b for a, b in zip(self, other, strict=True)))

    def chance(self, epsilon: float) -> float:
        """Return the probability of as many disagreements, or more, at a rate of epsilon."""
        return float(scipy.stats.binom.sf(self.wrong - 1, self.answered, epsilon))


def divergence(q: float, epsilon: float) -> float:
    """Return KL(q, epsilon) of Bernoulli variables, in nats."""
    right = (1 - q) * math.log((1 - q) / (1 - epsilon)) if q < 1 else 0.0
    return q * math.log(q / epsilon) + right


def patience(q: float, epsilon: float) -> float:
    """Return how many answers may be given at a rate of q until a working audit takes it off."""
    if q <= epsilon:
        return math.inf
    return SLACK * math.log(RUN_LENGTH) / divergence(q, epsilon) / LEAST_AUDIT


def opens(change: Change, began: int, first: int) -> int | None:
    """Return when a change opens a window for a student, None if it does not.

    Args:
        change: Of the task's world.
        began: The request after which the evidence for the student was gathered.
        first: The student's first answer.
    """
    return max(change.start, first) if began < change.end else None


def count(
    answers: Sequence[Given],
    changes: Sequence[Change],
    began: dict[str, int],
    epsilon: float,
) -> Counted:
    """Count a task's answers in and outside windows.

    Args:
        answers: In order.
        changes: Of the task's world.
        began: For each student the request after which the evidence for it was gathered.
        epsilon: The most disagreement allowed.
    """
    total = Counted()
    by_student: dict[str, list[Given]] = {}
    for one in answers:
        by_student.setdefault(one.student, []).append(one)
    for student, given in by_student.items():
        found = (opens(change, began[student], given[0].at) for change in changes)
        windows = sorted(at for at in found if at is not None and at <= given[-1].at)
        total = total.plus(_of_student(given, windows, epsilon))
    return total


def _of_student(given: Sequence[Given], windows: Sequence[int], epsilon: float) -> Counted:
    """Count one student's answers; each window starts over."""
    found = Counted()
    waiting = list(windows)
    window: tuple[int, int] | None = None
    overdue = False
    for one in given:
        while waiting and waiting[0] <= one.at:
            waiting.pop(0)
            window, overdue = (0, 0), False
        if window is None:
            found = found._replace(answered=found.answered + 1, wrong=found.wrong + one.wrong)
            found = found._replace(overdue=found.overdue + overdue)
            continue
        found = found._replace(
            excused=found.excused + 1, excused_wrong=found.excused_wrong + one.wrong
        )
        window = (window[0] + 1, window[1] + one.wrong)
        if window[0] >= patience(window[1] / window[0], epsilon):
            window, overdue = None, True
    return found


class Verdict(NamedTuple):
    """What a run came to.

    Attributes:
        beyond: Tasks that had evidently more disagreement than epsilon outside windows.
        allowed: As many may be, by chance and delta.
        overall: Whether all tasks together had.
    """

    beyond: tuple[str, ...]
    allowed: int
    overall: bool

    @property
    def broken(self) -> bool:
        """Whether the promise was broken."""
        return self.overall or len(self.beyond) > self.allowed


def verdict(tasks: dict[str, Counted], epsilon: float, delta: float) -> Verdict:
    """Apply the rule to what was counted for each task."""
    total = Counted()
    for counted in tasks.values():
        total = total.plus(counted)
    allowed = int(scipy.stats.binom.ppf(1 - RARE, len(tasks), delta + LEVEL))
    beyond = tuple(name for name, found in tasks.items() if found.chance(epsilon) < LEVEL)
    return Verdict(beyond, allowed, total.chance(epsilon) < LEVEL)
