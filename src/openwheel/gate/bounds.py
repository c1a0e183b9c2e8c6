"""Exact tests and bounds for a share of disagreements.

All take counts: ``disagreements`` among ``answered``, which are independent draws from the traffic
that the promise speaks of. Counts may be fractions: those of draws that are not independent,
divided by their design effect. With nothing answered every bound is vacuous: p-value 1, upper
bound 1.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy

FloatArray = npt.NDArray[np.float64]


def binomial_p_value(disagreements: Any, answered: Any, epsilon: float) -> FloatArray:
    """Return the exact p-value of "the disagreement rate is above epsilon".

    ``P(Bin(answered, epsilon) <= disagreements)``: valid for every rate above ``epsilon``, when
    ``answered`` was fixed before the disagreements were looked at, and looked at once.

    Args:
        disagreements: Counts, any shape.
        answered: Counts, of a shape that broadcasts with it.
        epsilon: The limit, in (0, 1).

    Examples:
        >>> float(binomial_p_value(0, 59, 0.05).round(4))
        0.0485
        >>> float(binomial_p_value(0, 0, 0.05))
        1.0
    """
    k, n = np.asarray(disagreements, float), np.asarray(answered, float)
    # The binomial's distribution function by the incomplete beta, which takes fractions too.
    right = np.maximum(n - k, 0.0)
    chance = scipy.special.betainc(np.where(right > 0, right, 1.0), k + 1, 1 - epsilon)
    return np.where(right > 0, chance, 1.0)


def anytime_p_value(
    disagreements: Any, answered: Any, epsilon: float, rate: Any = 0.0
) -> FloatArray:
    """Return a p-value of "the rate is above epsilon" that may be looked at after every answer.

    One over the wealth of a bettor who bets on every rate below epsilon at once: the likelihood
    ratio against ``epsilon``, averaged over rates uniform on (0, epsilon). One more answer
    multiplies the ratio of a rate q by ``r q / epsilon + (1 - r) (1 - q) / (1 - epsilon)`` on
    average where the true rate is r; that is 1 at r = epsilon and falls in r, so for every r from
    epsilon up the ratio, and any average of such ratios, is a supermartingale. By Ville's
    inequality the chance that this ever falls to ``alpha`` is at most ``alpha``. The wealth is a
    function of the counts, so a certificate needs no more than those.

    Args:
        disagreements: Counts, any shape.
        answered: Counts, of a shape that broadcasts with it.
        epsilon: The limit, in (0, 1).
        rate: A rate that was expected before the first answer: half of the wealth is bet on it
            alone, and stays as it is where it is not below the limit. 0: nothing was expected.
            Broadcasts with the counts.

    Source: Robbins, 1970, "Statistical methods related to the law of the iterated logarithm";
    Ramdas et al., 2023, "Game-theoretic statistics and safe anytime-valid inference", section 2.

    Examples:
        >>> float(anytime_p_value(0, 200, 0.05).round(5))
        0.00035
        >>> float(anytime_p_value(0, 0, 0.05))
        1.0
        >>> float(anytime_p_value(3, 200, 0.05, rate=0.015).round(4))
        0.0414
        >>> float(anytime_p_value(3, 200, 0.05).round(4))
        0.068
    """
    k, n = np.asarray(disagreements, float), np.asarray(answered, float)
    rate = np.asarray(rate, float)
    a, b = k + 1, n - k + 1
    below = scipy.special.betainc(a, b, epsilon)
    with np.errstate(divide="ignore"):
        log_wealth = (
            np.log(below)
            + scipy.special.betaln(a, b)
            - np.log(epsilon)
            - k * np.log(epsilon)
            - (n - k) * np.log1p(-epsilon)
        )
    if rate.any():
        q = np.where((rate > 0) & (rate < epsilon), rate, epsilon)
        expected = k * np.log(q / epsilon) + (n - k) * np.log((1 - q) / (1 - epsilon))
        both = np.logaddexp(log_wealth, expected) - np.log(2)
        log_wealth = np.where(rate > 0, both, log_wealth)
    return np.asarray(np.exp(-np.maximum(log_wealth, 0.0)))


def upper_bound(disagreements: float, answered: float, alpha: float) -> float:
    """Return the Clopper-Pearson upper bound of the rate, wrong with probability at most alpha.

    Source: Clopper and Pearson, 1934. With nothing answered it is 1.

    Examples:
        >>> round(upper_bound(2, 200, 0.05), 4)
        0.0311
        >>> upper_bound(0, 0, 0.05)
        1.0
    """
    if disagreements >= answered:
        return 1.0
    return float(scipy.special.betaincinv(disagreements + 1, answered - disagreements, 1 - alpha))


def anytime_upper_bound(
    disagreements: float, answered: float, alpha: float, rate: float = 0.0
) -> float:
    """Return the smallest limit that :func:`anytime_p_value` rejects at ``alpha``.

    For one fixed number of answers it is wider than :func:`upper_bound`; it may be looked at
    after every answer. The p-value falls as the limit rises, so halving finds it, to the last bit:
    a bound that is a little too high would contradict a test that only just passed.

    Examples:
        >>> round(anytime_upper_bound(2, 200, 0.05), 4)
        0.0435
        >>> anytime_upper_bound(0, 0, 0.05)
        1.0
    """
    low, high = disagreements / answered if answered else 1.0, 1.0
    while low < (middle := (low + high) / 2) < high:
        if anytime_p_value(disagreements, answered, middle, rate) <= alpha:
            high = middle
        else:
            low = middle
    return high


def clopper_pearson(disagreements: int, answered: int, level: float = 0.95) -> tuple[float, float]:
    """Return the exact two-sided interval of the rate; (0, 1) with nothing answered.

    Examples:
        >>> [round(end, 4) for end in clopper_pearson(2, 200)]
        [0.0012, 0.0357]
    """
    tail = (1 - level) / 2
    low = 0.0
    if disagreements > 0:
        low = float(scipy.special.betaincinv(disagreements, answered - disagreements + 1, tail))
    return low, upper_bound(disagreements, answered, tail)
