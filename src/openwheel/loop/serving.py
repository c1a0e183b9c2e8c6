"""Deciding, for one prompt, whether a promoted student answers or the teacher does."""

from typing import Protocol

import msgspec

from openwheel.wire import Prompt


class Decision(msgspec.Struct, frozen=True):
    """Who answers one prompt.

    Attributes:
        answer: The student's answer, exactly as the teacher would have written it; None to defer.
        task: Id of the task the prompt belongs to, ``""`` if it belongs to none.
        student: Id of the promoted student that was asked, ``""`` if the task has none.
        confidence: The student's confidence, None if none was asked.
        audit_probability: With what probability an audit is to ask the teacher too (0 to 1);
            1.0 where no student is promoted.
        reason: Why it deferred, in a word or two (``no task``, ``no student``, ``confidence``,
            ``unlike training``, ``not plain``); ``""`` if it answered.
    """

    answer: str | None = None
    task: str = ""
    student: str = ""
    confidence: float | None = None
    audit_probability: float = 1.0
    reason: str = ""


class Serving(Protocol):
    """What the gateway asks; it knows nothing of how students work."""

    def refresh(self) -> bool:
        """Load what was promoted or demoted since; return whether anything changed."""

    def decide(self, prompt: Prompt, task: str = "") -> Decision:
        """Decide who answers ``prompt``, whose client may have named a ``task``."""
