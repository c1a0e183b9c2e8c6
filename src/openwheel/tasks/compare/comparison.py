"""Defines the protocol of a comparison: two answers to one request in, a loss from 0 to 1 out."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from openwheel.tasks.compare.field_rules import PLAIN, FieldSettings
from openwheel.tasks.forms import Form
from openwheel.wire import Answer, Question

VERSION = 1
"""Of all comparisons: changes when the same two answers may get another loss."""


class Pair(msgspec.Struct, frozen=True):
    """Two answers to compare.

    Attributes:
        request: The request as text; only a judge reads it.
        teacher: The teacher's answer.
        student: The student's answer, or the teacher's second one.
    """

    request: str
    teacher: Answer
    student: Answer


class Comparison(Protocol):
    """Computes how far a student's answer is from the teacher's.

    Attributes:
        setting: As the user writes it, ``rouge:0.7`` say.
        bounded: Whether a loss may lie strictly between 0 and 1, so that the gate has to bet
            instead of counting.
        equality: Whether answers agree if their canonical forms are equal, and only then.
        free: Whether a loss takes next to nothing but the texts of two answers: no model is run
            or asked, neither for the loss nor for probabilities.
        fingerprint: SHA-256 of all that a loss depends on. A certificate holds it; another one
            means another comparison, and a new attempt.
    """

    setting: str
    bounded: bool
    equality: bool
    free: bool
    fingerprint: str

    def losses(self, pairs: Sequence[Pair]) -> list[float]:
        """Return the loss of each pair: 0 where the student's answer is as good, 1 where not.

        The same pair always has the same loss.
        """


class Encoder(Protocol):
    """Text in, one unit vector out; `openwheel.students.encoder.TextEncoder` is one.

    Attributes:
        fingerprint: Hash of its weights and settings.
    """

    fingerprint: str

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return unit vectors, shape (len(texts), dimensions)."""


class Given(NamedTuple):
    """What a comparison is made with.

    Attributes:
        form: The form of the task's answers.
        folds: How these may differ and still be one.
        encoder: A sentence encoder, None if none is set.
        judge: A teacher that judges, None if none can be asked.
        question: The typed question that the task is, None if it is none.
        by_field: How records are compared.
    """

    form: Form
    folds: tuple[str, ...] = ()
    encoder: Encoder | None = None
    judge: Comparison | None = None
    question: Question | None = None
    by_field: FieldSettings = PLAIN


class Kind(NamedTuple):
    """A kind of comparison that a user can choose.

    Attributes:
        name: The start of the setting, before a colon and the parameter.
        written: How the setting is written, for messages.
        read: Reads the parameter, ``""`` if there is none; raises a ValueError if it is not valid.
        make: Returns the comparison, given the setting and the parameter; raises a SettingError if
            a resource is missing.
        folds: Whether it uses the folds of the task.
    """

    name: str
    written: str
    read: Callable[[str], Any]
    make: Callable[[str, Any, Given], Comparison]
    folds: bool = False


def no_parameter(text: str) -> None:
    """Read the parameter of a kind that has none."""
    if text:
        raise ValueError(text)


def limit(text: str) -> float:
    """Read a limit above 0 and at most 1."""
    value = float(text)
    if not 0 < value <= 1:
        raise ValueError(text)
    return value


def fingerprint_of(*parts: Any) -> str:
    """Return the SHA-256 of all that a loss depends on."""
    return hashlib.sha256(msgspec.json.encode([VERSION, *parts], order="sorted")).hexdigest()
