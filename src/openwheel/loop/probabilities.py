"""Reads the probabilities that students give of their answers."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, runtime_checkable

import numpy.typing as npt

from openwheel.students import Student
from openwheel.students.screen import ScreenedStudent
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
    if isinstance(student, ScreenedStudent):
        student = student.student
    if not isinstance(student, Probable) or not student.answers:
        return [()] * len(inputs)
    return [spelled(student, row, surfaces) for row in student.probabilities(inputs)]


def spelled(
    student: Student, chances: npt.NDArray[Any], surfaces: Mapping[str, str]
) -> Probabilities:
    """Return the probabilities of a student's answers, each as the teacher spells it."""
    return tuple(
        (surfaces.get(text, text), round(float(chance), _DIGITS))
        for text, chance in zip(student.answers, chances, strict=True)
    )
