"""Answers that count by a weight: audited ones in full, deferred ones by the audit's share."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from openwheel.gate.betting import STEPS, smallest_limit, weighed_anytime_p_value

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

Entries = tuple[tuple[float, int, int], ...]
"""Weight, loss in thousandths, and how many answers had both, in order."""


class Weighed(NamedTuple):
    """What is answered at each threshold, strict first, by weight and loss.

    Attributes:
        counts: How many answers had each weight and loss, shape (thresholds, k).
        weights: Shape (k,).
        steps: Losses in thousandths, shape (k,).
    """

    counts: IntArray
    weights: FloatArray
    steps: IntArray

    def entries(self, i: int) -> Entries:
        """Return the counts at a threshold as a certificate keeps them."""
        return tuple(
            (float(weight), int(step), int(count))
            for weight, step, count in zip(self.weights, self.steps, self.counts[i], strict=True)
            if count
        )

    def p_values(self, epsilon: float, effect: float, rates: FloatArray) -> FloatArray:
        """Return the p-value of each threshold; ``effect``: what the counts are divided by."""
        return weighed_anytime_p_value(
            self.counts / effect, self.weights, self.steps, epsilon, rates
        )


def weigh(
    confidence: FloatArray, steps: IntArray, weights: FloatArray, thresholds: FloatArray
) -> Weighed:
    """Count what is answered at each threshold.

    Args:
        confidence: Shape (n,).
        steps: Losses in thousandths, shape (n,).
        weights: From 0 to 1, shape (n,); what weighs nothing is left out.
        thresholds: Strict first, shape (thresholds,).
    """
    keys = sorted(set(zip(weights[weights > 0].tolist(), steps[weights > 0].tolist(), strict=True)))
    columns = [
        np.searchsorted(
            np.sort(-confidence[(weights == weight) & (steps == step)]), -thresholds, side="right"
        )
        for weight, step in keys
    ]
    return _weighed(keys, np.array(columns, np.int64).reshape(len(keys), len(thresholds)).T)


def weighed_from(rows: Sequence[Entries]) -> Weighed:
    """Return the counts of thresholds from what a certificate keeps of each."""
    counted = [{(weight, step): count for weight, step, count in row} for row in rows]
    keys = sorted({key for row in counted for key in row})
    counts = [[row.get(key, 0) for key in keys] for row in counted]
    return _weighed(keys, np.array(counts, np.int64).reshape(len(rows), len(keys)))


def weighed_bound(entries: Entries, effect: float, level: float, rate: float) -> float:
    """Return the upper bound of the mean loss that inverts `Weighed.p_values` at a threshold.

    Args:
        entries: The counts there.
        effect: What they are divided by.
        level: The chance to be wrong that is allowed.
        rate: As the test bet on it.
    """
    alone = weighed_from([entries])
    total = float(alone.counts[0] @ alone.weights)
    low = float(alone.counts[0] @ (alone.weights * alone.steps)) / STEPS / total if total else 1.0
    rates = np.array([rate])
    return smallest_limit(lambda limit: alone.p_values(limit, effect, rates)[0], low, level)


def are_entries(entries: Entries) -> bool:
    """Whether these are weights and losses in order, each of which came up."""
    keys = [(weight, step) for weight, step, _ in entries]
    return keys == sorted(set(keys)) and all(
        0 < weight <= 1 and 0 <= step <= STEPS and count > 0 for weight, step, count in entries
    )


def _weighed(keys: Iterable[tuple[float, int]], counts: IntArray) -> Weighed:
    keys = list(keys)
    return Weighed(
        counts,
        np.array([weight for weight, _ in keys], np.float64),
        np.array([step for _, step in keys], np.int64),
    )
