"""Evidence for a written answer, from how likely the model found its tokens."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from openwheel.inference.writer import Written

FloatArray = npt.NDArray[np.float64]

FOLDS = 5

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
