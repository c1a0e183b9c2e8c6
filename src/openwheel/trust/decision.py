"""Defines the policy's decisions with their reasons, in a form that can be kept."""

from typing import Literal

import msgspec

from openwheel.errors import PolicyError

Point = Literal["send", "learn", "train", "promote", "export"]
"""Where the policy has its veto: sending a request, learning from answers, training a checkpoint,
promoting a student and exporting one."""


class Condition(msgspec.Struct, frozen=True):
    """A condition of a licence for those who use or pass on a student.

    Attributes:
        about: The matter.
        text: The condition in words; for ``name`` the start of the student's name, for ``notice``
            the text that must be shown.
        licence: Id of the licence that asks it.
    """

    about: Literal["name", "notice", "licence", "display", "region", "size", "use"]
    text: str
    licence: str


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The policy's decision on one matter.

    Attributes:
        point: Where.
        subject: What it is about, e.g. ``teacher gpu (Qwen/Qwen3-8B)``.
        allowed: Whether it may be.
        licence: Id of the licence that decided, or ids with commas between; ``""`` if none did.
        reason: Why it is refused or allowed, in a sentence without its full stop.
        clause: The licence's words.
        source: Where the clause was read, and how sure the reading is.
        remedy: What would allow it.
        override: The written permission that allowed it against the licence.
        warnings: Warnings though it is allowed.
        conditions: The licences' conditions.
    """

    point: Point
    subject: str
    allowed: bool
    licence: str = ""
    reason: str = ""
    clause: str = ""
    source: str = ""
    remedy: str = ""
    override: str = ""
    warnings: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()

    def __str__(self) -> str:
        """Describe the decision in a sentence or two."""
        if self.allowed:
            extra = f", by written permission: {self.override}" if self.override else ""
            return f"{self.subject} {_MAY[self.point]}{extra}"
        clause = f': "{self.clause}" ({self.source})' if self.clause else ""
        return f"{self.subject} {_MAY_NOT[self.point]}: {self.reason}{clause}. {self.remedy}"

    def refused(self, **why: str) -> "Decision":
        """Return this decision as a refusal, with other fields that say why."""
        return msgspec.structs.replace(self, allowed=False, **why)

    def require(self) -> "Decision":
        """Return this decision if it allows; else raise `PolicyError` with clause and advice."""
        if not self.allowed:
            raise PolicyError(str(self))
        return self


_MAY = {
    "send": "may be sent requests",
    "learn": "may be learned from",
    "train": "may be trained",
    "promote": "may be promoted",
    "export": "may be exported",
}
_MAY_NOT = {point: text.replace("may", "may not", 1) for point, text in _MAY.items()}
