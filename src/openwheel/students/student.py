"""The protocol that every student has, whatever its rung."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from openwheel.trust import Base

Inputs = tuple[str, ...]
"""The values of a task's variables, in the order of its template."""


class NotLearnedError(ValueError):
    """A rung cannot learn a task; the message says why, as the end of a sentence."""


class Answers(NamedTuple):
    """A student's answers to a batch.

    Attributes:
        texts: A canonical answer of the closed set that the student chooses from, or the text that
            it wrote; ``""`` where it has no answer.
        confidence: Higher means more likely to agree, shape (n,), in [0, 1]. 0 where the input
            is unlike the training inputs or the student has no answer: it then always defers.
    """

    texts: list[str]
    confidence: npt.NDArray[np.float64]


class Student(Protocol):
    """A cheaper model trained on a task's exchanges.

    Attributes:
        rung: The name of its rung, a key of `openwheel.students.rungs()`.
        answers: The canonical answers that it chooses from; none where it writes its answers.
    """

    rung: str
    answers: tuple[str, ...]

    def answer(self, inputs: Sequence[Inputs]) -> Answers:
        """Answer a batch.

        Raises:
            EngineError: A student that another process answers for cannot be asked.
        """

    def answer_one(self, inputs: Inputs) -> tuple[str, float]:
        """Answer one input, as fast as it can be: the answer as in `Answers`, and the confidence.

        Raises:
            EngineError: A student that another process answers for cannot be asked.
        """

    def base(self) -> Base | None:
        """Return the checkpoint that it is built on, None if it is built on none."""

    def state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Return what to save: JSON-serialisable settings, and arrays by name."""

    def write_files(self, folder: Path) -> None:
        """Write its files beside settings and arrays into a folder.

        Raises:
            OSError: They cannot be written.
            StudentFileError: They were not kept, since the student was loaded to answer.
        """


class Predictions(NamedTuple):
    """The labels that a student chose for a batch.

    Attributes:
        labels: Index into the student's ``answers``, shape (n,); -1 for no answer.
        confidence: As in `Answers`, shape (n,).
    """

    labels: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]


class LabelStudent:
    """Answers with labels that `predict` chooses: the base of students with a closed set."""

    answers: tuple[str, ...]

    def predict(self, inputs: Sequence[Inputs]) -> Predictions:
        """Choose a label for each input of a batch."""
        raise NotImplementedError

    def predict_one(self, inputs: Inputs) -> tuple[int, float]:
        """Choose a label for one input, as fast as it can be: its index, and the confidence."""
        raise NotImplementedError

    def answer(self, inputs: Sequence[Inputs]) -> Answers:
        """Answer a batch."""
        labels, confidence = self.predict(inputs)
        return Answers([self.answers[i] if i >= 0 else "" for i in labels], confidence)

    def answer_one(self, inputs: Inputs) -> tuple[str, float]:
        """Answer one input."""
        label, confidence = self.predict_one(inputs)
        return (self.answers[label] if label >= 0 else ""), confidence

    def probabilities(self, inputs: Sequence[Inputs]) -> npt.NDArray[np.float64]:
        """Return the probability that the teacher gives each answer, for a batch.

        They are the student's own, calibrated where it can be; the confidence is another number.
        By default the answer has its confidence, and the others share the rest evenly.

        Returns:
            Shape (n, answers), in the order of ``answers``; each row sums to 1.
        """
        labels, confidence = self.predict(inputs)
        chances = [self._spread(int(i), float(c)) for i, c in zip(labels, confidence, strict=True)]
        return np.array(chances, np.float64).reshape(len(labels), len(self.answers))

    def weigh_one(self, inputs: Inputs) -> tuple[str, float, npt.NDArray[np.float64]]:
        """Answer one input as `answer_one`, with the `probabilities` of all answers."""
        return *self.answer_one(inputs), self.probabilities([inputs])[0]

    def _spread(self, label: int, confidence: float) -> npt.NDArray[np.float64]:
        others = len(self.answers) - 1
        if label < 0 or not others:
            return np.full(len(self.answers), 1 / len(self.answers))
        chances = np.full(len(self.answers), (1 - confidence) / others)
        chances[label] = confidence
        return chances

    def base(self) -> Base | None:
        """Return None: most are built on no checkpoint."""
        return None

    def write_files(self, folder: Path) -> None:
        """Write nothing: most have no further files."""


class Fitted(NamedTuple):
    """A trained student, with its out-of-fold results on training inputs.

    Attributes:
        student: Trained on all of the training exchanges.
        confidence: Out-of-fold confidence, one for each training exchange that was predicted.
        agrees: Whether the out-of-fold answer was the teacher's.
        rows: Index of those exchanges among the training exchanges.
        loss: Of each such answer against the teacher's, in [0, 1], where agreement is a matter
            of degree; else None, and it is 0 where the answer agrees and 1 where not.
        unknown: Confidence of inputs by students that were not taught their answers; None where
            no answer could be left out.
        blame: The answer that was wrong most often out of fold, in a sentence, or ``""``.
    """

    student: Student
    confidence: npt.NDArray[np.float64]
    agrees: npt.NDArray[np.bool_]
    rows: npt.NDArray[np.int64]
    loss: npt.NDArray[np.float64] | None = None
    unknown: npt.NDArray[np.float64] | None = None
    blame: str = ""
