"""What every student is, whatever its rung."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Inputs = tuple[str, ...]
"""The values of a task's variables, in the order of its template."""


class Predictions(NamedTuple):
    """A student's answers to a batch.

    Attributes:
        labels: Index into the student's ``answers``, shape (n,); -1 where it has none.
        confidence: Higher means more likely to agree, shape (n,), in [0, 1]. 0 where the input
            is unlike the training inputs or the student has no answer: it then always defers.
    """

    labels: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]


class Writings(NamedTuple):
    """What a writing student answered to a batch.

    Attributes:
        answers: As they would be sent; ``""`` where it has none.
        confidence: As in :class:`Predictions`, shape (n,), in [0, 1].
    """

    answers: list[str]
    confidence: npt.NDArray[np.float64]


class Student(Protocol):
    """A cheaper model trained on a task's exchanges.

    Attributes:
        rung: ``exact``, ``linear``, ``encoder`` or ``lm``.
        answers: The canonical answers it can give.
    """

    rung: str
    answers: tuple[str, ...]

    def predict(self, inputs: Sequence[Inputs]) -> Predictions:
        """Answer a batch."""

    def predict_one(self, inputs: Inputs) -> tuple[int, float]:
        """Answer one input, as fast as it can be: label index and confidence."""

    def state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Return what to save: JSON-serialisable settings, and arrays by name."""


class WritingStudent(Student, Protocol):
    """A student that writes its answers, so that they need not be labels."""

    def write(self, inputs: Sequence[Inputs]) -> Writings:
        """Answer a batch with texts."""


class Fitted(NamedTuple):
    """A trained student, with what it would have done on training inputs it had not seen.

    Attributes:
        student: Trained on all of the training exchanges.
        confidence: Out-of-fold confidence, one for each training exchange that was predicted.
        agrees: Whether the out-of-fold answer was the teacher's.
        rows: Index of those exchanges among the training exchanges.
        loss: Of each such answer against the teacher's, in [0, 1], where agreement is a matter
            of degree; else None, and it is 0 where the answer agrees and 1 where not.
        unknown: Confidence of inputs by students that were not taught their answers; None where
            no answer could be left out.
    """

    student: Student
    confidence: npt.NDArray[np.float64]
    agrees: npt.NDArray[np.bool_]
    rows: npt.NDArray[np.int64]
    loss: npt.NDArray[np.float64] | None = None
    unknown: npt.NDArray[np.float64] | None = None
