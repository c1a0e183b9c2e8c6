"""Rules that decide when to take a student off, each on many audited streams at once.

A rule's ``start`` gives a watch on ``runs`` streams; its ``step`` takes the loss and the weight of
the next audited answer of each stream, and says which streams have had their alarm.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import scipy

from openwheel.gate.monitors import edetector, eprocess

FloatArray = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

ROUNDED = 1 - 1e-12

ARL = 1_000_000.0
"""Audited answers between false alarms of the detector in the product's rule."""

PROCESS_SHARE = 0.9
"""Share of delta that the product's e-process spends; the rest is the detector's for the first
``(1 - PROCESS_SHARE) * delta * ARL`` audited answers: 5,000 at 5%."""


class Watch(Protocol):
    """A rule at work on many streams."""

    def step(self, losses: FloatArray, weights: FloatArray) -> Flags:
        """Return which streams alarm at this answer."""


class Rule(NamedTuple):
    """A rule by name; ``start(runs)`` begins to watch."""

    name: str
    start: Callable[[int], Watch]


class _Process:
    def __init__(self, runs: int, epsilon: float, delta: float) -> None:
        self.epsilon, self.delta, self.seen = epsilon, delta, 0
        self.wealth = np.tile(eprocess.at_start(epsilon), (runs, 1))

    def step(self, losses: FloatArray, weights: FloatArray) -> Flags:
        self.wealth, total = eprocess.step(
            self.wealth, self.seen, losses, weights, epsilon=self.epsilon, delta=self.delta
        )
        self.seen += 1
        return np.asarray(total >= ROUNDED / self.delta)


class _Detector:
    def __init__(self, runs: int, epsilon: float, length: float) -> None:
        self.epsilon, self.length = epsilon, length
        self.wealth = np.tile(edetector.at_start(epsilon), (runs, 1))

    def step(self, losses: FloatArray, weights: FloatArray) -> Flags:
        self.wealth, total = edetector.step(
            self.wealth, losses, weights, epsilon=self.epsilon, limit=self.length
        )
        return np.asarray(total >= ROUNDED * self.length)


class Doubtful:
    """How near the nearer of the product's two monitors is to its alarm, on a log scale."""

    def __init__(self, runs: int, epsilon: float, delta: float) -> None:
        self.process = _Process(runs, epsilon, PROCESS_SHARE * delta)
        self.detector = _Detector(runs, epsilon, ARL)

    def step(self, losses: FloatArray, weights: FloatArray) -> FloatArray:
        """Return it after one more audited answer of each stream."""
        self.process.step(losses, weights)
        self.detector.step(losses, weights)
        found = [
            np.log(np.maximum(rule.wealth.sum(-1), 1.0)) / math.log(limit)
            for rule, limit in (
                (self.process, 1 / self.process.delta),
                (self.detector, self.detector.length),
            )
        ]
        return np.asarray(np.maximum(*found))


class _Both:
    def __init__(self, watches: tuple[Watch, ...]) -> None:
        self.watches = watches

    def step(self, losses: FloatArray, weights: FloatArray) -> Flags:
        flags = [watch.step(losses, weights) for watch in self.watches]
        return np.asarray(np.logical_or.reduce(flags))


class _Counts:
    def __init__(self, runs: int, epsilon: float, delta: float) -> None:
        self.epsilon, self.delta, self.seen, self.total = epsilon, delta, 0, np.zeros(runs)

    def step(self, losses: FloatArray, weights: FloatArray) -> Flags:
        del weights
        self.seen, self.total = self.seen + 1, self.total + losses
        return np.asarray(alarm_p_value(self.total, self.seen, self.epsilon) <= self.delta)


def alarm_p_value(disagreements: FloatArray, answered: int, epsilon: float) -> FloatArray:
    """Return a p-value, at any look, of "the rate is at most epsilon", by a mixture of bets."""
    k, n = disagreements, answered
    a, b = k + 1, n - k + 1
    with np.errstate(divide="ignore"):
        log_wealth = (
            np.log(scipy.special.betaincc(a, b, epsilon))
            + scipy.special.betaln(a, b)
            - np.log1p(-epsilon)
            - k * np.log(epsilon)
            - (n - k) * np.log1p(-epsilon)
        )
    return np.asarray(np.exp(-np.maximum(log_wealth, 0.0)))


