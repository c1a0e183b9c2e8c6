"""How many requests to audit, and how many a new student may answer: pure functions of the past.

Nothing here depends on the request at hand, so an audited answer has the mean loss of any answer
at that time, and monitors need no weights. Edges that have not heard of a new share yet are an
exception: docs/edge.md, limits.
"""

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from openwheel.gate.monitors import JumpDetector
from openwheel.loop.records import AuditPlan
from openwheel.loop.settings import LoopSettings

FRESH = 4.0
"""How many times the usual share is audited where there is little evidence, or doubt."""

MOST_FRESH = 0.2
"""The most that is audited then, unless the usual share is more: beyond it a student saves too
little."""

DOUBT = 0.5
"""A student is in doubt if a monitor has come this share of the way to its alarm, on a log
scale."""

NO_MONEY = 0.1
"""Share of the least share that is still audited when there is no money left."""

CHANGED = 1.25
"""A share that moves by less than this factor is not written for the workers."""


class Evidence(msgspec.Struct, frozen=True):
    """What the audits of a promotion have shown so far.

    Attributes:
        audits: Audited answers since the promotion, or the last alarm in one of its slices.
        enough: As many, without a disagreement, would show a rate below epsilon (`enough_audits`).
        doubt: How near the nearest monitor is to its alarm, from 0 to 1, on a log scale.
        signal: The signal that asks for more audits without doubt; ``""`` if there is none.
    """

    audits: int
    enough: int
    doubt: float = 0.0
    signal: str = ""


class Budget(msgspec.Struct, frozen=True):
    """What audits may cost.

    Attributes:
        share: The usual share of requests, in (0, 1].
        least: The share that good evidence brings it down to, in (0, 1].
        dollars_left: What may still be spent today; None without a limit.
        dollars_each: What an audit costs.
        requests_left: Requests still to come today that a student could answer.
    """

    share: float
    least: float
    dollars_left: float | None = None
    dollars_each: float = 0.0
    requests_left: float = 0.0


def enough_audits(epsilon: float, delta: float) -> int:
    """Return how many agreeing audits show, with confidence ``1 - delta``, a rate below epsilon.

    Examples:
        >>> enough_audits(0.05, 0.05)
        59
    """
    return math.ceil(math.log(delta) / math.log1p(-epsilon))


def audit_probability(evidence: Evidence, budget: Budget) -> float:
    """Return the share of answered requests to audit next.

    Four times the usual share until there is enough evidence, and in doubt or at a signal. Then
    it falls as one over the number of audits, to the least share. The least share is a floor
    because a change is noticed later the fewer requests are audited. If the money would not last
    the day, the share falls further, to at most a tenth of the least share.

    Examples:
        >>> usual = Budget(share=0.05, least=0.02)
        >>> [round(audit_probability(Evidence(n, 59), usual), 3) for n in (0, 59, 118, 10_000)]
        [0.2, 0.2, 0.1, 0.02]
        >>> audit_probability(Evidence(10_000, 59, doubt=0.6), usual)
        0.2
        >>> audit_probability(Evidence(10_000, 59, signal="more wrong guesses"), usual)
        0.2
        >>> dear = Budget(0.05, 0.02, dollars_left=1.0, dollars_each=0.01, requests_left=10_000)
        >>> round(audit_probability(Evidence(0, 59), dear), 3)
        0.01
        >>> broke = Budget(0.05, 0.02, dollars_left=0.0, dollars_each=0.01, requests_left=10_000)
        >>> round(audit_probability(Evidence(0, 59), broke), 4)
        0.002
    """
    fresh = max(budget.share, min(FRESH * budget.share, MOST_FRESH))
    least = min(budget.share, budget.least)
    if evidence.audits <= evidence.enough or evidence.doubt >= DOUBT or evidence.signal:
        share = fresh
    else:
        share = max(fresh * evidence.enough / evidence.audits, least)
    if budget.dollars_left is not None and budget.dollars_each > 0:
        expected = max(budget.dollars_each * budget.requests_left, budget.dollars_each)
        share = min(share, max(budget.dollars_left, 0.0) / expected)
    return min(max(share, NO_MONEY * least), 1.0)


