"""Fits the confidence: a model of whether an answer will agree, on out-of-fold predictions.

Scores of a classifier rank its answers well but not best. A logistic model of agreement adds other
facts that need no label: how far the runner-up is, how spread the scores are, how near the input
lies to the training inputs of its answer, how much of it was never seen, how long it is, and how
often that answer was right out of fold.
"""

import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

SHARPNESS = 3.0
"""Scores are margins of about -1 to 1; times this they make a softmax that is not flat."""

PRIOR = 5.0
"""Pseudo-count that pulls an answer's out-of-fold precision to the mean of all answers."""


def score_evidence(scores: FloatArray) -> tuple[IntArray, FloatArray]:
    """Return the top answers, and seven features of how clearly each stands out.

    Args:
        scores: Shape (n, answers).

    Returns:
        Index of the top answer, shape (n,); features, shape (n, 7): the top score, its lead over
        the second, third and fifth, entropy of the softmax, its top probability, and the
        logarithm of what is left.
    """
    n, answers = scores.shape
    keep = min(5, answers)
    order = np.argsort(-scores, axis=1)[:, :keep]
    top = scores[np.arange(n)[:, None], order]
    labels = order[:, 0]
    leads = top[:, :1] - top[:, [min(i, keep - 1) for i in (1, 2, 4)]]
    exponentials = np.exp(SHARPNESS * (scores - top[:, :1]))
    total = exponentials.sum(axis=1, keepdims=True)
    probabilities = exponentials / total
    entropy = -(probabilities * np.log(probabilities + 1e-12)).sum(axis=1, keepdims=True)
    rest = np.log(total - 1 + 1e-9) - np.log(total)
    features = np.concatenate((top[:, :1], leads, entropy, 1 / total, rest), axis=1)
    return labels.astype(np.int64), features


class Precision(NamedTuple):
    """How often each answer was right out of fold, and how often it was given in training."""

    log_odds: FloatArray
    log_count: FloatArray

    def features(self, labels: IntArray) -> FloatArray:
        """Return two features for each label, shape (n, 2)."""
        return np.stack((self.log_odds[labels], self.log_count[labels]), axis=1)


def fit_precision(
    labels: IntArray, agrees: BoolArray, counts: IntArray, folds: IntArray
) -> tuple[Precision, FloatArray]:
    """Return the precision of each answer, and its features for the rows it was computed from.

    A row's features come from the other folds. Leaving out the row alone would reveal its outcome:
    a right answer's precision is then a little lower than a wrong one's, and a logistic model
    learns the outcome from that difference.

    Args:
        labels: The answer given to each row, shape (n,).
        agrees: Whether it was right, shape (n,).
        counts: Training examples of each answer, shape (answers,).
        folds: The fold of each row, shape (n,).
    """
    log_count = np.log1p(counts)
    precision = Precision(_precision(labels, agrees, len(counts)), log_count)
    own = np.zeros((len(labels), 2))
    for fold in np.unique(folds):
        here = folds == fold
        others = Precision(_precision(labels[~here], agrees[~here], len(counts)), log_count)
        own[here] = others.features(labels[here])
    return precision, own


def _precision(labels: IntArray, agrees: BoolArray, answers: int) -> FloatArray:
    """Return the log odds that each answer is right, shape (answers,)."""
    right = np.bincount(labels, weights=agrees, minlength=answers)
    given = np.bincount(labels, minlength=answers)
    mean = agrees.mean() if len(agrees) else 0.5
    return _log_odds((right + PRIOR * mean) / (given + PRIOR))


def _log_odds(share: FloatArray) -> FloatArray:
    share = np.clip(share, 1e-3, 1 - 1e-3)
    return np.asarray(np.log(share / (1 - share)))


class Agreement(NamedTuple):
    """A logistic model of agreement on standardised features."""

    mean: FloatArray
    scale: FloatArray
    coefficients: FloatArray
    intercept: float

    def confidence(self, features: FloatArray) -> FloatArray:
        """Return the probability of agreement, shape (n,), strictly inside (0, 1)."""
        logit = ((features - self.mean) / self.scale) @ self.coefficients + self.intercept
        return np.asarray(1 / (1 + np.exp(-np.clip(logit, -30, 30))))

    def arrays(self, name: str) -> dict[str, FloatArray]:
        """Return all but the intercept, as it is saved under a name."""
        return {f"{name}.{field}": getattr(self, field) for field in self._fields[:3]}

    @classmethod
    def read(cls, arrays: Mapping[str, FloatArray], name: str, intercept: float) -> "Agreement":
        """Return the model that was saved under a name; raises `KeyError`."""
        mean, scale, coefficients = (arrays[f"{name}.{field}"] for field in cls._fields[:3])
        return cls(mean, scale, coefficients, intercept)


class Outcomes(NamedTuple):
    """Agreement in parts as outcomes with weights: a row that agrees in part counts as two.

    Attributes:
        row: Which row each is of, in order.
        agrees: Whether it agrees.
        weight: Above 0, at most 1.
    """

    row: IntArray
    agrees: BoolArray
    weight: FloatArray


def outcomes(agreement: FloatArray) -> Outcomes:
    """Return the outcomes of rows that agree from 0 to 1, shape (n,)."""
    agrees = np.tile([True, False], len(agreement))
    weight = np.column_stack((agreement, 1 - agreement)).ravel()
    row = np.repeat(np.arange(len(agreement)), 2)
    kept = weight > 0
    return Outcomes(row[kept], agrees[kept], weight[kept])


def fit_agreement(features: FloatArray, agreement: BoolArray | FloatArray) -> Agreement:
    """Fit the model on out-of-fold features, shape (n, k), and agreement in [0, 1], shape (n,).

    If all agree or all disagree there is nothing to fit: confidence then depends on the lead over
    the runner-up, or the margin of a written answer (feature 1), alone.
    """
    width = features.shape[1]
    if not len(features):
        return Agreement(np.zeros(width), np.ones(width), np.zeros(width), -3.0)
    mean, scale = features.mean(axis=0), features.std(axis=0)
    # Anything smaller is rounding of 32-bit scores, which must not be blown up to a feature.
    scale = np.where(scale > 1e-6, scale, 1.0)
    target = np.asarray(agreement, np.float64)
    if target.min() == target.max():
        coefficients = np.zeros(width)
        coefficients[1] = 0.5
        return Agreement(mean, scale, coefficients, 3.0 if target[0] > 0.5 else -3.0)
    # Only training needs scikit-learn; a gateway must not wait for it.
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    row, agrees, weight = outcomes(target)
    with warnings.catch_warnings():
        # A model not quite converged ranks as well; the gate judges it either way.
        warnings.simplefilter("ignore", ConvergenceWarning)
        # Newton: a dozen features and many rows take it a few steps, L-BFGS hundreds.
        model = LogisticRegression(C=1.0, solver="newton-cholesky")
        model.fit(((features - mean) / scale)[row], agrees, weight)
    return Agreement(mean, scale, model.coef_[0], float(model.intercept_[0]))


def out_of_fold_confidence(
    features: FloatArray, agreement: BoolArray | FloatArray, folds: IntArray
) -> FloatArray:
    """Return the confidence of each row by a model fitted on the other folds, shape (n,).

    A model that saw a row's outcome is too sure of it, and much too sure where rows are few.
    """
    confidence = np.zeros(len(features))
    for fold in np.unique(folds):
        here = folds == fold
        model = fit_agreement(features[~here], agreement[~here])
        confidence[here] = model.confidence(features[here])
    return confidence
