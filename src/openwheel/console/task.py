"""Puts together what the console shows of one task.

The live frontier rests on what the promoted student was asked: on audits, each of which stands for
as many requests as one over its probability, and on requests that it left to the teacher. It is an
estimate from traffic that was looked at: nothing about it is certified.
"""

import math
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from openwheel.console.board import TaskRow
from openwheel.errors import OpenwheelError
from openwheel.gate import Certificate, Verification, verify
from openwheel.gate.monitors import ConfidenceSequence
from openwheel.loop.audit.query import Answered, losses_of
from openwheel.loop.feedback.accuracy import TaskAccuracy, accuracy
from openwheel.loop.offline.findings import Point
from openwheel.loop.records import Candidate, Promotion, TaskRecord
from openwheel.loop.registry import Registry
from openwheel.loop.resources import NO_RESOURCES
from openwheel.loop.settings import LoopSettings
from openwheel.loop.subject import Subject, subject_of
from openwheel.store import traffic
from openwheel.store.traffic import PairRow
from openwheel.students import ReliabilityBin

MOST_PAIRS: Final = 4_000
"""Of so many of the latest answers the live frontier is made."""
STEPS: Final = 60
"""Points of a line."""
LIMITS: Final = (0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2)
"""The limits for which the frontier says what they would give."""
SHOWN_VERSIONS: Final = 20


class Choice(msgspec.Struct, frozen=True):
    """What a limit would give: the largest coverage with an estimated disagreement within it.

    Attributes:
        epsilon: The limit.
        coverage: Share of the requests that the student would answer; 0 if none.
        disagreement: Estimated among those, None if there are none.
        threshold: The least confidence to answer at, None if there is none.
        audited: Answers that the estimate of the disagreement rests on.
    """

    epsilon: float
    coverage: float
    disagreement: float | None
    threshold: float | None
    audited: int


class Frontier(msgspec.Struct, frozen=True):
    """The live frontier.

    Attributes:
        points: (coverage, disagreement), strict to lax.
        now: Where the certified threshold lies among them; None if nothing is above it.
        choices: What some limits would give.
        answers: How many answers of teachers it rests on.
        since: The time of the first of them.
    """

    points: tuple[Point, ...]
    now: Point | None
    choices: tuple[Choice, ...]
    answers: int
    since: float


class Moment(msgspec.Struct, frozen=True):
    """The live disagreement after so many audits.

    Attributes:
        audits: How many.
        time: Of the latest of them, in seconds since 1970.
        rate, low, high: The mean loss, and its interval at all times at once.
    """

    audits: int
    time: float
    rate: float
    low: float
    high: float


class Confused(msgspec.Struct, frozen=True):
    """A pair of answers that differ, and how often they came."""

    teacher: str
    student: str
    count: int


class TaskView(msgspec.Struct, frozen=True, kw_only=True):
    """What the page of a task shows.

    Attributes:
        record: The task.
        row: Its row of the first screen.
        template: Its prompt with variables in braces, ``""`` if clients name it.
        promotion: Its latest promotion or demotion.
        certificates: Its certificates, newest first, each with what recomputing it found.
        students: Its students, newest first, with their states and when they were trained.
        delta_spent: The share of delta that its attempts have spent.
        frontier: The live frontier, None without enough answers.
        moments: The live disagreement as audits came in.
        confused: Answers that differ, the most frequent first.
        unknown: Why the three above are not shown, ``""`` if they are.
        accuracy: Teacher and student against people's corrections, None without any.
        limit: Epsilon as the settings have it now.
        reliability: How near the promoted student's own probabilities are to what the teacher
            said, by tenths, as training measured it; empty where that is not known.
    """

    record: TaskRecord
    row: TaskRow
    template: str
    promotion: Promotion | None
    certificates: tuple[tuple[Certificate, Verification], ...]
    students: tuple[tuple[Candidate, str, float], ...]
    delta_spent: float
    frontier: Frontier | None
    moments: tuple[Moment, ...]
    confused: tuple[Confused, ...]
    unknown: str
    accuracy: TaskAccuracy | None
    limit: float
    reliability: tuple[ReliabilityBin, ...]


