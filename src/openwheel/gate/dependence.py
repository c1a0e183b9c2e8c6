"""The design effect: how much less evidence exchanges are when their losses come in bursts.

Requests on one matter (an incident, a customer's day) agree or disagree together. A count of such
exchanges varies more than a binomial; the design effect is by what factor, and ``n`` exchanges are
worth ``n / effect`` independent ones.

Source: Kish, 1965, "Survey sampling"; Meketon and Schmeiser, 1984, "Overlapping batch means";
Politis and Romano, 1995, "Bias-corrected nonparametric spectral estimation" (flat-top windows).
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

SPANS = (5, 10, 20, 40, 80, 160)
"""Lengths over which sums of losses are looked at, each twice the one before: bursts may be short,
long, or interleaved with other traffic."""

PARTS = 2
"""Losses are compared with the mean of their own half: a slow change is no burst."""

FEWEST_SPANS = 4
"""A span is looked at if this many of them fit into a part."""

FEWEST_LOSSES = 3
"""Fewer answers with a loss say nothing of how losses come."""

CHANCE, SURE = 0.03, 0.01
"""Shuffled losses that show as much in more than the first share of cases say that it is chance,
which costs nothing; at the second share and below, the estimate counts in full."""

SHUFFLES, AT_ONCE = 199, 20
"""Shuffles are made in parts, and no more once chance is a good enough explanation."""

LATEST = 5_000
"""The latest losses are looked at: more change little, and cost time."""


def design_effect(losses: FloatArray) -> float:
    """Estimate the design effect of answers in order of arrival, at least 1.

    Sums of losses over spans of several lengths are compared with what sums of independent losses
    of the same mean would vary. The largest ratio is taken, corrected for bursts that a span cuts
    in two, and raised by its standard error, since a few bursts are all that it rests on. Where
    shuffled losses show nearly as much, it counts in part or not at all: chance must not cost
    evidence where there are no bursts.

    Args:
        losses: Of answered exchanges in order of arrival, from 0 to 1, shape (n,).

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> design_effect((rng.random(2_000) < 0.05).astype(float))
        1.0
        >>> bursts = np.repeat(rng.random(100) < 0.05, 20).astype(float)
        >>> 20 <= design_effect(bursts) <= 80
        True
    """
    losses = np.asarray(losses, np.float64)[-LATEST:]
    n = len(losses)
    spans = [span for span in SPANS if FEWEST_SPANS * PARTS * span <= n]
    if len(spans) < 2 or np.count_nonzero(losses) < FEWEST_LOSSES:
        return 1.0
    parts = np.array_split(losses, PARTS)
    residuals = np.concatenate([part - part.mean() for part in parts])
    if not residuals.any():
        return 1.0
    seen = _ratios(residuals[None], spans)[0]
    # Twice the ratio of a span less that of half of it: what the shorter one cuts off.
    effect = max(float(seen.max()), float((2 * seen[1:] - seen[:-1]).max()))
    counted = np.clip((CHANCE - _chance(residuals, seen, spans)) / (CHANCE - SURE), 0.0, 1.0)
    if effect <= 1 or not counted:
        return 1.0
    bursts = max(np.count_nonzero(losses) / effect, 1.0)
    return float(min(1 + (effect * (1 + 1 / np.sqrt(bursts)) - 1) * counted, n))


def effect_at(confidence: FloatArray, losses: FloatArray, thresholds: Iterable[float]) -> float:
    """Return the largest design effect of what is answered at some thresholds, at least 1.

    Args:
        confidence: In order of arrival, shape (n,).
        losses: From 0 to 1, shape (n,).
        thresholds: An exchange is answered where its confidence is at least the threshold.
    """
    effects = [design_effect(losses[confidence >= threshold]) for threshold in set(thresholds)]
    return max(effects, default=1.0)


def _chance(residuals: FloatArray, seen: FloatArray, spans: list[int]) -> float:
    """Return in what share of shuffles the ratios are as large; about, where that is large.

    Source: Besag and Clifford, 1991, "Sequential Monte Carlo p-values".
    """
    rng = np.random.default_rng(0)
    permuted = np.empty((0, len(spans)))
    while len(permuted) < SHUFFLES:
        rows = np.tile(residuals, (min(AT_ONCE, SHUFFLES - len(permuted)), 1))
        permuted = np.concatenate((permuted, _ratios(rng.permuted(rows, axis=1), spans)))
        mean, spread = permuted.mean(0), permuted.std(0) + 1e-12
        strength = ((permuted - mean) / spread).max(1)
        as_large = np.count_nonzero(strength >= ((seen - mean) / spread).max())
        if as_large > 2 * CHANCE * SHUFFLES or as_large > AT_ONCE // 4:
            break
    return (1 + as_large) / (1 + len(permuted))


def _ratios(residuals: FloatArray, spans: list[int]) -> FloatArray:
    """Return the variance of sums over each span, as a multiple of that of independent losses.

    Args:
        residuals: Rows of losses less their mean, shape (rows, n).
        spans: Lengths of the sums.

    Returns:
        Shape (rows, spans).
    """
    total = np.concatenate((np.zeros((len(residuals), 1)), residuals.cumsum(1)), axis=1)
    n = residuals.shape[1]
    variance = residuals.var()
    ratios = []
    for span in spans:
        sums = total[:, span:] - total[:, :-span]
        # The means were taken from the same losses, which makes sums vary less.
        ratios.append((sums**2).mean(1) / (span * variance * (1 - PARTS * span / n)))
    return np.stack(ratios, axis=1)
