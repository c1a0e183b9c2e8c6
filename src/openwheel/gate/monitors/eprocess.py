"""A betting e-process for "the mean loss is at most epsilon"."""

import math
from typing import Any, Self

import msgspec
import numpy as np

from openwheel.gate.monitors.bets import ROUNDING, FloatArray, alternatives, bet
from openwheel.gate.monitors.monitor import Counts, audited, require_share

LATER = 0.02
"""Share of the wealth that is kept to start betting again, a little after every answer."""


class EProcess(msgspec.Struct, frozen=True, tag="e-process", kw_only=False):
    """Alarm when disagreement is evidently above epsilon; wrong with probability delta, ever.

    A bettor starts with a wealth of 1 and bets on every audited answer that it disagrees, on 20
    alternatives to epsilon at once (:func:`openwheel.gate.monitors.bets.alternatives`). Where each
    answer has a mean loss of at most epsilon given those before, no bet is better than fair, and
    the wealth is a supermartingale. The alarm is at ``1 / delta``. No bet aims beyond that, which
    saves what a likelihood ratio overshoots. A fiftieth of the wealth starts betting later, a
    little after every answer, so that long good behaviour never makes it blind; how soon it then
    sees is the business of :class:`EDetector`.

    **Promise.** If every audited answer has a mean loss of at most epsilon given the past, the
    chance that there is ever an alarm is at most delta (Ville's inequality), however often one
    looks, and however audit probabilities follow the past. With ``floors`` the same holds if the
    mean over all answered requests at each time is at most epsilon given the past.

    Losses may be any numbers in [0, 1]; for 0 and 1 its bets are likelihood ratios, and it needs
    little more than ``log(1 / delta) / KL(q, epsilon)`` answers for a jump to q
    (docs/audit.md has the figures).

    Args:
        epsilon: The most disagreement allowed, in (0, 1).
        delta: The chance of a false alarm, in (0, 1).

    Examples:
        >>> monitor = EProcess(0.05, 0.05).update([0.0] * 30)
        >>> monitor.alarm, round(monitor.evidence, 3)
        (False, -1.714)
        >>> monitor = monitor.update([1.0, 0.0] * 8, probabilities=0.05)
        >>> monitor.alarm, monitor.alarmed_at, round(monitor.evidence, 3)
        (True, 43, 2.996)

    Source: Shekhar and Ramdas; Waudby-Smith and Ramdas, 2024, "Estimating means of bounded random
    variables by betting", JRSS B 86; Ville, 1939. The prior is ours, chosen by the argument in
    ``bets.py``; its constants were set on Bernoulli worlds at epsilon 5%, none on the streams of
    ``benchmarks/audit.py``.
    """

    epsilon: float
    delta: float
    wealth: tuple[float, ...] = ()
    seen: Counts = Counts()
    alarmed_at: int | None = None

    def __post_init__(self) -> None:
        require_share("epsilon", self.epsilon)
        require_share("delta", self.delta)

    @property
    def alarm(self) -> bool:
        """Whether the wealth ever reached ``1 / delta``."""
        return self.alarmed_at is not None

    @property
    def evidence(self) -> float:
        """The logarithm of the wealth; that of the limit after an alarm."""
        if self.alarm:
            return self.limit
        return math.log(sum(self.wealth or (1 - LATER,)) + reserve(self.seen.answers))

    @property
    def limit(self) -> float:
        """``log(1 / delta)``."""
        return math.log(1 / self.delta)

    def update(self, losses: Any, probabilities: Any = 1.0, floors: Any = None) -> Self:
        """Return the e-process after more audited answers: see :meth:`Monitor.update`."""
        audits = audited(losses, probabilities, floors)
        if not len(audits.losses):
            return self
        wealth = np.array(self.wealth) if self.wealth else at_start(self.epsilon)
        seen, alarmed_at = self.seen, self.alarmed_at
        for loss, weight in zip(*audits, strict=True):
            if alarmed_at is None:
                wealth, total = step(
                    wealth, seen.answers, loss, weight, epsilon=self.epsilon, delta=self.delta
                )
                if total >= (1 - ROUNDING) / self.delta:
                    alarmed_at = seen.answers + 1
            seen = seen.plus(float(loss), float(weight))
        return msgspec.structs.replace(
            self, wealth=tuple(wealth.tolist()), seen=seen, alarmed_at=alarmed_at
        )


def at_start(epsilon: float) -> FloatArray:
    """Return the wealth on each alternative before the first answer."""
    return np.asarray((1 - LATER) * alternatives(epsilon)[1])


def reserve(answers: int) -> float:
    """Return the wealth that has not started to bet; it falls like one over a logarithm."""
    return LATER / math.log(math.e + answers)


def step(
    wealth: FloatArray, answers: int, loss: Any, weight: Any, *, epsilon: float, delta: float
) -> tuple[FloatArray, FloatArray]:
    """Return the wealth on each alternative and in all after one more answer.

    For many streams at once: wealth of shape (..., 20), losses and weights of shape (...).
    ``answers``: how many there were before.
    """
    reserved = reserve(answers + 1)
    started = wealth + (reserve(answers) - reserved) * alternatives(epsilon)[1]
    moved = bet(started, loss, weight, epsilon=epsilon, limit=1 / delta - reserved)
    return moved, np.asarray(moved.sum(-1) + reserved)
