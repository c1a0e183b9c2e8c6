"""The routing rule: who answers a request, and whether its answer is evidence."""

from typing import NamedTuple

from openwheel.loop.serving import Decision


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
