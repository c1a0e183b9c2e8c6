"""Simulated traffic whose true disagreement is known exactly, for the benchmarks of the gate."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Random = np.random.Generator


class Drawn(NamedTuple):
    """Exchanges in order of arrival."""

    confidence: npt.NDArray[np.float64]
    losses: npt.NDArray[np.float64]
    clusters: npt.NDArray[np.int64]


@dataclass(frozen=True)
class World:
    """How exchanges come about, and the true disagreement among answered ones at a threshold."""

    draw: Callable[[Random, int], Drawn]
    rate: Callable[[float], float]


def curve(err: float, power: float, bias: float = 1.0) -> World:
    """Disagreement among the most confident share c is ``err * c**power``; 0: uninformative."""

    def draw(rng: Random, n: int) -> Drawn:
        rank = rng.random(n)
        wrong = rng.random(n) < np.minimum(1, bias * err * (power + 1) * rank**power)
        return Drawn(1 - rank, wrong.astype(np.float64), np.arange(n))

    return World(draw, lambda threshold: err * (1 - threshold) ** power)


def partly(err: float, power: float, halves: float) -> World:
    """As `curve`, but this share of the loss is in answers that lose a half: twice as many."""

    def draw(rng: Random, n: int) -> Drawn:
        rank = rng.random(n)
        rate = err * (power + 1) * rank**power
        drawn = rng.random(n)
        half = 2 * halves * rate
        losses = np.where(drawn < half, 0.5, 0.0)
        losses[(drawn >= half) & (drawn < half + (1 - halves) * rate)] = 1.0
        return Drawn(1 - rank, losses, np.arange(n))

    return World(draw, lambda threshold: err * (1 - threshold) ** power)


def everywhere(mean: float, concentration: float) -> World:
    """Every answer loses something: a Beta with this mean, of variance m (1 - m) / (c + 1)."""

    def draw(rng: Random, n: int) -> Drawn:
        losses = rng.beta(mean * concentration, (1 - mean) * concentration, n)
        return Drawn(rng.random(n), losses, np.arange(n))

    return World(draw, lambda _: mean)


def skewed(minority_wrong: float) -> World:
    """80/20 labels: right on the majority, wrong on this share of the minority."""

    def draw(rng: Random, n: int) -> Drawn:
        minority = rng.random(n) < 0.2
        confidence = np.where(minority, rng.random(n), rng.random(n) ** 0.25)
        wrong = minority & (rng.random(n) < minority_wrong)
        return Drawn(confidence, wrong.astype(np.float64), np.arange(n))

    def rate(t: float) -> float:
        rare, common = 0.2 * (1 - t), 0.8 * (1 - t**4)
        return minority_wrong * rare / (rare + common) if t < 1 else minority_wrong * 0.2 / 3.4

    return World(draw, rate)


def bursts(err: float, power: float, *, wrong_size: int = 0) -> World:
    """Clusters agree or disagree whole; members mostly share a confidence, some have another.

    ``wrong_size``: size of disagreeing clusters where size tells of agreement; others then have 2.
    """

    def draw(rng: Random, n: int) -> Drawn:
        rank = rng.random(n)
        if wrong_size:
            share = err * 2 / (wrong_size - err * (wrong_size - 2))
            wrong = rng.random(n) < share
            sizes = np.where(wrong, wrong_size, 2)
        else:
            wrong = rng.random(n) < err * (power + 1) * rank**power
            sizes = np.minimum(rng.zipf(2.0, n), 50)
        rows = np.repeat(np.arange(n), sizes)[: sizes.sum()]
        # Clusters last for a while and overlap: members arrive near their cluster's place.
        place = rows + rng.exponential(50, len(rows))
        rows = rows[np.argsort(place)][:n]
        member = np.where(rng.random(n) < 0.7, rank[rows], rng.random(n))
        return Drawn(1 - member, wrong[rows].astype(np.float64), rows)

    return World(draw, lambda t: 0.7 * err * (1 - t) ** power + 0.3 * err)


def hot_inputs() -> World:
    """A fifth of the requests are 40 inputs again and again, 7 of them wrong; the rest 2% wrong."""

    def draw(rng: Random, n: int) -> Drawn:
        hot, which = rng.random(n) < 0.2, rng.integers(0, 40, n)
        wrong = np.where(hot, which < 7, rng.random(n) < 0.02)
        clusters = np.where(hot, which, 40 + np.arange(n))
        return Drawn(np.where(hot, 1.0, rng.random(n)), wrong.astype(np.float64), clusters)

    def rate(t: float) -> float:
        tail = 0.8 * (1 - t)
        return (0.2 * 7 / 40 + tail * 0.02) / (0.2 + tail)

    return World(draw, rate)


def matters(err: float, length: float, correlation: float) -> World:
    """Matters of a mean length, in words that no comparison sees; each exchange is its own burst.

    ``correlation``: of two losses of one matter; 1: a matter is all right or all wrong. Confidence
    tells nothing, so that the rate is ``err`` at every threshold.
    """

    def draw(rng: Random, n: int) -> Drawn:
        count = int(3 * n / length) + 50
        sizes = rng.geometric(1 / length, count)
        if correlation >= 1:
            rate = (rng.random(count) < err).astype(np.float64)
        else:
            weight = (1 - correlation) / correlation
            rate = rng.beta(err * weight, (1 - err) * weight, count)
        rows = np.repeat(np.arange(count), sizes)
        # Matters last for a while and overlap.
        place = rows * length + rng.exponential(4 * length, len(rows))
        rows = rows[np.argsort(place)][len(rows) // 8 :][:n]
        wrong = rng.random(len(rows)) < rate[rows]
        return Drawn(rng.random(len(rows)), wrong.astype(np.float64), np.arange(len(rows)))

    return World(draw, lambda _: err)


LAYOUTS = np.array([(3, 1, 0.8), (4, 0, 0.8), (6, 2, 0.8), (8, 2, 0.8), (20, 5, 0.8), (12, 2, 2.0)])
"""Layouts of records: fields, constants among them, and how much its loss is of the mean one. One
in six differs, and the student does not know it."""

MISMATCH = 0.1
"""Share of the loss that is in answers that are no record."""

ALIKE = 0.3
"""Correlation of two fields of a record, or of a run of records."""


def records(err: float, power: float, *, by: str, run: float = 1, together: bool = False) -> World:
    """Records in layouts, whose fields are wrong together: a wrong type takes others with it.

    The mean loss among the most confident share c is ``err * c**power``.

    Args:
        err, power: As `curve` has them; at most 0.1 and 2.
        by: What the loss is: the share of wrong ``fields``, or whether the ``record`` is wrong.
        run: Mean length of the runs in which records of one layout come.
        together: Whether wrong fields come together in all records of a run, too.
    """

    def draw(rng: Random, n: int) -> Drawn:
        rank = rng.random(n)
        starts = rng.random(n) < 1 / run
        starts[0] = True
        of_run = np.cumsum(starts) - 1
        layout = rng.integers(0, len(LAYOUTS), of_run[-1] + 1)[of_run]
        fields, constant, factor = LAYOUTS[layout].T
        mean = factor * err * (power + 1) * rank**power
        mismatch = rng.random(n) < MISMATCH * mean
        rest = (1 - MISMATCH) * mean / (1 - MISMATCH * mean)
        if by == "record":
            return Drawn(
                1 - rank, (mismatch | (rng.random(n) < rest)).astype(np.float64), np.arange(n)
            )
        each = rest * fields / (fields - constant)
        # A field is wrong where this is below its share; of one record or run it is much alike.
        alike = rng.random(of_run[-1] + 1)[of_run] if together else rng.random(n)
        own = rng.random((n, int(LAYOUTS[:, 0].max())))
        shared = rng.random(own.shape) < ALIKE
        at = np.where(shared, alike[:, None], own)
        wrong = (at < each[:, None]) & (np.arange(own.shape[1]) < (fields - constant)[:, None])
        losses = np.where(mismatch, 1.0, wrong.sum(1) / fields)
        return Drawn(1 - rank, losses, np.arange(n))

    return World(draw, lambda threshold: err * (1 - threshold) ** power)
