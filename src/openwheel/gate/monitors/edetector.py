"""A change-detecting e-detector: how soon a jump is noticed does not depend on the past."""

import math
from typing import Any, Self

import msgspec
import numpy as np

from openwheel.gate.monitors.bets import ROUNDING, FloatArray, alternatives, bet
from openwheel.gate.monitors.monitor import Counts, audited, require_share


class EDetector(msgspec.Struct, frozen=True, tag="e-detector"):
    """Alarm soon after the mean loss jumps above epsilon, after however long a good time.

    A new bettor with a wealth of 1 starts before every audited answer and bets as in
    :class:`EProcess`; the detector is what all bettors own together, after Shiryaev and Roberts.
    The alarm is when that reaches ``average_run_length``. As all bettors on an alternative place
    the same bet, one number for each of the 20 alternatives says it all, exactly: nothing need be
    forgotten.

    **Promise.** As long as every audited answer has a mean loss of at most epsilon given the past,
    the mean number of audited answers until a false alarm is at least ``average_run_length``, and
    the chance of one within the first n is at most ``n / average_run_length``. In the long run
    there will be one: that is the price of being quick. With ``floors`` the same holds of the mean
    over all answered requests.

    Args:
        epsilon: The most disagreement allowed, in (0, 1).
        average_run_length: In audited answers, above 1.

    Examples:
        >>> monitor = EDetector(0.05, 1_000_000).update([0.0] * 5_000)
        >>> monitor.alarm, round(monitor.evidence, 3)
        (False, 2.975)
        >>> monitor = monitor.update([1.0, 0.0] * 50, probabilities=0.05)
        >>> monitor.alarmed_at
        5017

    Source: Shin, Ramdas and Rinaldo, 2023, "E-detectors: a nonparametric framework for sequential
    change detection", New England Journal of Statistics in Data Science 2, definition 2.2 and
    proposition 2.4, with Shiryaev and Roberts' sum. The bound within n: the wealth less n is a
    supermartingale, stopped at n.
    """

    epsilon: float
    average_run_length: float
    wealth: tuple[float, ...] = ()
    seen: Counts = Counts()
    alarmed_at: int | None = None

    def __post_init__(self) -> None:
        require_share("epsilon", self.epsilon)
        if not 1 < self.average_run_length < math.inf:
            raise ValueError(
                f"average_run_length must be a number above 1, was {self.average_run_length:g}"
            )

    @property
    def alarm(self) -> bool:
        """Whether the wealth ever reached ``average_run_length``."""
        return self.alarmed_at is not None

    @property
    def evidence(self) -> float:
        """The logarithm of the wealth, at least 0; that of the limit after an alarm."""
        return self.limit if self.alarm else math.log(max(sum(self.wealth), 1.0))

    @property
    def limit(self) -> float:
        """``log(average_run_length)``."""
        return math.log(self.average_run_length)

    def update(self, losses: Any, probabilities: Any = 1.0, floors: Any = None) -> Self:
        """Return the detector after more audited answers: see :meth:`Monitor.update`."""
        audits = audited(losses, probabilities, floors)
        if not len(audits.losses):
            return self
        wealth = np.array(self.wealth) if self.wealth else at_start(self.epsilon)
        seen, alarmed_at = self.seen, self.alarmed_at
        for loss, weight in zip(*audits, strict=True):
            if alarmed_at is None:
                wealth, total = step(
                    wealth, loss, weight, epsilon=self.epsilon, limit=self.average_run_length
                )
                if total >= (1 - ROUNDING) * self.average_run_length:
                    alarmed_at = seen.answers + 1
            seen = seen.plus(float(loss), float(weight))
        return msgspec.structs.replace(
            self, wealth=tuple(wealth.tolist()), seen=seen, alarmed_at=alarmed_at
        )


def at_start(epsilon: float) -> FloatArray:
    """Return the wealth on each alternative before the first answer: none."""
    return np.zeros_like(alternatives(epsilon)[1])


def step(
    wealth: FloatArray, loss: Any, weight: Any, *, epsilon: float, limit: float
) -> tuple[FloatArray, FloatArray]:
    """Return the wealth on each alternative and in all after one more answer.

    For many streams at once: wealth of shape (..., 20), losses and weights of shape (...).
    """
    moved = bet(wealth + alternatives(epsilon)[1], loss, weight, epsilon=epsilon, limit=limit)
    return moved, np.asarray(moved.sum(-1))
