"""The rung ``lm``: a student that asks a small language model with an adapter."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from openwheel.errors import RequestError, StudentFileError
from openwheel.inference.writer import Ask, Writer, Written
from openwheel.progress import Progress, Step, silent
from openwheel.students.agreement import Agreement
from openwheel.students.lm.confidence import evidence
from openwheel.students.lm.prompt import AnswerForm, Asking
from openwheel.students.student import Inputs, Predictions, Writings
from openwheel.tasks import canonical_answer, record_of
from openwheel.wire import Answer

AT_ONCE = 256
"""Answers asked for at a time: an engine's queue has an end."""


class LmSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is saved of a student beside its arrays and its adapter.

    Attributes:
        asking: How its inputs become what a model is asked.
        answers: Canonical answers it can give; none unless its form is a label.
        intercept: Of the model of agreement.
        base: The base, as the settings named it.
        base_revision: The hub's commit of the base.
        model_type: The base's.
    """

    asking: Asking
    answers: tuple[str, ...]
    intercept: float
    base: str
    base_revision: str = ""
    model_type: str = ""


class LmStudent:
    """A student that asks a language model.

    Args:
        settings: What it is.
        agreement: Its model of agreement.
        adapter: Its adapter's folder.
        writer: Who writes its answers.
        model: The name under which the writer serves the adapter.

    Attributes:
        rung: ``lm``.
        answers: The canonical answers it can give, if they are labels.
        adapter: Its adapter's folder.
    """

    def __init__(
        self,
        settings: LmSettings,
        agreement: Agreement,
        *,
        adapter: Path,
        writer: Writer,
        model: str,
    ) -> None:
        self.rung = "lm"
        self.settings = settings
        self.answers = settings.answers
        self.adapter = adapter
        self._agreement = agreement
        self._writer = writer
        self._model = model
        self._labels: Mapping[str, int] = {name: i for i, name in enumerate(settings.answers)}

    def predict(self, inputs: Sequence[Inputs]) -> Predictions:
        """Answer a batch with labels.

        Raises:
            EngineError: The engine cannot be asked.
        """
        writings = self.write(inputs)
        folds = self.settings.asking.folds
        said = [canonical(text, "label", folds) for text in writings.answers]
        labels = np.array([self._labels.get(answer, -1) for answer in said], np.int64)
        return Predictions(labels, np.where(labels >= 0, writings.confidence, 0.0))

    def predict_one(self, inputs: Inputs) -> tuple[int, float]:
        """Answer one input with a label.

        Raises:
            EngineError: The engine cannot be asked.
        """
        labels, confidence = self.predict([inputs])
        return int(labels[0]), float(confidence[0])

    def write(self, inputs: Sequence[Inputs]) -> Writings:
        """Answer a batch with texts.

        Raises:
            EngineError: The engine cannot be asked.
        """
        rows, written = ask_all(self._writer, self._model, self.settings.asking, inputs)
        answers, confidence = [""] * len(inputs), np.zeros(len(inputs))
        if rows:
            confidence[rows] = self._agreement.confidence(evidence(written))
        for row, answer in zip(rows, written, strict=True):
            answers[row] = answer.text
            if not usable(answer, self.settings.asking.form, self.settings.asking.folds):
                confidence[row] = 0.0
        return Writings(answers, confidence)

    def state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Return what to save; the adapter's files are copied beside it."""
        return msgspec.to_builtins(self.settings), {
            "agreement.mean": self._agreement.mean,
            "agreement.scale": self._agreement.scale,
            "agreement.coefficients": self._agreement.coefficients,
        }

    @classmethod
    def from_state(
        cls,
        settings: dict[str, Any],
        arrays: dict[str, npt.NDArray[Any]],
        *,
        adapter: Path,
        writer: Writer,
        model: str,
    ) -> "LmStudent":
        """Rebuild a saved student.

        Raises:
            StudentFileError: A part is missing.
        """
        try:
            known = msgspec.convert(settings, LmSettings)
            agreement = Agreement(
                arrays["agreement.mean"],
                arrays["agreement.scale"],
                arrays["agreement.coefficients"],
                known.intercept,
            )
        except (KeyError, msgspec.ValidationError) as error:
            raise StudentFileError(f"The student's files lack a part: {error}") from None
        return cls(known, agreement, adapter=adapter, writer=writer, model=model)


def ask_all(
    writer: Writer,
    model: str,
    asking: Asking,
    inputs: Sequence[Inputs],
    progress: Progress = silent,
) -> tuple[list[int], list[Written]]:
    """Ask a writer about all inputs that may be asked about, telling how far it is.

    Returns:
        Index of those inputs, and what was written to each.
    """
    asks = [(row, ask) for row, values in enumerate(inputs) if (ask := asking.ask(values, model))]
    rows: list[int] = []
    written: list[Written] = []
    with Step(progress, "asking the model", len(asks), "requests") as step:
        for at in range(0, len(asks), AT_ONCE):
            part = asks[at : at + AT_ONCE]
            for (row, _), found in zip(part, _write(writer, [ask for _, ask in part]), strict=True):
                if found is not None:
                    rows.append(row)
                    written.append(found)
            step(at + len(part))
    return rows, written


def _write(writer: Writer, asks: Sequence[Ask]) -> Sequence[Written | None]:
    """Write answers; None for an ask that the engine refuses, as one too long for it."""
    try:
        return writer.write(asks)
    except RequestError:
        if len(asks) == 1:
            return [None]
    return [one for ask in asks for one in _write(writer, [ask])]


def usable(written: Written, form: AnswerForm, folds: tuple[str, ...] = ()) -> bool:
    """Whether what was written is an answer: not cut off, not empty, of its form."""
    if written.finish != "stop" or not written.text.strip():
        return False
    return form != "record" or record_of(Answer(written.text), folds) is not None


def canonical(text: str, form: AnswerForm, folds: tuple[str, ...] = ()) -> str:
    """Return a text as the task's form and folds compare it."""
    return canonical_answer(Answer(text), form, folds)