def make_task_view(registry: Registry, settings: LoopSettings, row: TaskRow) -> TaskView:
    """Return what the page of a task shows.

    Raises:
        SettingError: There is no such task.
    """
    record = registry.find_task(row.id)
    promotion = registry.promotions().get(row.id)
    certificate = promotion.certificate if promotion is not None else None
    students = registry.candidates(task_id=row.id)[::-1]
    pairs: list[Compared] = []
    frontier, unknown = None, ""
    if certificate is not None:
        try:
            pairs = _compared(registry, settings, record, certificate.student)
        except OpenwheelError as error:
            unknown = str(error)
        else:
            frontier = make_frontier(pairs, certificate.threshold)
    attempts = {
        candidate.attempt: candidate.delta_spent
        for candidate, _, _ in students
        if candidate.attempt
    }
    template = record.task.template
    return TaskView(
        record=record,
        row=row,
        template="" if template is None else template.describe(),
        promotion=promotion,
        certificates=tuple(
            (one, verify(one)) for one in registry.certificates(row.id)[::-1][:SHOWN_VERSIONS]
        ),
        students=tuple(students[:SHOWN_VERSIONS]),
        delta_spent=sum(attempts.values()),
        frontier=frontier,
        moments=_moments(
            pairs, certificate.epsilon if certificate is not None else settings.epsilon
        ),
        confused=_confused(pairs),
        unknown=unknown,
        accuracy=next(iter(accuracy(registry.store, row.id)), None),
        limit=settings.of_task(record.task.name).epsilon,
        reliability=(
            registry.reliability(registry.candidate(certificate.student))
            if certificate is not None
            else ()
        ),
    )


class Compared(msgspec.Struct, frozen=True):
    """A teacher's answer, and how far the student's is from it.

    Attributes:
        time: Seconds since 1970.
        confidence: Minus infinity where the student had no answer, or none that it would give at
            any threshold.
        loss: From 0 to 1; 1 where it had none.
        weight: How many requests it stands for.
        audited: Whether the student could answer, so that this is an audit.
        teacher, student: The answers as they were written.
    """

    time: float
    confidence: float
    loss: float
    weight: float
    audited: bool
    teacher: str
    student: str


def _compared(
    registry: Registry, settings: LoopSettings, record: TaskRecord, student: str
) -> list[Compared]:
    """Compare the latest answers of teachers with those of a student.

    Raises:
        SettingError: Answers are compared by what a console does not have: an encoder, a judge.
    """
    candidate = registry.candidate(student)
    subject = subject_of(registry, record, settings, NO_RESOURCES).as_certified(candidate)
    with registry.store.read() as transaction:
        rows = traffic.pairs(transaction, record.task.id, student, limit=MOST_PAIRS)
    lost = _losses(rows, subject)
    return [
        Compared(
            time=row.time,
            confidence=_sure(row),
            loss=loss,
            weight=1.0 / row.audit_probability if row.student_answer is not None else 1.0,
            audited=row.student_answer is not None,
            teacher=row.text or row.tool_calls,
            student=row.student or "",
        )
        for row, loss in zip(rows, lost, strict=True)
    ]


def _sure(row: PairRow) -> float:
    """Return a confidence; minus infinity where the student answers at no threshold."""
    if row.student is None or row.confidence is None or row.confidence <= 0:
        return -math.inf
    return row.confidence


def _losses(rows: Sequence[PairRow], subject: Subject) -> list[float]:
    """Return how far each student's answer is from the teacher's; 1 where there is none.

    The same two answers come often, and are compared once.
    """
    kinds = [
        None if row.student is None
        else (row.text, row.tool_calls, row.finish_reason, row.probabilities,
              row.student, row.student_probabilities)
        for row in rows
    ]  # fmt: skip
    first = {kind: row for kind, row in zip(kinds, rows, strict=True) if kind is not None}
    answered = [
        Answered(None, row.answer, row.student or "", row.student_given) for row in first.values()
    ]
    losses = dict(zip(first, losses_of(answered, subject), strict=True))
    return [1.0 if kind is None else losses[kind] for kind in kinds]


