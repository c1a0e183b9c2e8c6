"""Paying for selection: many thresholds tested, many attempts made, one promise kept."""

import math

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def spent(delta: float, attempt: int) -> float:
    """Return the share of a task's ``delta`` that its ``attempt``-th attempt (from 1) may spend.

    ``delta * 6 / (pi^2 attempt^2)``: the shares of all attempts ever made sum to delta.

    Examples:
        >>> round(spent(0.05, 1), 4), round(spent(0.05, 2), 4)
        (0.0304, 0.0076)
    """
    if attempt < 1:
        raise ValueError(f"attempt must be at least 1, was {attempt}")
    return delta * 6 / (math.pi**2 * attempt**2)


def fallback(
    p_values: FloatArray, weights: FloatArray, delta: float
) -> tuple[npt.NDArray[np.bool_], FloatArray]:
    """Test a sequence of hypotheses with the fallback procedure.

    Hypothesis i is tested at ``weights[i] * delta``, plus the level of the one before it if that
    was rejected. Whatever the dependence, the chance of one or more false rejections is at most
    ``delta``.

    Source: Wiens, 2003, "A fixed sequence Bonferroni procedure for testing multiple endpoints";
    Angelopoulos et al., 2021, "Learn then Test", for thresholds as hypotheses.

    Args:
        p_values: In the order of testing, strict thresholds first.
        weights: Non-negative, summing to at most 1, fixed before any p-value was known.
        delta: The chance of a false rejection that is allowed.

    Returns:
        Which were rejected, and the level at which each was tested.

    Examples:
        >>> rejected, levels = fallback(np.array([.001, .03, .2]), np.array([.5, .5, 0]), .05)
        >>> rejected.tolist(), levels.round(3).tolist()
        ([True, True, False], [0.025, 0.05, 0.05])
    """
    if weights.sum() > 1 + 1e-9 or (weights < 0).any():
        raise ValueError("weights must be non-negative and sum to at most 1")
    rejected = np.zeros(len(p_values), np.bool_)
    levels = np.zeros(len(p_values))
    carried = 0.0
    for i, p_value in enumerate(p_values):
        levels[i] = carried + weights[i] * delta
        rejected[i] = p_value <= levels[i] and levels[i] > 0
        carried = levels[i] if rejected[i] else 0.0
    return rejected, levels
