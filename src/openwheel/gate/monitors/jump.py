"""Whether a rate that is nobody's limit has changed: the teacher's disagreement with itself."""

import math
from typing import Any, Self

import msgspec
import scipy

from openwheel.gate.monitors.bets import FloatArray
from openwheel.gate.monitors.edetector import EDetector
from openwheel.gate.monitors.monitor import Counts, audited, require_share

NARROWEST = 0.005
"""Within so much of 0 or 1 there is nothing to fall or to rise from."""


RARE = 0.01
"""A rise alone is looked for above this at least: of what is rarer, one loss would be a rise."""


class JumpDetector(msgspec.Struct, frozen=True, tag="jump detector"):
    """Alarm when a mean loss leaves the range that a first batch of losses shows it to be in.

    For a teacher asked twice: the loss is how far its two answers are apart. No limit is known
    beforehand, so the first ``baseline`` losses give an interval of their mean (Chernoff's, which
    holds for any losses in [0, 1]), and after them one :class:`EDetector` looks for a mean above
    its upper end and another for one below its lower end. What is not known of the baseline thus
    makes it slower, not wrong. A jump to within that interval is not noticed.

    It takes no floors: which requests are asked twice must be decided by the past and a coin.

    **Promise.** Unless the interval missed (probability ``doubt``), and as long as the mean given
    the past stays within it, the mean number of losses after the baseline until a false alarm is
    at least ``average_run_length``, and the chance of one within the first n of them at most
    ``n / average_run_length``.

    Args:
        average_run_length: In losses, above 1.
        baseline: How many losses it learns from, at least 1.
        doubt: The chance that the interval misses, in (0, 1).
        rises: Whether to look for a mean above the range alone, and to learn the range again, from
            all losses so far, whenever there are twice as many: the longer it was quiet, the
            smaller a rise is noticed. Each interval may then miss with probability ``doubt``.

    Examples:
        >>> monitor = JumpDetector(100_000).update([1.0, *[0.0] * 49] * 4)
        >>> [round(end, 3) for end in monitor.range]
        [0.0, 0.07]
        >>> monitor.update([1.0, 0.0, 0.0, 0.0] * 50).alarmed_at
        273

    Source: Chernoff, 1952, with Hoeffding, 1963, for losses between 0 and 1; Shin, Ramdas and
    Rinaldo, 2023, for the detectors. The plan is ours.
    """

    average_run_length: float
    baseline: int = 200
    doubt: float = 0.01
    rises: bool = False
    above: EDetector | None = None
    below: EDetector | None = None
    seen: Counts = Counts()
    alarmed_at: int | None = None

    def __post_init__(self) -> None:
        require_share("doubt", self.doubt)
        if self.baseline < 1:
            raise ValueError(f"baseline must be at least 1 loss, was {self.baseline}")
        if not 1 < self.average_run_length < math.inf:
            raise ValueError(
                f"average_run_length must be a number above 1, was {self.average_run_length:g}"
            )

    @property
    def alarm(self) -> bool:
        """Whether the mean ever evidently left its range."""
        return self.alarmed_at is not None

    @property
    def range(self) -> tuple[float, float]:
        """Where the mean was by what the baseline shows; (0, 1) while that is not complete.

        An end within 0.005 of 0 or 1 is given as 0 or 1: nothing is looked for beyond it.
        """
        high = self.above.epsilon if self.above else 1.0
        return 1 - self.below.epsilon if self.below else 0.0, high

    @property
    def evidence(self) -> float:
        """The logarithm of the larger of both detectors' wealth, at least 0."""
        return max((part.evidence for part in (self.above, self.below) if part), default=0.0)

    @property
    def limit(self) -> float:
        """The logarithm of ``average_run_length``, with two detectors of twice that."""
        return math.log(self._each)

    def update(self, losses: Any, probabilities: Any = 1.0, floors: Any = None) -> Self:
        """Return the detector after more losses: see :meth:`Monitor.update`.

        Raises:
            ValueError: A number is out of its range, or there are floors.
        """
        audits = audited(losses, probabilities, floors)
        if (audits.weights != 1).any():
            raise ValueError("floors must be left out: a jump detector takes no weights")
        detector, losses = self, audits.losses
        while len(losses):
            learned_at = detector._learned_at()
            now = losses if learned_at is None else losses[: learned_at - detector.seen.answers]
            detector, losses = detector._watch(now), losses[len(now) :]
            if detector.seen.answers == learned_at:
                detector = detector._learn()
        return detector

    @property
    def _each(self) -> float:
        return (1 if self.rises else 2) * self.average_run_length

    def _learned_at(self) -> int | None:
        """Return at how many losses the range is learned next, None if never again."""
        seen = self.seen.answers
        if seen < self.baseline:
            return self.baseline
        if not self.rises or self.alarm:
            return None
        return self.baseline << (seen // self.baseline).bit_length()

    def _learn(self) -> Self:
        low, high = chernoff(self.seen.loss, self.seen.answers, self.doubt)
        high = max(high, RARE) if self.rises else high
        above = EDetector(high, self._each) if high < 1 - NARROWEST else None
        below = EDetector(1 - low, self._each) if low > NARROWEST and not self.rises else None
        return msgspec.structs.replace(self, above=above, below=below)

    def _watch(self, losses: FloatArray) -> Self:
        above = self.above and self.above.update(losses)
        below = self.below and self.below.update(1 - losses)
        alarms = [part.alarmed_at for part in (above, below) if part and part.alarmed_at]
        alarmed_at = self.alarmed_at
        if alarmed_at is None and alarms:
            part = self.above or self.below
            assert part is not None
            alarmed_at = self.seen.answers - part.seen.answers + min(alarms)
        return msgspec.structs.replace(
            self, above=above, below=below, seen=_plus(self.seen, losses), alarmed_at=alarmed_at
        )


def chernoff(total: float, answers: int, alpha: float) -> tuple[float, float]:
    """Return an interval of the mean of losses in [0, 1], looked at once.

    Every mean m with ``answers * KL(observed, m) <= log(2 / alpha)``.

    Examples:
        >>> [round(end, 4) for end in chernoff(4, 200, 0.01)]
        [0.0022, 0.0703]
    """
    observed, most = min(total / answers, 1.0), math.log(2 / alpha) / answers

    def excess(mean: float) -> float:
        same, other = (
            scipy.special.xlogy(observed, mean),
            scipy.special.xlog1py(1 - observed, -mean),
        )
        return float(
            -scipy.special.entr(observed) - scipy.special.entr(1 - observed) - same - other - most
        )

    low, high = 0.0, 1.0
    if observed > 0:
        low = float(scipy.optimize.brentq(excess, 1e-300, observed))
    if observed < 1:
        high = float(scipy.optimize.brentq(excess, observed, 1 - 1e-16))
    return low, high


def _plus(seen: Counts, losses: FloatArray) -> Counts:
    for loss in losses:
        seen = seen.plus(float(loss), 1.0)
    return seen
