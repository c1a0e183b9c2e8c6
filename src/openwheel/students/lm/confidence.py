"""Confidence of a written answer: a model of agreement on how likely the model found its tokens."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from openwheel.inference.writer import Written
from openwheel.students.agreement import Agreement

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

FOLDS = 5

PENALTY = 1.0
"""Half the squared coefficients are added to the log-loss this many times: few rows would
otherwise be fitted exactly."""

NEWTON_STEPS = 30

LOWEST = -50.0
"""Log-probabilities below this say no more than this does."""


def evidence(written: Sequence[Written]) -> FloatArray:
    """Return what speaks for each answer, shape (n, 5).

    The sum of its tokens' log-probabilities, the smallest margin over another token, the mean and
    the least log-probability, and the logarithm of its length. They are the model's own, before
    any constraint: an answer that the constraint alone forced is improbable, and says so.
    """
    features = np.zeros((len(written), 5))
    for row, answer in zip(features, written, strict=True):
        if answer.logprobs:
            logprobs = np.maximum(answer.logprobs, LOWEST)
            margins = np.clip(answer.margins or (0.0,), LOWEST, -LOWEST)
            length = np.log1p(len(logprobs))
            row[:] = logprobs.sum(), margins.min(), logprobs.mean(), logprobs.min(), length
    # Of a long answer the sum is a large number, and one outlier would decide its scale.
    features[:, 0] = np.maximum(features[:, 0], 4 * LOWEST)
    return features


def fit_confidence(features: FloatArray, agreement: FloatArray) -> Agreement:
    """Fit a logistic model of agreement on answers to exchanges that were not trained on.

    Args:
        features: Shape (n, k); feature 1 is the margin.
        agreement: Of each answer with the teacher's, in [0, 1], shape (n,).

    Where all agree or all disagree there is nothing to fit: confidence then rises with the
    margin alone.
    """
    width = features.shape[1]
    if not len(features):
        return Agreement(np.zeros(width), np.ones(width), np.zeros(width), -3.0)
    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 1e-6, scale, 1.0)
    if agreement.min() == agreement.max():
        coefficients = np.zeros(width)
        coefficients[1] = 0.5
        return Agreement(mean, scale, coefficients, 3.0 if agreement[0] > 0.5 else -3.0)
    design = np.column_stack(((features - mean) / scale, np.ones(len(features))))
    penalty = np.diag([PENALTY] * width + [1e-6])
    weights = np.zeros(width + 1)
    for _ in range(NEWTON_STEPS):
        probability = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        slope = design.T @ (probability - agreement) + penalty @ weights
        spread = probability * (1 - probability)
        step = np.linalg.solve(design.T @ (design * spread[:, None]) + penalty, slope)
        weights -= step * min(1.0, 4.0 / max(float(np.abs(step).max()), 1e-9))
        if np.abs(step).max() < 1e-6:
            break
    return Agreement(mean, scale, weights[:-1], float(weights[-1]))


def cross_fitted(features: FloatArray, agreement: FloatArray, folds: IntArray) -> FloatArray:
    """Return the confidence of each row by a model fitted on the other folds, shape (n,).

    A model that saw a row's outcome is too sure of it, and thresholds planned from such
    confidences would promise more than is kept.
    """
    confidence = np.zeros(len(features))
    for fold in np.unique(folds):
        here = folds == fold
        model = fit_confidence(features[~here], agreement[~here])
        confidence[here] = model.confidence(features[here])
    return confidence