def make_frontier(pairs: Sequence[Compared], threshold: float) -> Frontier | None:
    """Return the live frontier; None if fewer than two confidences are known.

    Args:
        pairs: Audits and requests left to the teacher.
        threshold: The certified one.

    Examples:
        >>> def pair(confidence, loss):
        ...     return Compared(0.0, confidence, loss, 1.0, True, "", "")
        >>> found = make_frontier([pair(0.9, 0.0), pair(0.8, 0.0), pair(0.7, 1.0)], 0.8)
        >>> [(round(x, 2), round(y, 2)) for x, y in found.points], found.now[1]
        ([(0.33, 0.0), (0.67, 0.0), (1.0, 0.33)], 0.0)
        >>> found.choices[0].coverage == found.now[0]
        True
    """
    confidence = np.array([pair.confidence for pair in pairs])
    known = np.isfinite(confidence)
    if np.unique(confidence[known]).size < 2:
        return None
    weight = np.array([pair.weight for pair in pairs])
    loss = np.array([pair.loss for pair in pairs])
    order = np.argsort(-confidence[known], kind="stable")
    sorted_confidence = confidence[known][order]
    answered = np.cumsum(weight[known][order])
    lost = np.cumsum((weight * loss)[known][order])
    number = np.arange(1, answered.size + 1)
    last = np.append(sorted_confidence[1:] != sorted_confidence[:-1], True)
    coverage = answered[last] / weight.sum()
    rate = lost[last] / answered[last]
    levels, count = sorted_confidence[last], number[last]
    picked = np.unique(np.linspace(0, levels.size - 1, STEPS).astype(int))
    at = np.flatnonzero(levels >= threshold)
    return Frontier(
        points=tuple((float(coverage[i]), float(rate[i])) for i in picked),
        now=(float(coverage[at[-1]]), float(rate[at[-1]])) if at.size else None,
        choices=tuple(_choice(limit, coverage, rate, levels, count) for limit in LIMITS),
        answers=len(pairs),
        since=min(pair.time for pair in pairs),
    )


def _choice(
    limit: float,
    coverage: "np.typing.NDArray[np.float64]",
    rate: "np.typing.NDArray[np.float64]",
    levels: "np.typing.NDArray[np.float64]",
    count: "np.typing.NDArray[np.int64]",
) -> Choice:
    within = np.flatnonzero(rate <= limit)
    if not within.size:
        return Choice(limit, 0.0, None, None, 0)
    best = within[-1]
    return Choice(
        limit, float(coverage[best]), float(rate[best]), float(levels[best]), int(count[best])
    )


def _moments(pairs: Sequence[Compared], epsilon: float) -> tuple[Moment, ...]:
    """Return the live disagreement as audits came in, at most `STEPS` times."""
    audits = [pair for pair in pairs if pair.audited]
    if not audits:
        return ()
    monitor = ConfidenceSequence(epsilon)
    moments = []
    ends = np.unique(np.linspace(1, len(audits), min(STEPS, len(audits))).astype(int))
    begin = 0
    for end in ends.tolist():
        monitor = monitor.update([pair.loss for pair in audits[begin:end]])
        low, high = monitor.interval
        rate = monitor.seen.rate or 0.0
        moments.append(Moment(end, audits[end - 1].time, rate, low, high))
        begin = end
    return tuple(moments)


def _confused(pairs: Sequence[Compared]) -> tuple[Confused, ...]:
    """Return the answers that differ most often among audits."""
    counted: dict[tuple[str, str], int] = {}
    for pair in pairs:
        if pair.audited and pair.loss > 0:
            key = pair.teacher, pair.student
            counted[key] = counted.get(key, 0) + 1
    most = sorted(counted.items(), key=lambda item: (-item[1], item[0]))[:12]
    return tuple(Confused(teacher, student, count) for (teacher, student), count in most)