class Statistic(Protocol):
    """A number a stream, high where something seems wrong."""

    def step(self, losses: FloatArray) -> FloatArray:
        """Return it after one more audited answer."""


class _Window:
    """The z-score of the latest ``length`` answers; nothing before there are so many."""

    def __init__(self, runs: int, epsilon: float, length: int) -> None:
        self.epsilon, self.seen = epsilon, 0
        self.kept, self.total = np.zeros((length, runs)), np.zeros(runs)

    def step(self, losses: FloatArray) -> FloatArray:
        length = len(self.kept)
        place = self.seen % length
        self.total = self.total + losses - self.kept[place]
        self.kept[place] = losses
        self.seen += 1
        if self.seen < length:
            return np.full(len(self.total), -math.inf)
        spread = math.sqrt(length * self.epsilon * (1 - self.epsilon))
        return np.asarray(np.round((self.total - length * self.epsilon) / spread, 9))


class _Cusum:
    """Page's sum of log-likelihood ratios of ``factor * epsilon`` against epsilon."""

    def __init__(self, runs: int, epsilon: float, factor: float) -> None:
        self.wrong = math.log(factor)
        self.right = math.log((1 - factor * epsilon) / (1 - epsilon))
        self.total = np.zeros(runs)

    def step(self, losses: FloatArray) -> FloatArray:
        gain = losses * self.wrong + (1 - losses) * self.right
        self.total = np.maximum(self.total + gain, 0.0)
        return np.asarray(np.round(self.total, 9))


class _Above:
    def __init__(self, statistic: Statistic, threshold: float) -> None:
        self.statistic, self.threshold = statistic, threshold

    def step(self, losses: FloatArray, weights: FloatArray) -> Flags:
        del weights
        return np.asarray(self.statistic.step(losses) > self.threshold)


STATISTICS: dict[str, Callable[[int, float], Statistic]] = {
    "z-test, window 100": functools.partial(_Window, length=100),
    "z-test, window 400": functools.partial(_Window, length=400),
    "CUSUM for 2 epsilon": functools.partial(_Cusum, factor=2.0),
}


def product(epsilon: float, delta: float) -> Rule:
    """The e-process and the e-detector, whichever is first."""
    return Rule(
        "e-process and e-detector",
        lambda runs: _Both(
            (
                _Process(runs, epsilon, PROCESS_SHARE * delta),
                _Detector(runs, epsilon, ARL),
            )
        ),
    )


def process(epsilon: float, delta: float) -> Rule:
    return Rule("e-process alone", lambda runs: _Process(runs, epsilon, delta))


def detector(epsilon: float, length: float) -> Rule:
    return Rule("e-detector alone", lambda runs: _Detector(runs, epsilon, length))


def uniform(epsilon: float, delta: float) -> Rule:
    """What the product had before: alternatives uniform on (epsilon, 1), no restarts."""
    return Rule("uniform mixture", lambda runs: _Counts(runs, epsilon, delta))


@functools.lru_cache(maxsize=64)
def calibrated(name: str, epsilon: float, delta: float, answers: int) -> Rule:
    """Return a classical rule whose chance of a false alarm is delta within so many answers.

    The threshold is the highest that 4,000 simulated streams with a rate of exactly epsilon
    exceed in a share of at most delta. Other seeds than the benchmark's.
    """
    runs, rng = 4_000, np.random.default_rng([987, answers])
    statistic = STATISTICS[name](runs, epsilon)
    highest = np.full(runs, -math.inf)
    for _ in range(answers):
        highest = np.maximum(highest, statistic.step((rng.random(runs) < epsilon).astype(float)))
    threshold = float(np.sort(highest)[math.ceil((1 - delta) * runs) - 1])
    return Rule(name, lambda runs: _Above(STATISTICS[name](runs, epsilon), threshold))


def naive(epsilon: float) -> Rule:
    """A z-test at the usual 5%, looked at after every answer."""
    window = STATISTICS["z-test, window 100"]
    return Rule("z-test at 1.645", lambda runs: _Above(window(runs, epsilon), 1.645))
