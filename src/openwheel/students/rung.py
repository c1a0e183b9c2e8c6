"""Defines a rung as data: the forms it learns, how it is asked, trained and loaded."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import numpy.typing as npt

from openwheel.errors import StudentFileError
from openwheel.inference.writer import Writer
from openwheel.progress import Progress, silent
from openwheel.settings import LmSection
from openwheel.students.encoder import TextEncoder
from openwheel.students.onnx_encoder import Encoders
from openwheel.students.student import Fitted, Inputs, Student
from openwheel.students.tune.order import Tune
from openwheel.tasks import Form, Template
from openwheel.tasks.compare import PLAIN, FieldSettings

Losses = Callable[[Sequence[int], Sequence[str]], Sequence[float]]
"""Says of rows of the exchanges, and of what a student answered to each, how far those answers are
from the teacher's, in [0, 1]."""


class Served(NamedTuple):
    """Who answers for a language-model student.

    Attributes:
        writer: Writes its answers.
        model: The writer's name of the adapter.
        base: Fingerprint of the base that the writer has, ``""`` if it tells none.
    """

    writer: Writer
    model: str
    base: str = ""


Serve = Callable[[Path], Served]
"""Serves an adapter's folder for as long as its student is used."""


class Lesson(msgspec.Struct, frozen=True, kw_only=True):
    """The data and resources for training; a rung reads the parts it needs.

    Attributes:
        inputs: Values of the task's variables, in order of arrival, shape (n,).
        answers: The teacher's canonical answers, shape (n,).
        variables: Which of the variables are read.
        form: The task's answer form.
        folds: The folds of answers.
        template: The task's prompt template; None if its requests have none in common.
        surfaces: The teacher's usual spelling of each canonical answer.
        thoughts: The teacher's reasoning before its answer, by row.
        probabilities: Of canonical answers, as the teacher gave them with its answer, by row.
        losses_of: Returns losses of answers; None: canonical answers must be equal.
        by_field: How records are compared.
        encoder: The sentence encoder of the settings.
        tune: How to train the encoder on the task; None leaves it as it is.
        lm: The settings of the rung ``lm``.
        serve: Serves a trained adapter; None where there is no engine.
        work: Folder for a training under way; an earlier run of the same lesson is continued.
        progress: Called with the steps that take long.
    """

    inputs: Sequence[Inputs]
    answers: Sequence[str]
    variables: tuple[int, ...]
    form: Form = "label"
    folds: tuple[str, ...] = ()
    template: Template | None = None
    surfaces: Mapping[str, str] = {}
    thoughts: Mapping[int, str] = {}
    probabilities: Mapping[int, Mapping[str, float]] = {}
    losses_of: Losses | None = None
    by_field: FieldSettings = PLAIN
    encoder: TextEncoder | None = None
    tune: Tune | None = None
    lm: LmSection = LmSection()
    serve: Serve | None = None
    work: Path = Path()
    progress: Progress = silent


class Saved(NamedTuple):
    """A saved student that is being loaded; only files with the certified hash are used.

    Attributes:
        settings: As its `state` gave them.
        arrays: As its `state` gave them.
        folder: Its folder.
        expected: The sha256 of each of its files, by name.
        read: Returns a file's bytes if they are the expected ones; raises a StudentFileError.
        encoder: An encoder to use instead of loading the one it was trained with.
        encoders: Encoders in use, which students share.
        serve: Serves an adapter's folder; None where there is no engine.
    """

    settings: dict[str, Any]
    arrays: dict[str, npt.NDArray[Any]]
    folder: Path
    expected: Mapping[str, str]
    read: Callable[[str], bytes]
    encoder: TextEncoder | None
    encoders: Encoders
    serve: Serve | None


class Rung(NamedTuple):
    """A kind of student.

    Attributes:
        name: As settings, certificates and files have it.
        forms: The answer forms that it learns.
        train: Trains a student. Raises a ValueError if there is nothing to learn, an EngineError
            or a ModelError if a resource cannot be used.
        load: Rebuilds a saved student. Raises a StudentFileError if a part is missing.
        format: Of its files; raised when files from before can no longer be read.
        new_inputs: Whether it answers inputs that it has not seen.
        base: Its base: the settings' ``encoder`` or ``lm``, ``""`` for none.
        asked: How it is asked: ``at once`` in microseconds, in a ``thread`` since it takes
            milliseconds, or ``remote`` since another process answers and takes seconds.
    """

    name: str
    forms: frozenset[Form]
    train: Callable[[Lesson], Fitted]
    load: Callable[[Saved], Student]
    format: int = 1
    new_inputs: bool = True
    base: Literal["", "encoder", "lm"] = ""
    asked: Literal["at once", "thread", "remote"] = "at once"


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, as hex."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StudentFileError(f"{path} cannot be read: {error}") from None


def names_in(folder: Path) -> list[str]:
    """Return the files in a folder and those below it, by their names in it, ordered."""
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )
