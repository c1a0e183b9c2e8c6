"""A confidence sequence for the live rate of disagreement."""

import math
from typing import Any, Self

import msgspec
import numpy as np
import numpy.typing as npt
import scipy

from openwheel.gate.monitors.monitor import Counts, audited, require_share

FloatArray = npt.NDArray[np.float64]

EXPONENTS = 6.0 * 2.0 ** (-np.arange(23) / 2)
"""What is bet with on a log scale, from 6 to 0.003: the best for from one to some 10 million
answers at a rate of 5%."""

BELOW_ONE = EXPONENTS / (1 + EXPONENTS)
"""The same for the empirical Bernstein bound, which takes exponents below 1."""

COST = -np.log1p(-BELOW_ONE) - BELOW_ONE

OF_WEIGHTS = 0.1
"""With weights: share of the error that the sum of the weights may take."""


class ConfidenceSequence(msgspec.Struct, frozen=True, tag="confidence sequence"):
    """An interval for the rate of disagreement that may be looked at at any time.

    Half of a bettor's wealth bets as if losses were 0 or 1, by Bernoulli's moment generating
    function, which is sharp for those; half bets by the empirical Bernstein bound, which is sharp
    for losses that vary less. Either spreads it over 23 exponents. Each end is where a bet that the
    rate lies beyond has won ``2 / (1 - level)``. The width is the losses' own standard deviation
    times ``sqrt(log log n / n)`` times a constant, up to some ten million answers.

    **Promise.** With probability ``level`` it covers, at all times at once, the mean over all
    audited answers so far of their mean loss given the past. That is a moving target if the rate
    moves, and covered all the same. Where the audit probability followed the past, an hour with
    more audits weighs more. With ``weighted`` the target is the mean over all answered requests,
    each weighing its floor: the plain mean, if the floor never changed. It costs some width, since
    how many requests those audits stand for must be estimated as well; the rate is best known near
    epsilon then.

    **Alarm.** When the interval has ever been above epsilon: wrong with probability
    ``1 - level``, ever, if the mean so far is always at most epsilon. :class:`EProcess` is quicker.

    Args:
        epsilon: The most disagreement allowed, in (0, 1).
        level: Of confidence, in (0, 1).
        weighted: Whether there are floors. Without, an answer must weigh 1.

    Examples:
        >>> monitor = ConfidenceSequence(0.05).update([1.0, *[0.0] * 49] * 20)
        >>> [round(end, 4) for end in monitor.interval]
        [0.0077, 0.039]
        >>> ConfidenceSequence(0.05).interval
        (0.0, 1.0)

    Source: Howard, Ramdas, McAuliffe and Sekhon, 2021, "Time-uniform, nonparametric, nonasymptotic
    confidence sequences", Annals of Statistics 49 (theorem 4, with a discrete mixture); weights:
    Waudby-Smith, Wu, Ramdas, Karampatziakis and Mineiro, 2024, "Anytime-valid off-policy inference
    for contextual bandits". That Bernoulli's bound covers a moving mean: ``log(1 + m (e^s - 1))``
    is concave in m.
    """

    epsilon: float
    level: float = 0.95
    weighted: bool = False
    spread: float = 0.0
    weight_spread: float = 0.0
    seen: Counts = Counts()
    alarmed_at: int | None = None

    def __post_init__(self) -> None:
        require_share("epsilon", self.epsilon)
        require_share("level", self.level)

    @property
    def alarm(self) -> bool:
        """Whether the interval was ever above epsilon."""
        return self.alarmed_at is not None

    @property
    def evidence(self) -> float:
        """The logarithm of what has been won against epsilon by betting that the rate is above."""
        return self._log_won(self.epsilon, up=True)

    @property
    def limit(self) -> float:
        """``log(2 / (1 - level))``, since half of the error is for the other end."""
        alpha = (1 - self.level) * (1 - OF_WEIGHTS if self.weighted else 1)
        return math.log(2 / alpha)

    @property
    def interval(self) -> tuple[float, float]:
        """Both ends; (0, 1) with nothing audited."""
        if not self.seen.answers:
            return 0.0, 1.0
        if self.weighted:
            return self._weighted_interval()
        mean = min(max(self.seen.loss / self.seen.answers, 0.0), 1.0)
        return self._end(mean, 0.0), self._end(mean, 1.0)

    def update(self, losses: Any, probabilities: Any = 1.0, floors: Any = None) -> Self:
        """Return the confidence sequence after more audited answers: see :meth:`Monitor.update`.

        Raises:
            ValueError: A number is out of its range, or there are weights and none were expected.
        """
        audits = audited(losses, probabilities, floors)
        if not self.weighted and (audits.weights != 1).any():
            raise ValueError(
                "floors must be left out unless the confidence sequence is weighted, gave a weight "
                f"of {audits.weights[audits.weights != 1][0]:g}"
            )
        updated = self
        for loss, weight in zip(*audits, strict=True):
            updated = updated._with(float(loss), float(weight))
        return updated

    def _with(self, loss: float, weight: float) -> Self:
        seen = self.seen
        # With weights a prediction must be the same for every request, audited or not.
        expected = self.epsilon if self.weighted else (seen.loss + 0.5) / (seen.answers + 1)
        updated = msgspec.structs.replace(
            self,
            spread=self.spread + (weight * (loss - expected)) ** 2,
            weight_spread=self.weight_spread + weight**2,
            seen=seen.plus(loss, weight),
        )
        # No bet that the rate is above has won anything while it is not seen to be.
        if updated.alarm or updated.seen.weighted_loss <= self.epsilon * updated.seen.weight:
            return updated
        if updated.evidence >= updated.limit:
            return msgspec.structs.replace(updated, alarmed_at=updated.seen.answers)
        return updated

    def _log_won(self, rate: float, *, up: bool) -> float:
        """Return the logarithm of what was won by betting that the mean is beyond a rate."""
        n, total, sign = self.seen.answers, self.seen.loss, 1.0 if up else -1.0
        if self.weighted:
            excess = self.seen.weighted_loss - rate * self.seen.weight
            return _log_mean(sign * BELOW_ONE * excess - COST * self.spread)
        bernoulli = sign * EXPONENTS * total - n * np.log1p(rate * np.expm1(sign * EXPONENTS))
        bernstein = sign * BELOW_ONE * (total - n * rate) - COST * self.spread
        return _log_mean(np.concatenate((bernoulli, bernstein)))

    def _end(self, mean: float, far: float) -> float:
        """Return the end of the interval between the mean and 0 or 1, without weights."""
        if self._log_won(far, up=far < mean) < self.limit:
            return far

        def short(rate: float) -> float:
            return self._log_won(rate, up=far < mean) - self.limit

        return float(scipy.optimize.brentq(short, far, mean, xtol=1e-9))

    def _weighted_interval(self) -> tuple[float, float]:
        """Return the interval of epsilon plus D / T, from intervals of each.

        T is the sum of the floors of all answered requests, D that of floor times (mean loss less
        epsilon). Both are sums of what the audits are expected to show.
        """
        seen, alpha = self.seen, 1 - self.level
        excess = seen.weighted_loss - self.epsilon * seen.weight
        reach = _reach(self.spread, self.limit)
        around = _reach(self.weight_spread, math.log(2 / (OF_WEIGHTS * alpha)))
        fewest, most = seen.weight - around, seen.weight + around
        if fewest <= 0:
            return 0.0, 1.0
        low, high = excess - reach, excess + reach
        return (
            max(self.epsilon + low / (most if low > 0 else fewest), 0.0),
            min(self.epsilon + high / (fewest if high > 0 else most), 1.0),
        )


def _reach(spread: float, limit: float) -> float:
    """Return how far a sum is from what was expected where a bet on that has won the limit."""

    def short(distance: float) -> float:
        return _log_mean(BELOW_ONE * distance - COST * spread) - limit

    # A single exponent, with its share of the wealth, wins less than all.
    far = float(np.min((limit + np.log(len(COST)) + COST * spread) / BELOW_ONE))
    return float(scipy.optimize.brentq(short, 0.0, far + 1e-9, xtol=1e-9))


def _log_mean(logs: FloatArray) -> float:
    """Return the logarithm of the mean of exponentials."""
    most = float(logs.max())
    return most + math.log(float(np.exp(logs - most).mean()))
