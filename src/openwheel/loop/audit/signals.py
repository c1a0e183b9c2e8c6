"""When the teacher's answers to what a student deferred ask for more audits of what it answered.

Those answers cost nothing, and come many times as often as audits. They say nothing of the answers
that a client was given, so they take nobody off: they raise the share that is audited, for a while.
That share then depends on the past alone, as before, and no test of audits is weighted otherwise.
"""

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from openwheel.gate.monitors import JumpDetector
from openwheel.loop.audit.policy import DOUBT

UNKNOWN_DEFERRED: Final = "unknown-deferred"
UNKNOWN_AUDITED: Final = "unknown-audited"
WRONG_GUESSES: Final = "wrong-guesses"

SAID: Final = {
    UNKNOWN_DEFERRED: "more answers to deferred requests that the student does not know",
    UNKNOWN_AUDITED: "more answers to audited requests that the student does not know",
    WRONG_GUESSES: "deferred requests on which the student would have been wrong more often",
}
"""Each signal in words. Audits are apart from deferred requests: how many there are of the ones for
each of the others changes with the share."""

BASELINE = 200
"""Exchanges that show what is usual; later twice, four times, ... as many do."""

RUN_LENGTH = 1_000.0
"""Exchanges between false raises of one signal, on average at least, while the rate is no higher
than is usual. A raise that was for nothing costs some hundred audits and no answer, so it may come
far sooner than a false alarm."""

MISSED = 0.1
"""The chance that the interval of what is usual misses, half of it on the high side. It is wide for
a detector that takes nobody off: a miss raises the signal once, and is learned from."""


class Signal(msgspec.Struct, frozen=True):
    """One kind of free news.

    Attributes:
        detector: Learns what is usual, and looks for more than that; begins anew when it is raised.
        raised: How often it was raised.
        until: It is up until there are so many audits.
    """

    detector: JumpDetector = JumpDetector(RUN_LENGTH, BASELINE, MISSED, rises=True)
    raised: int = 0
    until: int = 0

    def after(self, losses: Sequence[float], *, until: int) -> "Signal":
        """Return the same after more exchanges, each with a loss in [0, 1].

        Where it is raised, what is usual is learned anew: a change that audits find harmless is
        not held against a student for ever.

        Args:
            losses: Of the exchanges, in order.
            until: Where it is raised, it is up until there are so many audits.
        """
        found, left = self, list(losses)
        while left:
            detector = found.detector.update(left)
            if detector.alarmed_at is None:
                return msgspec.structs.replace(found, detector=detector)
            left = left[detector.alarmed_at - found.detector.seen.answers :]
            found = Signal(raised=found.raised + 1, until=until)
        return found


def asked_for(epsilon: float, run_length: float) -> int:
    """Return how many audits a signal asks for.

    As many as bring a detector with this run length to where there is doubt if twice epsilon of the
    answers disagree. Doubt then keeps the share up by itself; if there is none, the signal has to
    be raised anew.

    Examples:
        >>> asked_for(0.05, 1_000_000)
        335
    """
    q = min(2 * epsilon, (1 + epsilon) / 2)
    divergence = q * math.log(q / epsilon) + (1 - q) * math.log((1 - q) / (1 - epsilon))
    return math.ceil(DOUBT * math.log(run_length) / divergence)
