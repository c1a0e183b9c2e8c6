"""Bets that a mean loss is above a limit, on many alternatives at once, by what an answer lost.

Source: Waudby-Smith and Ramdas, 2024, "Estimating means of bounded random variables by betting";
the cap on a bet: Fischer and Ramdas, 2024, "Improving the (approximate) sequential probability
ratio test by avoiding overshoot".
"""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

ALTERNATIVES = 16
LEAST, MOST = 0.4, 0.6
"""Alternatives lie above epsilon by from 0.4 epsilon (1 - epsilon) to 0.6 (1 - epsilon)."""

BARELY, BARELY_SHARE = 4, 0.01
"""So many more halve that distance again and again, and share so little of the stake: a rate that
is barely above epsilon is noticed, too, if late."""

ROUNDING = 1e-12
"""A bet that is made to reach a limit exactly may miss it by so much."""


@lru_cache(maxsize=64)
def alternatives(epsilon: float) -> tuple[FloatArray, FloatArray]:
    """Return rates above ``epsilon`` to bet on, and how the stake is shared among them.

    The time to notice a rate q is about ``1 / (q - epsilon) ** 2``, so a mixture loses about
    ``log(1 / ((q - epsilon) p(q)))`` where its density at q is p: as much for every q where q is
    spread evenly by the logarithm of ``q - epsilon``. At the ends of the range there are
    neighbours on one side only; Chebyshev's nodes, which are denser there as the arcsine law is,
    make up for it, as Krichevsky and Trofimov's half makes up for the ends of (0, 1).

    Examples:
        >>> rates, shares = alternatives(0.05)
        >>> [round(float(rate), 3) for rate in rates[[4, 12, 19]]]
        [0.069, 0.173, 0.615]
        >>> round(float(shares.sum()), 12)
        1.0
    """
    room = 1 - epsilon
    angle = (np.arange(ALTERNATIVES) + 0.5) / ALTERNATIVES * np.pi / 2
    low, high = np.log(LEAST * epsilon * room), np.log(MOST * room)
    above = np.exp(low + (high - low) * np.sin(angle) ** 2)
    barely = LEAST * epsilon * room / 2.0 ** np.arange(BARELY, 0, -1)
    shares = np.full(ALTERNATIVES, (1 - BARELY_SHARE) / ALTERNATIVES)
    few = np.full(BARELY, BARELY_SHARE / BARELY)
    return epsilon + np.concatenate((barely, above)), np.concatenate((few, shares))


@lru_cache(maxsize=64)
def stakes(epsilon: float) -> FloatArray:
    """Return what is best staked if each alternative is the rate: ``(q - e) / (e (1 - e))``.

    For losses of 0 and 1 the wealth is then the likelihood ratio of q against epsilon.
    """
    rates, _ = alternatives(epsilon)
    return np.asarray((rates - epsilon) / (epsilon * (1 - epsilon)))


def bet(wealth: FloatArray, loss: Any, weight: Any, *, epsilon: float, limit: Any) -> FloatArray:
    """Return the wealth on each alternative after one answer.

    Wealth w on a stake s becomes ``w (1 + s weight (loss - epsilon))``. No bet is larger than what
    a loss of 1 would turn into ``limit`` exactly: beyond it wealth is of no use, and the rest is
    kept. Each bet is fair or worse where the mean loss is at most epsilon, since it was placed
    before the answer was seen.

    Args:
        wealth: On each of the alternatives, shape (..., 20).
        loss: In [0, 1], shape (...).
        weight: In (0, 1], shape (...).
        epsilon: The limit of the mean loss.
        limit: What the sum of the wealth is to reach, shape (...).
    """
    odds = stakes(epsilon)
    room = np.maximum(limit - wealth.sum(-1), 0.0)
    # The least positive number, where nothing is staked.
    gain = np.maximum((wealth @ odds) * (1 - epsilon), 5e-324)
    with np.errstate(over="ignore"):
        fraction = np.minimum(room / gain, 1.0)
    moved = fraction * weight * (np.asarray(loss) - epsilon)
    return np.asarray(wealth * np.maximum(1 + moved[..., None] * odds, 0.0))
