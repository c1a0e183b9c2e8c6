"""Reads the probabilities that students give of their answers."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, runtime_checkable

import numpy.typing as npt

from openwheel.students import Student
from openwheel.tasks import Inputs
from openwheel.wire import Probabilities

_DIGITS: Final = 6


@runtime_checkable
class Probable(Protocol):
    """A student that gives probabilities."""

    def probabilities(self, inputs: Sequence[Inputs]) -> npt.NDArray[Any]:
        """Return the probability of each of its answers, shape (n, answers)."""


def given(
    student: Student, inputs: Sequence[Inputs], surfaces: Mapping[str, str]
) -> list[Probabilities]:
    """Return the probabilities of a student's answers for each input; empty where it gives none.

    They are given by the teacher's spelling (``surfaces``) of each canonical answer.
    """
    if not isinstance(student, Probable) or not student.answers:
        return [()] * len(inputs)
    texts = [surfaces.get(text, text) for text in student.answers]
    return [
        tuple(zip(texts, (round(float(chance), _DIGITS) for chance in row), strict=True))
        for row in student.probabilities(inputs)
    ]
