"""Tests and bounds for a mean loss, where a loss may be any number from 0 to 1.

A bettor starts with a wealth of 1 and bets, on each answer, that its loss is below ``epsilon``:
with the stake ``s`` in [0, 1 / (1 - epsilon)] the wealth is multiplied by
``1 + s (epsilon - loss)``, which is never negative, and on average at most 1 wherever the mean loss
is ``epsilon`` or more, whatever else the losses do. So the wealth is a supermartingale, and so is
its average over any stakes fixed beforehand; one over it is a p-value of "the mean loss is at least
``epsilon``". The stakes are the same for every answer, so that the wealth depends on how often each
loss occurred and on nothing else: a certificate that has those counts can be recomputed.

Assumptions: answers are independent draws from the traffic that the promise speaks of, or at least
each has a mean loss of ``epsilon`` or more given those before it. With no answers every p-value is
1 and every bound is 1.

Losses are counted in thousandths, rounded up: a mean that is too high makes the promise harder to
give, never easier.

Source: Waudby-Smith and Ramdas, 2024, "Estimating means of bounded random variables by betting",
Journal of the Royal Statistical Society B 86. Theirs places each stake by the losses before it;
here stakes are fixed, since a student is judged on a set, not on an order.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

STEPS = 1_000
"""Losses are counted in this many steps from 0 to 1."""

NODES = 512
"""Stakes that stand for all of them: enough for the sum to be the integral for some 20,000 answers;
with more it is still the wealth of a bettor, who bets on just these."""

SPREADS = (1.0, 0.5, 0.25, 0.1, 0.03)
SHARES = (0.6, 0.1, 0.1, 0.1, 0.1)
"""With one look: what share of the wealth is staked as is best if the losses' variance is this part
of its most, epsilon (1 - epsilon). It is the most for losses of 0 and 1, and most losses are."""

AIM = 0.02
"""Stakes are best for a test at this level; from 0.1 to 0.0001 they are nearly so."""

BOLDEST = 0.98
"""Of the largest stake that cannot lose all: one loss of 1 must not end everything."""


def in_steps(losses: Any) -> IntArray:
    """Return losses in thousandths, rounded up.

    Args:
        losses: Numbers from 0 to 1, any shape.

    Raises:
        ValueError: One is no number from 0 to 1.
        TypeError: They are booleans, which could as well say what agrees.

    Examples:
        >>> in_steps([0, 0.5, 1 / 3, 1]).tolist()
        [0, 500, 334, 1000]
    """
    if np.asarray(losses).dtype == np.bool_:
        raise TypeError("losses must be numbers from 0 to 1, were booleans")
    values = np.asarray(losses, np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        wrong = values[~((values >= 0) & (values <= 1))].flat[0]
        raise ValueError(f"a loss must be a number from 0 to 1, was {wrong:g}")
    # Half an ulp must not make two thousandths of one: 0.1 + 0.2 is 0.3 and a little.
    return np.ceil(values * STEPS - 1e-9).astype(np.int64)


def one_look_p_value(counts: IntArray | FloatArray, epsilon: float) -> FloatArray:
    """Return a p-value of "the mean loss is at least epsilon", for losses looked at once.

    The bettor has five stakes, near the best ones for this number of answers and for losses that
    vary as those of 0 and 1 do, or less. The number of answers must not depend on their losses.

    Args:
        counts: How many answers had a loss of 0, 1, ..., 1000 thousandths, shape (..., 1001);
            fractions where they were divided by a design effect.
        epsilon: The limit, in (0, 1).

    Examples:
        >>> counts = np.zeros(1001, np.int64)
        >>> counts[[0, 500]] = 190, 10
        >>> float(one_look_p_value(counts, 0.05).round(4))
        0.0392
        >>> float(one_look_p_value(counts * 0, 0.05))
        1.0
    """
    times = np.asarray(counts, np.float64)
    stakes = _best_stakes(times.sum(-1), epsilon)
    # A sum over the few losses that occur at all, shape (..., stakes).
    log_wealth = np.zeros(stakes.shape)
    for step in np.flatnonzero(times.reshape(-1, STEPS + 1).any(0)):
        log_wealth += times[..., step, None] * np.log1p(stakes * (epsilon - step / STEPS))
    return _one_over(log_wealth, np.array(SHARES))


def one_look_binary_p_value(
    disagreements: Any, answered: Any, epsilon: float, size: float = 1.0
) -> FloatArray:
    """Return `one_look_p_value` where all losses were 0 or ``size``, from counts of any shape.

    To predict by; with losses that can only be 0 or 1, `openwheel.gate.binomial_p_value` is
    sharper.

    Examples:
        >>> float(one_look_binary_p_value(2, 200, 0.05).round(4))
        0.0128
    """
    k, n = np.broadcast_arrays(np.asarray(disagreements, float), np.asarray(answered, float))
    stakes = _best_stakes(n, epsilon)
    right, wrong = np.log1p(stakes * epsilon), np.log1p(stakes * (epsilon - size))
    return _one_over((n - k)[..., None] * right + k[..., None] * wrong, np.array(SHARES))


def _best_stakes(answered: npt.NDArray[Any], epsilon: float) -> FloatArray:
    """Return the stakes for one look at this many answers, shape (..., 5)."""
    spread = np.sqrt(epsilon * (1 - epsilon) * np.array(SPREADS))
    best = np.sqrt(2 * np.log(1 / AIM) / np.maximum(answered, 1))[..., None] / spread
    return np.asarray(np.minimum(best, BOLDEST / (1 - epsilon)))


def bounded_anytime_p_value(
    counts: IntArray | FloatArray, epsilon: float, rate: Any = 0.0
) -> FloatArray:
    """Return a p-value of "the mean loss is at least epsilon", to be looked at after every answer.

    The wealth is spread evenly over all stakes from 0 to 1 / (1 - epsilon). For losses of 0 and 1
    that is betting on all rates below epsilon: the same as `openwheel.gate.anytime_p_value`. By
    Ville's inequality the chance that it ever falls to ``alpha`` is at most ``alpha``.

    Args:
        counts: How many answers had a loss of 0, 1, ..., 1000 thousandths, shape (..., 1001).
        epsilon: The limit, in (0, 1).
        rate: A mean that was expected, as `openwheel.gate.anytime_p_value` has it, shape (...).

    Examples:
        >>> counts = np.zeros(1001, np.int64)
        >>> counts[0] = 200
        >>> float(bounded_anytime_p_value(counts, 0.05).round(5))
        0.00035
        >>> float(bounded_anytime_p_value(counts * 0, 0.05))
        1.0
    """
    times = np.asarray(counts, np.float64)
    steps = np.flatnonzero(times.reshape(-1, STEPS + 1).any(0))
    return _anytime(times[..., steps], epsilon - steps / STEPS, epsilon, rate)


def weighed_anytime_p_value(
    counts: IntArray | FloatArray,
    weights: FloatArray,
    steps: IntArray,
    epsilon: float,
    rate: Any = 0.0,
) -> FloatArray:
    """Return a p-value of "the mean loss is at least epsilon" from answers that weigh unlike.

    The stake on an answer is multiplied by its weight. Where each request is expected to weigh the
    same, given all before it, whether it is seen for certain at a small weight or seldom at a
    large one, the wealth is a supermartingale as that of `bounded_anytime_p_value` is, and with
    all weights 1 it is the same.

    Args:
        counts: How many answers had each weight and loss, shape (..., k).
        weights: From 0 to 1, shape (k,).
        steps: Losses in thousandths, shape (k,).
        epsilon: The limit, in (0, 1).
        rate: As `bounded_anytime_p_value` has it, shape (...).

    Examples:
        >>> weights, steps = np.array([1.0, 0.1]), np.array([0, 0])
        >>> float(weighed_anytime_p_value([200, 0], weights, steps, 0.05).round(5))
        0.00035
        >>> float(weighed_anytime_p_value([100, 1_000], weights, steps, 0.05).round(5))
        0.00032
    """
    gains = np.asarray(weights) * (epsilon - np.asarray(steps) / STEPS)
    return _anytime(np.asarray(counts, np.float64), gains, epsilon, rate)


def _anytime(times: FloatArray, gains: FloatArray, epsilon: float, rate: Any) -> FloatArray:
    """Return one over the wealth after gains that came so often, shapes (k,) and (..., k)."""
    rate = np.asarray(rate, np.float64)
    nodes, shares = _even_stakes()
    stakes = nodes / (1 - epsilon)
    log_wealth = times @ np.log1p(stakes * gains[:, None])
    if not rate.any():
        return _one_over(log_wealth, shares)
    # What is bet on one rate stakes the same at every answer, as for losses of 0 and 1.
    stake = np.where((rate > 0) & (rate < epsilon), (1 - rate / epsilon) / (1 - epsilon), 0.0)
    expected = (times * np.log1p(stake[..., None] * gains)).sum(-1)
    both = np.concatenate((log_wealth, expected[..., None]), axis=-1)
    return np.where(
        rate > 0, _one_over(both, np.append(shares / 2, 0.5)), _one_over(log_wealth, shares)
    )


def mean_bound(
    p_value: Callable[[IntArray | FloatArray, float], FloatArray],
    counts: IntArray | FloatArray,
    alpha: float,
) -> float:
    """Return the smallest limit that ``p_value`` rejects at ``alpha``: an upper bound of the mean.

    Both p-values fall as the limit rises, so halving finds it, to the last bit.

    Args:
        p_value: `one_look_p_value` or `bounded_anytime_p_value`.
        counts: As those take them, shape (1001,).
        alpha: The chance to be wrong that is allowed.

    Examples:
        >>> counts = np.zeros(1001, np.int64)
        >>> mean_bound(one_look_p_value, counts, 0.05)
        1.0
        >>> counts[[0, 500]] = 196, 4
        >>> round(mean_bound(one_look_p_value, counts, 0.05), 4)
        0.0286
    """
    answered = float(counts.sum())
    low = float(counts @ np.arange(STEPS + 1)) / STEPS / answered if answered else 1.0
    return smallest_limit(lambda limit: p_value(counts, limit), low, alpha)


def mean_interval(losses: Any, level: float = 0.95) -> tuple[float, float]:
    """Return an interval of the mean of losses from 0 to 1 that were looked at once.

    Each end has half of what may be wrong: the upper one is `mean_bound` by `one_look_p_value`, the
    lower one the same of what was not lost.

    Args:
        losses: Shape (n,); with none the interval is all there can be.
        level: The chance that it holds the mean.

    Examples:
        >>> [round(end, 3) for end in mean_interval([0.0] * 180 + [0.5] * 20)]
        [0.025, 0.085]
    """
    alpha, values = (1 - level) / 2, np.asarray(losses, np.float64)
    lost, kept = (np.bincount(in_steps(v), minlength=STEPS + 1) for v in (values, 1 - values))
    return 1 - mean_bound(one_look_p_value, kept, alpha), mean_bound(one_look_p_value, lost, alpha)


def smallest_limit(p_value: Callable[[float], Any], low: float, alpha: float) -> float:
    """Return the smallest limit from ``low`` to 1 that a p-value that falls with it rejects."""
    high = 1.0
    while low < (middle := (low + high) / 2) < high:
        if p_value(middle) <= alpha:
            high = middle
        else:
            low = middle
    return high


def as_counts(answered: int, disagreements: int, partial: Iterable[tuple[int, int]]) -> IntArray:
    """Return counts of losses, shape (1001,), as a certificate keeps them.

    Args:
        answered: All answers.
        disagreements: Those with any loss.
        partial: How many had which loss strictly between 0 and 1000 thousandths; other
            disagreements lost all.
    """
    counts = np.zeros(STEPS + 1, np.int64)
    for step, count in partial:
        counts[step] += count
    counts[STEPS] = disagreements - counts.sum()
    counts[0] = answered - disagreements
    return counts


@lru_cache(maxsize=1)
def _even_stakes() -> tuple[FloatArray, FloatArray]:
    """Return nodes in (0, 1) and their shares of it, by Gauss and Legendre.

    Cached since finding them takes 30 ms.
    """
    nodes, shares = scipy.special.roots_legendre(NODES)
    return (nodes + 1) / 2, shares / 2


def _one_over(log_wealth: FloatArray, shares: FloatArray) -> FloatArray:
    """Return one over the wealth that is shared among the stakes of the last axis, at most 1."""
    most = log_wealth.max(-1)
    wealth = most + np.log(np.exp(log_wealth - most[..., None]) @ shares)
    return np.asarray(np.exp(-np.maximum(wealth, 0.0)))
