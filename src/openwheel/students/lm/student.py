"""The rung ``lm``: a student that asks a small language model with an adapter."""

import shutil
from collections.abc import Sequence
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
from openwheel.students.lm.prompt import Asking
from openwheel.students.rung import Saved, names_in, sha256_of
from openwheel.students.student import Answers, Inputs
from openwheel.tasks import FORMS, Form, canonical_answer
from openwheel.trust import Base
from openwheel.wire import Answer

ADAPTER = "adapter"
"""The folder of the adapter in a student's folder."""

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
        base_fingerprint: Of the base that its answers came from when its confidence was fitted,
            as the writer told it; ``""`` if it told none.
    """

    asking: Asking
    answers: tuple[str, ...]
    intercept: float
    base: str
    base_revision: str = ""
    model_type: str = ""
    base_fingerprint: str = ""


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
        self._labels = frozenset(settings.answers)

    def answer(self, inputs: Sequence[Inputs]) -> Answers:
        """Answer a batch.

        Raises:
            EngineError: The engine cannot be asked.
        """
        asking = self.settings.asking
        rows, written = ask_all(self._writer, self._model, asking, inputs)
        texts, confidence = [""] * len(inputs), np.zeros(len(inputs))
        if rows:
            confidence[rows] = self._agreement.confidence(evidence(written))
        for row, answer in zip(rows, written, strict=True):
            texts[row] = answer.text
            if not usable(answer, asking.form, asking.folds):
                confidence[row] = 0.0
        if FORMS[asking.form].closed:
            texts = [canonical(text, asking.form, asking.folds) for text in texts]
            texts = [text if text in self._labels else "" for text in texts]
            confidence[[not text for text in texts]] = 0.0
        return Answers(texts, confidence)

    def answer_one(self, inputs: Inputs) -> tuple[str, float]:
        """Answer one input.

        Raises:
            EngineError: The engine cannot be asked.
        """
        texts, confidence = self.answer([inputs])
        return texts[0], float(confidence[0])

    def base(self) -> Base:
        """Return the language model."""
        known = self.settings
        return Base(
            id=known.base,
            kind="lm",
            revision=known.base_revision,
            fingerprint=known.base_fingerprint,
        )

    def write_files(self, folder: Path) -> None:
        """Copy the adapter's folder."""
        shutil.copytree(self.adapter, folder / ADAPTER)

    def state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Return what to save beside the adapter."""
        return msgspec.to_builtins(self.settings), self._agreement.arrays("agreement")

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
            agreement = Agreement.read(arrays, "agreement", known.intercept)
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


def usable(written: Written, form: Form, folds: tuple[str, ...] = ()) -> bool:
    """Whether what was written is an answer: not cut off, not empty, of its form."""
    if written.finish != "stop" or not written.text.strip():
        return False
    return not FORMS[form].why_unusable(written.text, folds)


def canonical(text: str, form: Form, folds: tuple[str, ...] = ()) -> str:
    """Return a text as the task's form and folds compare it."""
    return canonical_answer(Answer(text), form, folds)


def load_lm(saved: Saved) -> LmStudent:
    """Rebuild a saved student, if its adapter is whole and nothing was added to it.

    Raises:
        StudentFileError: A part is missing or another one, or there is no engine for it.
        EngineError: Its adapter cannot be served.
    """
    if saved.serve is None:
        raise StudentFileError("there is no engine for it: [lm] has no base")
    adapter = saved.folder / ADAPTER
    there = {f"{ADAPTER}/{name}" for name in names_in(adapter)}
    wanted = {name for name in saved.expected if name.startswith(f"{ADAPTER}/")}
    for name in sorted(there | wanted):
        if name not in wanted:
            raise StudentFileError(f"{name} was added since it was saved")
        if name not in there:
            raise StudentFileError(f"{name} is missing")
        if sha256_of(saved.folder / name) != saved.expected[name]:
            raise StudentFileError(f"{name} was changed since it was saved")
    served = saved.serve(adapter)
    student = LmStudent.from_state(
        saved.settings, saved.arrays, adapter=adapter, writer=served.writer, model=served.model
    )
    fitted = student.settings.base_fingerprint
    if fitted and served.base != fitted:
        raise StudentFileError(
            f"its answers were judged on another base ({fitted[:12]}) than the one that is served "
            f"now ({served.base[:12] or 'unknown'}): serve that one, or train it again"
        )
    return student
