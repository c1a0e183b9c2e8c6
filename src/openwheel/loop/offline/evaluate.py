"""Evaluates the promoted students on a log."""

import time
from collections.abc import Iterable
from typing import NamedTuple

import msgspec
import numpy as np

from openwheel.errors import RequestError
from openwheel.gate import clopper_pearson, mean_interval
from openwheel.loop.losses import losses_of
from openwheel.loop.serving import Decision, Serving, settled
from openwheel.store import Exchange
from openwheel.tasks import answer_in
from openwheel.tasks.compare import FieldsComparison, Pair
from openwheel.wire import Answer

NO_TASK = "(no task)"


class Score(msgspec.Struct, frozen=True):
    """How students did on some exchanges.

    Attributes:
        n: Exchanges.
        answered: How many a student would have answered.
        coverage: The share of those.
        disagreements: How many answers were not the teacher's.
        disagreement: Their mean loss among answered, None if none was answered: the share of
            disagreements, or where the loss is the share of wrong fields, the mean of that.
        interval: 95% interval of the disagreement: Clopper and Pearson's, or by betting where
            losses may lie between 0 and 1.
        loss: What the loss is of, as `Outcome.of` has it; of several in a total.
        p50_ms: Median time to decide, in milliseconds, None if there was nothing to decide.
    """

    n: int
    answered: int
    coverage: float
    disagreements: int
    disagreement: float | None
    interval: tuple[float, float]
    p50_ms: float | None
    loss: str = "answers"


class TaskScore(msgspec.Struct, frozen=True):
    """The score of one task, by name; ``(no task)`` for exchanges of no task."""

    task: str
    score: Score


class Evaluation(msgspec.Struct, frozen=True):
    """The scores of each task, largest first, and of all together."""

    tasks: tuple[TaskScore, ...]
    total: Score


class Outcome(NamedTuple):
    """How far a student's answer was from the teacher's.

    Attributes:
        loss: From 0 to 1; None if the teacher answered.
        of: What it is of: whole ``answers``, ``fields``, or ``numbers`` that may differ by a part.
    """

    loss: float | None = None
    of: str = "answers"


def outcome_of(teacher: Answer, decision: Decision) -> Outcome:
    """Return how far the answer that was decided on is from the teacher's."""
    if decision.answer is None or decision.comparison is None:
        return Outcome()
    comparison = decision.comparison
    student = answer_in(decision.answer, decision.form, decision.probabilities)
    [loss] = losses_of([Pair("", teacher, student)], comparison)
    partly = "fields" if isinstance(comparison, FieldsComparison) else "numbers"
    return Outcome(loss, partly if comparison.bounded else "answers")


class Tally(msgspec.Struct):
    """Counts that grow as exchanges come."""

    n: int = 0
    answered: int = 0
    disagreements: int = 0
    lost: list[float] = []
    kinds: set[str] = set()
    times: list[float] = []

    def add(self, outcome: Outcome, milliseconds: float | None = None) -> None:
        """Count one exchange."""
        self.n += 1
        if outcome.loss is not None:
            self.answered += 1
            self.disagreements += outcome.loss > 0
            self.lost.append(outcome.loss)
            self.kinds.add(outcome.of)
        if milliseconds is not None:
            self.times.append(milliseconds)

    def score(self) -> Score:
        """Return the score so far."""
        return Score(
            n=self.n,
            answered=self.answered,
            coverage=self.answered / self.n if self.n else 0.0,
            disagreements=self.disagreements,
            disagreement=sum(self.lost) / self.answered if self.answered else None,
            interval=(
                mean_interval(self.lost)
                if self.kinds - {"answers"}
                else clopper_pearson(self.disagreements, self.answered)
            ),
            p50_ms=float(np.median(self.times)) if self.times else None,
            loss=" and ".join(sorted(self.kinds)) or "answers",
        )


def evaluate(serving: Serving, exchanges: Iterable[Exchange]) -> Evaluation:
    """Ask the promoted students about every exchange of a log, and compare with its answers.

    Nothing is stored or learned.
    """
    total = Tally()
    tasks: dict[str, Tally] = {}
    for exchange in exchanges:
        try:
            request = exchange.read()
        except RequestError:
            continue
        started = time.perf_counter()
        decision = settled(serving.decide(request, exchange.task, exchange.key))
        milliseconds = (time.perf_counter() - started) * 1e3
        outcome = outcome_of(exchange.answer, decision)
        for tally in (total, tasks.setdefault(decision.task or NO_TASK, Tally())):
            tally.add(outcome, milliseconds)
    ordered = sorted(tasks.items(), key=lambda item: (-item[1].n, item[0]))
    return Evaluation(
        tuple(TaskScore(name, tally.score()) for name, tally in ordered), total.score()
    )
