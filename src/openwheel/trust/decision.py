"""What the policy decided, and why, in a form that can be kept."""

from typing import Literal

import msgspec

from openwheel.errors import PolicyError

Point = Literal["send", "learn", "train", "promote", "export"]
"""Where the policy has its veto: sending a request, learning from answers, training a checkpoint,
promoting a student and exporting one."""


class Condition(msgspec.Struct, frozen=True):
    """What a licence asks of those who use or pass on a student.

    Attributes:
        about: The matter.
        text: What is asked, in words; for ``name`` what the student's name must begin with, for
            ``notice`` what must be shown.
        licence: Id of the licence that asks it.
    """

    about: Literal["name", "notice", "licence", "display", "region", "size", "use"]
    text: str
    licence: str


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What the policy decided on one matter.

    Attributes:
        point: Where.
        subject: What it is about, e.g. ``teacher gpu (Qwen/Qwen3-8B)``.
        allowed: Whether it may be.
        licence: Id of the licence that decided, or ids with commas between; ``""`` if none did.
        reason: Why not, or what allowed it, in a sentence without its full stop.
        clause: The licence's words.
        source: Where they were read, and with what confidence.
        remedy: What would allow it.
        override: The written permission that allowed it against the licence.
        warnings: What to know though it is allowed.
        conditions: What the licences ask.
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
        """Say it in a sentence or two."""
        if self.allowed:
            extra = f", by written permission: {self.override}" if self.override else ""
            return f"{self.subject} {_MAY[self.point]}{extra}"
        clause = f': "{self.clause}" ({self.source})' if self.clause else ""
        return f"{self.subject} {_MAY_NOT[self.point]}: {self.reason}{clause}. {self.remedy}"

    def require(self) -> "Decision":
        """Return this decision, if it allows.

        Raises:
            PolicyError: It does not; the message names the clause and what to do.
        """
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
