"""Routes requests: to student or teacher, held back, audited, evidence or not.

Gateway and replay use the same rule.
"""

from typing import NamedTuple

import msgspec

from openwheel.loop.serving import Decision
from openwheel.store.exchange import AUDIT_SUFFIX, Exchange, Source
from openwheel.tasks import answer_in


class Route(NamedTuple):
    """The route of one request.

    Attributes:
        held_back: Whether the canary holds it back, and so the teacher answers the client.
        audited: Whether the teacher is asked, whatever the student answers: because the request is
            held back, or for an audit.
        unbiased: Whether the teacher is asked whatever any student would have done, so that its
            answer is evidence.
    """

    held_back: bool
    audited: bool
    unbiased: bool


def route(decision: Decision, draw: float) -> Route:
    """Return the route of a request.

    One coin decides on both the canary and the audit, before anyone knows what the student would
    answer: requests held back go to the teacher, too. Without a promoted student the teacher
    answers everything. If a student could not be asked, the choice may have depended on the
    request, so the answer is no evidence (`UNDECIDED`).

    Args:
        decision: What the promoted student would do, if there is one.
        draw: Uniform in [0, 1).
    """
    if not decision.student:
        return Route(held_back=False, audited=False, unbiased=decision.audit_probability == 1)
    audited = draw < decision.audit_probability
    return Route(draw < 1.0 - decision.canary, audited, audited)


UNDECIDED = Decision(audit_probability=0.0, reason="student failed")
"""The reason of a decision whose student could not be asked."""


def by_teacher(exchange: Exchange, decision: Decision, route: Route) -> Exchange:
    """Return the exchange of a request that the teacher answered.

    The student's answer, or the one it would have given to a request that was held back, is kept
    with it: an audit. The answer it would have given where it deferred is kept apart from that.
    Such a request names a student without an answer, unlike one that was held back.
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
        student_probabilities=decision.probabilities if compared or deferred else (),
        confidence=decision.confidence,
    )


def by_student(
    exchange: Exchange, decision: Decision, answer: str, *, source: Source = "student"
) -> Exchange:
    """Return the exchange of a request that a student answered; it calibrates nothing."""
    return msgspec.structs.replace(
        exchange,
        source=source,
        answer=answer_in(answer, decision.form, decision.probabilities),
        model=decision.student,
        unbiased=False,
        audit_probability=decision.audit_probability,
        student=decision.student,
        confidence=decision.confidence,
    )


def as_audit(exchange: Exchange) -> Exchange:
    """Return the audit's exchange beside a student's: the same id and `AUDIT_SUFFIX` joins them."""
    return msgspec.structs.replace(exchange, id=f"{exchange.id}{AUDIT_SUFFIX}")
