"""The routing rule: who answers a request, whether its answer is evidence, and what is kept of it.

The same for a gateway and for a replay.
"""

from typing import NamedTuple

import msgspec

from openwheel.loop.serving import Decision
from openwheel.store.exchange import AUDIT_SUFFIX, Exchange, Source
from openwheel.wire import Answer


class Route(NamedTuple):
    """Where a request goes.

    Attributes:
        held_back: Whether the canary holds it back, so that the teacher answers the client.
        audited: Whether the teacher is asked, whatever the student answers: since the request is
            held back, or for an audit.
        unbiased: Whether the teacher is asked whatever any student would have done, so that its
            answer is traffic as it came.
    """

    held_back: bool
    audited: bool
    unbiased: bool


def route(decision: Decision, draw: float) -> Route:
    """Return where a request goes.

    One coin decides of both, before it is looked at what the student would answer: what is held
    back is sent to the teacher, too. Where no student is promoted the teacher answers everything.
    Where a student could not be asked, what it would have done is not known to be out of the
    matter, so that the answer is no evidence (`UNDECIDED`).

    Args:
        decision: What the promoted student would do, if there is one.
        draw: Uniform in [0, 1).
    """
    if not decision.student:
        return Route(held_back=False, audited=False, unbiased=decision.audit_probability == 1)
    audited = draw < decision.audit_probability
    return Route(draw < 1.0 - decision.canary, audited, audited)


UNDECIDED = Decision(audit_probability=0.0, reason="student failed")
"""Of a request whose student could not be asked."""


def by_teacher(exchange: Exchange, decision: Decision, route: Route) -> Exchange:
    """Return the exchange of a request that the teacher answered.

    What the student answered, or would have answered if the request had not been held back, is
    kept with it: an audit. What it would have said where it deferred is kept apart from that; the
    student without an answer tells such a request from one that was held back.

    Args:
        exchange: The request and the teacher's answer.
        decision: Who was to answer.
        route: Where the request went.
    """
    deferred = decision.answer is None
    compared = route.audited and not deferred
    return msgspec.structs.replace(
        exchange,
        source="teacher",
        unbiased=route.unbiased,
        audit_probability=decision.audit_probability,
        student=decision.student if compared or deferred else "",
        student_answer=decision.answer if compared else None,
        student_guess=decision.below_threshold_answer if deferred else None,
        confidence=decision.confidence,
    )


def by_student(
    exchange: Exchange, decision: Decision, answer: str, *, source: Source = "student"
) -> Exchange:
    """Return the exchange of a request that a student answered; it calibrates nothing."""
    return msgspec.structs.replace(
        exchange,
        source=source,
        answer=Answer(answer),
        model=decision.student,
        unbiased=False,
        audit_probability=decision.audit_probability,
        student=decision.student,
        confidence=decision.confidence,
    )


def as_audit(exchange: Exchange) -> Exchange:
    """Return the audit's exchange beside a student's: the same id and `AUDIT_SUFFIX` joins them."""
    return msgspec.structs.replace(exchange, id=f"{exchange.id}{AUDIT_SUFFIX}")
