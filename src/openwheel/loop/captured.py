"""What is kept of a request by who answered it: the same for a gateway and for a replay."""

import msgspec

from openwheel.loop.route import Route
from openwheel.loop.serving import Decision
from openwheel.store.exchange import AUDIT_SUFFIX, Exchange, Source
from openwheel.wire import Answer


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