def canary_share(start: float, evidence: Evidence, *, now: float) -> float:
    """Return the share of its task's requests that a student may answer next.

    It grows from ``start`` to 1 as audits come in, evenly on a log scale. In doubt it falls back to
    ``start``, unless it was 1 before (``now``). Requests held back are audited at no cost, since
    the teacher answers them anyway. So at 5% and 5% it takes about a hundred requests that the
    student could have answered.

    Examples:
        >>> [round(canary_share(0.2, Evidence(n, 59), now=0.2), 2) for n in (0, 30, 59)]
        [0.2, 0.45, 1.0]
        >>> [canary_share(0.2, Evidence(30, 59, doubt=0.9), now=now) for now in (0.45, 1.0)]
        [0.2, 1.0]
    """
    if now >= 1:
        return 1.0
    if evidence.doubt >= DOUBT:
        return start
    return float(start ** max(1.0 - evidence.audits / evidence.enough, 0.0))


def has_moved(old: float, new: float) -> bool:
    """Return whether a share has changed enough to write it for the workers."""
    return not 1 / CHANGED < new / old < CHANGED


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
"""Exchanges from which the usual rate is learned; later from twice, four times, ... as many."""

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
        detector: Learns what is usual, and looks for more than that; starts over when it is raised.
        raised: How often it was raised.
        until: It is up until there are so many audits.
    """

    detector: JumpDetector = JumpDetector(RUN_LENGTH, BASELINE, MISSED, rises=True)
    raised: int = 0
    until: int = 0

    def after(self, losses: Sequence[float], *, until: int) -> "Signal":
        """Return the signal after more losses in [0, 1]; if raised, it is up until some audits.

        Then what is usual is learned again: a change that audits find harmless is not held against
        a student for ever.
        """
        signal, remaining = self, list(losses)
        while remaining:
            detector = signal.detector.update(remaining)
            if detector.alarmed_at is None:
                return msgspec.structs.replace(signal, detector=detector)
            remaining = remaining[detector.alarmed_at - signal.detector.seen.answers :]
            signal = Signal(raised=signal.raised + 1, until=until)
        return signal


def asked_for(epsilon: float, run_length: float) -> int:
    """Return how many audits a signal asks for.

    As many as bring a detector with this run length to where there is doubt if twice epsilon of the
    answers disagree. Doubt then keeps the share up by itself; if there is none, the signal has to
    be raised again.

    Examples:
        >>> asked_for(0.05, 1_000_000)
        335
    """
    q = min(2 * epsilon, (1 + epsilon) / 2)
    divergence = q * math.log(q / epsilon) + (1 - q) * math.log((1 - q) / (1 - epsilon))
    return math.ceil(DOUBT * math.log(run_length) / divergence)


def usual_share(settings: LoopSettings, task: str) -> float:
    """Return the usual share of a task's requests to audit."""
    override = settings.task(task).audit
    return settings.audit if override is None else override


def first_canary(settings: LoopSettings, task: str) -> float:
    """Return the share of a task's requests that a new student may answer at first."""
    override = settings.task(task).canary
    return settings.canary if override is None else override


def first_plan(settings: LoopSettings, task: str, *, by_hand: bool) -> AuditPlan:
    """Return the plan for a student that is newly promoted.

    What a person puts in front of the traffic, having seen the evidence, gets all of it at once.
    """
    budget = Budget(usual_share(settings, task), settings.audit_least)
    return AuditPlan(
        audit=audit_probability(Evidence(0, 1), budget),
        canary=1.0 if by_hand else first_canary(settings, task),
        reason="newly promoted",
    )
