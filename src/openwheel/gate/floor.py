"""The least confidence at which an answer is given, whatever the mean over answers allows."""

import numpy as np
import numpy.typing as npt
import scipy

FloatArray = npt.NDArray[np.float64]


def least_confidence(confidence: FloatArray, losses: FloatArray, most: float) -> float:
    """Return the least confidence whose answers have a local mean loss of at most ``most``.

    The local mean loss is the isotonic regression of the loss on the confidence (Ayer et al.,
    1955): the least-squares fit among functions that do not rise with the confidence. It takes
    the confidence for a rank, never for a probability.

    Args:
        confidence: Out-of-fold confidences of training exchanges, shape (n,); those of 0 or less
            are never answered and left out.
        losses: Of those answers against the teacher's, from 0 (agrees) to 1, shape (n,).
        most: The most local loss; 1 or more allows every answer.

    Returns:
        0 if every answer may be given or there is none; if none may, a little more than the
        highest confidence.

    Example:
        >>> confidence = np.array([0.2, 0.4, 0.6, 0.8])
        >>> least_confidence(confidence, np.array([1.0, 0.0, 1.0, 0.0]), 0.3)
        0.8
    """
    answerable = confidence > 0
    if most >= 1 or not answerable.any():
        return 0.0
    # Equal confidences are answered together.
    values, place, weights = np.unique(
        confidence[answerable], return_inverse=True, return_counts=True
    )
    means = np.bincount(place, weights=losses[answerable]) / weights
    local = scipy.optimize.isotonic_regression(means, weights=weights, increasing=False).x
    allowed = np.flatnonzero(local <= most + 1e-12)
    if not len(allowed):
        return float(np.nextafter(values[-1], np.inf))
    return float(values[allowed[0]]) if allowed[0] else 0.0
