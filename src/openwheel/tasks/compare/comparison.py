"""What every comparison is: two answers to one request in, a loss from 0 to 1 out."""

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from openwheel.wire import Answer

VERSION = 1
"""Of all comparisons: changes when the same two answers may get another loss."""


class Pair(msgspec.Struct, frozen=True):
    """Two answers to compare.

    Attributes:
        request: What was asked, as text; only a judge reads it.
        teacher: What the teacher answered.
        student: What the student answered, or the teacher asked again.
    """

    request: str
    teacher: Answer
    student: Answer


class Comparison(Protocol):
    """Says how far a student's answer is from the teacher's.

    Attributes:
        setting: As the user writes it, ``rouge:0.7`` say.
        bounded: Whether a loss may lie strictly between 0 and 1, so that the gate has to bet
            instead of counting.
        equality: Whether answers agree if their canonical forms are equal, and only then, so that a
            loss costs next to nothing.
        fingerprint: SHA-256 of all that decides a loss. A certificate holds it; another one is
            another comparison, and a new attempt.
    """

    setting: str
    bounded: bool
    equality: bool
    fingerprint: str

    def losses(self, pairs: Sequence[Pair]) -> list[float]:
        """Return the loss of each pair: 0 where the student's answer will do, 1 where not.

        The same pair has the same loss however often it is asked for.
        """


def fingerprint_of(*parts: Any) -> str:
    """Return the SHA-256 of what decides a loss."""
    return hashlib.sha256(msgspec.json.encode([VERSION, *parts], order="sorted")).hexdigest()
