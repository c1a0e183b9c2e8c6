"""Whether a rate that is nobody's limit has changed: the teacher's disagreement with itself."""

import math
from typing import Any, Self

import msgspec
import numpy as np

from openwheel.gate.monitors.confidence import ConfidenceSequence
from openwheel.gate.monitors.edetector import EDetector
from openwheel.gate.monitors.monitor import Counts, audited, require_share

ANCHOR = 0.05
"""Where the baseline is told best if there are weights: teachers differ from themselves about so
often."""

NARROWEST = 0.005
"""Within so much of 0 or 1 there is nothing to fall or to rise from."""


class JumpDetector(msgspec.Struct, frozen=True, tag="jump detector"):
    """Alarm when a mean loss leaves the range that a first batch of losses shows it to be in.

    For a teacher asked twice: the loss is how far its two answers are apart. No limit is known
    beforehand, so the first ``baseline`` losses give an interval of their mean (with probability
    ``1 - doubt``; :class:`ConfidenceSequence`), and after them one :class:`EDetector` looks for a
    mean above its upper end and another for one below its lower end. What is not known of the
    baseline thus makes it slower, never wrong. A jump to within that interval is not noticed.

    **Promise.** Unless the interval missed (probability ``doubt``), and as long as the mean given
    the past stays within it, the mean number of losses after the baseline until a false alarm is
    at least ``average_run_length``, and the chance of one within the first n of them at most
    ``n / average_run_length``.

    Args:
        average_run_length: In losses, above 1.
        baseline: How many losses it learns from, at least 1.
        doubt: The chance that the interval misses, in (0, 1).
        weighted: Whether there are floors.

    Examples:
        >>> monitor = JumpDetector(100_000).update([1.0, *[0.0] * 49] * 4)
        >>> [round(end, 3) for end in monitor.range]
        [0.001, 0.085]
        >>> monitor.update([1.0, 0.0, 0.0, 0.0] * 50).alarmed_at
        293

    Source: as of its parts; the plan is ours.
    """

    average_run_length: float
    baseline: int = 200
    doubt: float = 0.01
    weighted: bool = False
    learned: ConfidenceSequence | None = None
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
        """Where the mean was by what the baseline shows; (0, 1) before the first loss."""
        return self.learned.interval if self.learned else (0.0, 1.0)

    @property
    def evidence(self) -> float:
        """The logarithm of the larger of both detectors' wealth, at least 0."""
        return max((part.evidence for part in (self.above, self.below) if part), default=0.0)

    @property
    def limit(self) -> float:
        """``log(2 average_run_length)``: there are two detectors."""
        return math.log(2 * self.average_run_length)

    def update(self, losses: Any, probabilities: Any = 1.0, floors: Any = None) -> Self:
        """Return the detector after more losses: see :meth:`Monitor.update`.

        Raises:
            ValueError: A number is out of its range, or there are weights and none were expected.
        """
        found = audited(losses, probabilities, floors)
        if not self.weighted and (found.weights != 1).any():
            raise ValueError("floors must be left out unless the jump detector is weighted")
        missing = max(self.baseline - self.seen.answers, 0)
        updated = self._learn(found.losses[:missing], found.weights[:missing])
        return updated._watch(found.losses[missing:], found.weights[missing:])

    def state(self) -> dict[str, Any]:
        """Return what is saved."""
        saved: dict[str, Any] = msgspec.to_builtins(self)
        return saved

    def _learn(self, losses: Any, weights: Any) -> Self:
        if not len(losses):
            return self
        before = self.learned or ConfidenceSequence(ANCHOR, 1 - self.doubt, self.weighted)
        learned = before.update(losses, 1.0, weights)
        above = below = None
        if learned.seen.answers == self.baseline:
            low, high = learned.interval
            twice = 2 * self.average_run_length
            above = EDetector(high, twice) if high < 1 - NARROWEST else None
            below = EDetector(1 - low, twice) if low > NARROWEST else None
        return msgspec.structs.replace(
            self, learned=learned, above=above, below=below, seen=learned.seen
        )

    def _watch(self, losses: Any, weights: Any) -> Self:
        if not len(losses):
            return self
        above = self.above and self.above.update(losses, 1.0, weights)
        below = self.below and self.below.update(1 - np.asarray(losses), 1.0, weights)
        alarms = [part.alarmed_at for part in (above, below) if part and part.alarmed_at]
        seen = self.seen
        for loss, weight in zip(losses, weights, strict=True):
            seen = seen.plus(float(loss), float(weight))
        alarmed_at = self.alarmed_at
        if alarmed_at is None and alarms:
            alarmed_at = self.baseline + min(alarms)
        return msgspec.structs.replace(
            self, above=above, below=below, seen=seen, alarmed_at=alarmed_at
        )
