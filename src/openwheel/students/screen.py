"""The screen: leaves requests that may have a critical answer to the teacher, for any rung.

A wrong answer costs more if the right one would have been critical. The average disagreement that
the gate bounds says little about rare answers.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from openwheel.errors import StudentFileError
from openwheel.students.evidence import Core, Evidence, Lexical, look, look_one
from openwheel.students.head import Head
from openwheel.students.model import text_of
from openwheel.students.student import Answers, Inputs, Student
from openwheel.students.tfidf import Tfidf
from openwheel.trust import Base

SCREEN, SCREEN_ARRAYS = "screen.json", "screen.safetensors"
"""Its files in a student's folder."""

CRITICAL = 0
"""Index of the class that is screened for, of two."""


class ScreenSettings(msgspec.Struct, frozen=True):
    """What is saved of a screen beside its arrays."""

    answers: tuple[str, ...]
    variables: tuple[int, ...]
    limit: float


class Screen(NamedTuple):
    """A linear model of whether an answer will be critical, and the score from which it may be.

    Attributes:
        answers: The canonical answers that are critical.
        variables: Which of the inputs are read.
        core: Of two classes, the first of them critical.
        limit: An input whose score is at least this goes to the teacher.
    """

    answers: tuple[str, ...]
    variables: tuple[int, ...]
    core: Core
    limit: float

    def holds(self, inputs: Sequence[Inputs]) -> npt.NDArray[np.bool_]:
        """Return which inputs may have a critical answer, shape (n,)."""
        texts = [text_of(values, self.variables) for values in inputs]
        return scores_of(look(self.core, texts, None)) >= self.limit

    def holds_one(self, inputs: Inputs) -> bool:
        """Return whether one input may have a critical answer, by the fastest computation."""
        evidence = look_one(self.core, text_of(inputs, self.variables), None)
        return bool(scores_of(evidence)[0] >= self.limit)

    def state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Return what to save: JSON-serialisable settings, and arrays by name."""
        assert self.core.lexical is not None
        settings = ScreenSettings(self.answers, self.variables, self.limit)
        return msgspec.to_builtins(settings), {
            "keys": self.core.lexical.tfidf.keys,
            "idf": self.core.lexical.tfidf.idf,
            "centroids": self.core.lexical.centroids,
            "weights": self.core.head.weights,
            "bias": self.core.head.bias,
        }

    @classmethod
    def from_state(cls, settings: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> "Screen":
        """Rebuild a saved screen.

        Raises:
            StudentFileError: A part is missing.
        """
        try:
            known = msgspec.convert(settings, ScreenSettings)
            lexical = Lexical(Tfidf(arrays["keys"], arrays["idf"]), arrays["centroids"])
            core = Core(Head(arrays["weights"], arrays["bias"]), lexical, None)
        except (KeyError, msgspec.ValidationError) as error:
            raise StudentFileError(f"The screen's files lack a part: {error}") from None
        return cls(known.answers, known.variables, core, known.limit)


def scores_of(evidence: Evidence) -> npt.NDArray[np.float64]:
    """Return by how much an input looks more critical than not, shape (n,)."""
    lead = evidence.features[:, 1]
    return np.where(evidence.labels == CRITICAL, lead, -lead)


class ScreenedStudent:
    """A student whose confidence is 0 where it or the screen says that an answer may be critical.

    Args:
        student: Of any rung.
        screen: The screen.
    """

    def __init__(self, student: Student, screen: Screen) -> None:
        self.student = student
        self.screen = screen
        self.rung = student.rung
        self.answers = student.answers

    def answer(self, inputs: Sequence[Inputs]) -> Answers:
        """Answer a batch."""
        texts, confidence = self.student.answer(inputs)
        critical = np.array([text in self.screen.answers for text in texts], np.bool_)
        return Answers(texts, np.where(critical | self.screen.holds(inputs), 0.0, confidence))

    def answer_one(self, inputs: Inputs) -> tuple[str, float]:
        """Answer one input."""
        text, confidence = self.student.answer_one(inputs)
        return text, 0.0 if confidence > 0 and self.holds(inputs, text) else confidence

    def holds(self, inputs: Inputs, answer: str) -> bool:
        """Return whether an input, with the student's canonical answer, is one that is held."""
        return answer in self.screen.answers or self.screen.holds_one(inputs)

    def base(self) -> Base | None:
        """Return the checkpoint that the student is built on."""
        return self.student.base()

    def state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Return what to save of the student; the screen has files of its own."""
        return self.student.state()

    def write_files(self, folder: Path) -> None:
        """Write the screen's files, and those of the student."""
        known, arrays = self.screen.state()
        (folder / SCREEN).write_bytes(msgspec.json.format(msgspec.json.encode(known)))
        save_file(arrays, folder / SCREEN_ARRAYS)
        self.student.write_files(folder)
