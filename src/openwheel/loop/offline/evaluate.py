"""Evaluates the promoted students on a log."""

import time
from collections.abc import Iterable

import msgspec
import numpy as np

from openwheel.errors import RequestError
from openwheel.gate import clopper_pearson
from openwheel.loop.losses import agrees
from openwheel.loop.serving import Serving, settled
from openwheel.store import Exchange
from openwheel.tasks import answer_in

NO_TASK = "(no task)"


class Score(msgspec.Struct, frozen=True):
    """How students did on some exchanges.

    Attributes:
        n: Exchanges.
        answered: How many a student would have answered.
        coverage: The share of those.
        disagreements: How many answers were not the teacher's.
        disagreement: The share of those among answered, None if none was answered.
        interval: Exact 95% interval of the disagreement (Clopper and Pearson).
        p50_ms: Median time to decide, in milliseconds, None if there was nothing to decide.
    """

    n: int
    answered: int
    coverage: float
    disagreements: int
    disagreement: float | None
    interval: tuple[float, float]
    p50_ms: float | None


class TaskScore(msgspec.Struct, frozen=True):
    """The score of one task, by name; ``(no task)`` for exchanges of no task."""

    task: str
    score: Score


class Evaluation(msgspec.Struct, frozen=True):
    """The scores of each task, largest first, and of all together."""

    tasks: tuple[TaskScore, ...]
    total: Score


class Tally(msgspec.Struct):
    """Counts that grow as exchanges come."""

    n: int = 0
    answered: int = 0
    disagreements: int = 0
    times: list[float] = []

    def add(self, *, answered: bool, agrees: bool, milliseconds: float | None = None) -> None:
        """Count one exchange."""
        self.n += 1
        self.answered += answered
        self.disagreements += answered and not agrees
        if milliseconds is not None:
            self.times.append(milliseconds)

    def score(self) -> Score:
        """Return the score so far."""
        return Score(
            n=self.n,
            answered=self.answered,
            coverage=self.answered / self.n if self.n else 0.0,
            disagreements=self.disagreements,
            disagreement=self.disagreements / self.answered if self.answered else None,
            interval=clopper_pearson(self.disagreements, self.answered),
            p50_ms=float(np.median(self.times)) if self.times else None,
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
        answered = decision.answer is not None
        same = answered and agrees(
            exchange.answer,
            answer_in(decision.answer or "", decision.form),
            decision.form,
            decision.folds,
        )
        for tally in (total, tasks.setdefault(decision.task or NO_TASK, Tally())):
            tally.add(answered=answered, agrees=same, milliseconds=milliseconds)
    ordered = sorted(tasks.items(), key=lambda item: (-item[1].n, item[0]))
    return Evaluation(
        tuple(TaskScore(name, tally.score()) for name, tally in ordered), total.score()
    )
