"""Many audited streams at once: worlds without a drift, and times to an alarm after one.

A stream is simulated one audited answer at a time. Between two audits of share a lie a geometric
number of answers with mean 1 / a, and among those requests that were left to the teacher.
"""

import copy
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from audit_bench.rules import Rule, Watch

FloatArray = npt.NDArray[np.float64]
Random = np.random.Generator
Audit = tuple[npt.NDArray[np.int64], FloatArray, FloatArray]
"""Of the next audited answer of each stream: how many answers were served up to and with it, its
loss, its weight."""


class Quiet(NamedTuple):
    """A world in which nothing is wrong; ``start(rng, runs)`` gives the audits as they come."""

    name: str
    start: Callable[[Random, int], Iterator[Audit]]


def steady(name: str, share: float, loss: Callable[[Random, int, int], FloatArray]) -> Quiet:
    """Audits at a fixed share; ``loss`` draws those of one audit of each stream."""

    def start(rng: Random, runs: int) -> Iterator[Audit]:
        for t in itertools.count():
            yield rng.geometric(share, runs), loss(rng, runs, t), np.ones(runs)

    return Quiet(name, start)


def chasing(name: str, rate: float) -> Quiet:
    """Audits at 2%, and at 50% for the 20 answers after each disagreement that was seen."""

    def start(rng: Random, runs: int) -> Iterator[Audit]:
        left = np.zeros(runs, np.int64)
        while True:
            soon = rng.geometric(0.5, runs)
            served = np.where(soon <= left, soon, left + rng.geometric(0.02, runs))
            loss = (rng.random(runs) < rate).astype(np.float64)
            left = np.where(loss > 0, 20, np.maximum(left - served, 0))
            yield served, loss, np.ones(runs)

    return Quiet(name, start)


def by_request(name: str, epsilon: float, *, weighted: bool) -> Quiet:
    """A hard tenth of the answers is audited at 20%, the rest at 2%.

    The hard ones disagree eight times epsilon, the rest as much as makes epsilon over all.
    """
    hard, often, seldom = 0.1, 0.2, 0.02
    share = hard * often + (1 - hard) * seldom

    def start(rng: Random, runs: int) -> Iterator[Audit]:
        while True:
            is_hard = rng.random(runs) < hard * often / share
            rate = np.where(is_hard, 8 * epsilon, (1 - 8 * hard) * epsilon / (1 - hard))
            loss = (rng.random(runs) < rate).astype(np.float64)
            weights = np.where(is_hard & weighted, seldom / often, 1.0)
            yield rng.geometric(share, runs), loss, weights

    return Quiet(name, start)


def false_alarms(world: Quiet, rule: Rule, runs: int, answers: int, rng: Random) -> int:
    """Return how many streams raise an alarm within so many answers served."""
    watch, ever, position = rule.start(runs), np.zeros(runs, bool), np.zeros(runs, np.int64)
    for served, losses, weights in world.start(rng, runs):
        position += served
        if (position > answers).all():
            break
        ever |= watch.step(losses, weights) & (position <= answers)
    return int(ever.sum())


@dataclass(frozen=True)
class Change:
    """A change after which a student answers and disagrees otherwise.

    Attributes:
        coverage, rate: Before and after.
        slowly: Over how many requests the one turns into the other, 0 if at once.
    """

    coverage: tuple[float, float]
    rate: tuple[float, float]
    slowly: int = 0

    def at(self, requests: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return coverage and rate so many requests after the change began."""
        turned = np.clip(requests / self.slowly, 0, 1) if self.slowly else np.ones(len(requests))
        before, after = ((1 - turned) * self.coverage[0], turned * self.coverage[1])
        coverage = before + after
        return coverage, (before * self.rate[0] + after * self.rate[1]) / coverage

    def crossing(self, epsilon: float) -> float:
        """Return how many requests after it began the rate is above epsilon."""
        if not self.slowly:
            return 0.0
        places = np.linspace(0, self.slowly, 10_001)
        above = self.at(places)[1] > epsilon
        return float(places[np.argmax(above)]) if above.any() else math.inf


class Noticed(NamedTuple):
    """Times to an alarm after a change, over many streams.

    Attributes:
        answers, requests: Audited answers and requests until the alarm, from when the rate is
            above epsilon.
        excess: Disagreements served until then, less epsilon for each answer.
        early: Streams that had an alarm before; left out of the rest.
        missed: Streams without an alarm within the limit, counted as if it had come there.
    """

    answers: FloatArray
    requests: FloatArray
    excess: FloatArray
    early: int
    missed: int


def after(
    watch: Watch, runs: int, answers: int, rate: float, rng: Random
) -> tuple[Watch, npt.NDArray[np.bool_]]:
    """Return a watch after so many audited answers at a rate, and which streams had an alarm."""
    early, weights = np.zeros(runs, bool), np.ones(runs)
    for _ in range(answers):
        early |= watch.step((rng.random(runs) < rate).astype(np.float64), weights)
    return watch, early


def noticed(
    watch: Watch,
    early: npt.NDArray[np.bool_],
    change: Change,
    *,
    share: float,
    epsilon: float,
    rng: Random,
    most: int,
) -> Noticed:
    """Return the times to an alarm.

    Args:
        watch: As the change begins; it is left as it is.
        early: Streams that had an alarm before the change.
        change: What changes.
        share: Of requests that are audited.
        epsilon: The limit.
        rng: For requests, answers and audits.
        most: Requests after which one stops waiting.
    """
    watch, early, runs = copy.deepcopy(watch), early.copy(), len(early)
    crossing, weights = change.crossing(epsilon), np.ones(len(early))
    position, excess = np.zeros(runs), np.zeros(runs)
    answers, done = np.zeros(runs), early.copy()
    missed = np.zeros(runs, bool)
    while not done.all():
        coverage, rate = change.at(position)
        served = rng.geometric(share, runs)
        loss = (rng.random(runs) < rate).astype(np.float64)
        wrong = rng.binomial(served - 1, rate) + loss
        position += np.where(done, 0, served + rng.negative_binomial(served, coverage))
        counts = ~done & (position > crossing)
        excess += np.where(counts, wrong - epsilon * served, 0)
        answers += counts
        alarmed = watch.step(loss, weights) & ~done
        early |= alarmed & (position <= crossing)
        missed |= ~done & ~alarmed & (position >= most)
        done |= alarmed | missed
    kept = ~early
    since = position - (crossing if math.isfinite(crossing) else 0)
    return Noticed(answers[kept], since[kept], excess[kept], int(early.sum()), int(missed.sum()))
