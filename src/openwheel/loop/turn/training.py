"""Training a task's best student as a computation, which may be carried out on another machine.

What crosses is `order.json`, the exchanges, and the encoder; back come the students' folders and
what else `train_best` returns. Exchanges and results are MessagePack: exact numbers, and no code.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

import msgspec
import numpy as np

from openwheel import __version__
from openwheel.errors import ModelError, SettingError, StudentFileError
from openwheel.executors import RESULTS, Needs
from openwheel.gate import Plan
from openwheel.job import ORDER
from openwheel.loop.data import TaskData
from openwheel.loop.judging import TeacherJudge
from openwheel.loop.records import Slicer, TaskRecord
from openwheel.loop.settings import LoopSettings
from openwheel.loop.subject import Subject
from openwheel.loop.turn.choose import Stream, Trained, train_best
from openwheel.progress import Progress
from openwheel.students import load_student, rungs, save_student
from openwheel.students.onnx_encoder import GRAPH, TOKENIZER, OnnxEncoder
from openwheel.students.student import Inputs
from openwheel.tasks import FORMS
from openwheel.trust import Policy

Kind = TypeVar("Kind", bound=msgspec.Struct)

EXCHANGES, RESULT = "exchanges.msgpack", "result.msgpack"
"""The files of the exchanges, and of the result; a student's folder is beside that."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to train.

    Attributes:
        version: Of the Openwheel that orders; another one would train another student.
        record: The task.
        settings: The user's settings, as far as training needs them.
        expected: See `train_best`.
        anytime: See `train_best`.
        share: See `train_best`.
        encoder: The encoder's name, ``""`` if there is none.
        encoder_sent: Whether its files in ONNX lie beside; else it is opened by its name.
    """

    version: str
    record: TaskRecord
    settings: LoopSettings
    expected: int
    anytime: bool
    share: float
    encoder: str = ""
    encoder_sent: bool = False


class Exchanges(msgspec.Struct, frozen=True):
    """What to train on: see `train_best`."""

    training: TaskData
    untrained: TaskData
    calibration: list[Inputs]


class Outcome(NamedTuple):
    """What training a task gave.

    Attributes:
        trained: The best student, None if no rung found anything to learn.
        trouble: The steps that failed, in a sentence each.
    """

    trained: Trained | None
    trouble: tuple[str, ...]


class _Student(msgspec.Struct, frozen=True):
    """A trained student: its folder's files with their sha256, and the rest of `Trained`."""

    files: dict[str, str]
    variables: tuple[int, ...]
    plan: Plan
    slicer: Slicer
    coverage: float
    growth: float | None
    agreement: float
    evidence: int
    enough: int
    stream: Stream
    blame: str


class _Result(msgspec.Struct, frozen=True):
    """What a job writes: the best student first, and why nothing could be trained."""

    students: tuple[_Student, ...] = ()
    trouble: tuple[str, ...] = ()
    unsuited: str = ""


class Training(msgspec.Struct, frozen=True, kw_only=True):
    """Trains each rung on a task's exchanges, and returns the best: see `train_best`.

    Attributes:
        subject: The task.
        training: See `train_best`.
        untrained: See `train_best`.
        calibration: See `train_best`.
        progress: Called with each step.
        expected: See `train_best`.
        anytime: See `train_best`.
        share: See `train_best`.
    """

    module: ClassVar[str] = "openwheel.loop.turn.training_job"

    subject: Subject
    training: TaskData
    untrained: TaskData
    calibration: Sequence[Inputs]
    progress: Progress
    expected: int = 0
    anytime: bool = False
    share: float = 1.0

    @property
    def name(self) -> str:
        """What it does, as a sentence begins."""
        return f"Training a student of the task {self.subject.record.task.name}"

    @property
    def needs(self) -> Needs:
        """What it needs of a machine: a GPU only where a rung is built on a model."""
        settings = self.subject.settings
        return Needs(
            cpus=settings.job_cpus,
            memory=settings.job_memory,
            gpus=settings.job_gpus if self._on_a_model else 0.0,
        )

    @property
    def _on_a_model(self) -> bool:
        """Whether a rung is built on an encoder or a language model."""
        return any(rungs()[rung].base for rung in self.subject.rungs)

    def here(self) -> Outcome:
        """Train in this process."""
        trouble: list[str] = []
        trained = train_best(
            self.subject,
            self.training,
            self.untrained,
            self.calibration,
            expected=self.expected,
            anytime=self.anytime,
            share=self.share,
            progress=self.progress,
            trouble=trouble.append,
        )
        return Outcome(trained, tuple(trouble))

    def place(self, folder: Path) -> bool:
        """Write order, exchanges and encoder.

        What is trained here: a few labels, in less time than a job takes to start; and a task whose
        answers a teacher judges.
        """
        subject, encoder = self.subject, self.subject.resources.encoder
        few = len(self.training) < subject.settings.job_least
        if few and FORMS[subject.record.form].closed and not self._on_a_model:
            return False
        if isinstance(subject.comparison, TeacherJudge):
            return False
        body = encoder.body if isinstance(encoder, OnnxEncoder) else None
        record, settings = subject.record, subject.settings
        order = Order(
            version=__version__,
            record=record,
            # Neither prices nor terms, nor what is set for other tasks, is needed to train.
            settings=msgspec.structs.replace(
                settings,
                policy=Policy(),
                prices={},
                tasks={record.task.name: settings.task(record.task.name)},
            ),
            expected=self.expected,
            anytime=self.anytime,
            share=self.share,
            encoder="" if encoder is None else encoder.name,
            encoder_sent=body is not None,
        )
        exchanges = Exchanges(self.training, self.untrained, list(self.calibration))
        try:
            (folder / ORDER).write_bytes(msgspec.json.encode(order))
            (folder / EXCHANGES).write_bytes(packed(exchanges))
            if body is not None:
                (folder / GRAPH).write_bytes(body.graph)
                (folder / TOKENIZER).write_bytes(body.tokenizer)
        except OSError as error:
            raise ModelError(f"{self.name}: its files cannot be written: {error}") from None
        return True

    def read(self, folder: Path) -> Outcome:
        """Return what a job wrote, with the students loaded as a gateway loads them.

        Raises:
            SettingError: The rules for fields do not suit the teacher's answers.
        """
        try:
            result = unpacked((folder / RESULTS / RESULT).read_bytes(), _Result)
        except (OSError, msgspec.DecodeError, ValueError) as error:
            raise ModelError(f"{self.name}: its result cannot be read: {error}") from None
        if result.unsuited:
            raise SettingError(result.unsuited)
        trained = [
            self._load(folder / RESULTS / f"student-{i}", student)
            for i, student in enumerate(result.students)
        ]
        if not trained:
            return Outcome(None, result.trouble)
        best = msgspec.structs.replace(trained[0], others=tuple(trained[1:]))
        return Outcome(best, result.trouble)

    def _load(self, folder: Path, student: _Student) -> Trained:
        resources = self.subject.resources
        rest = {name: getattr(student, name) for name in student.__struct_fields__}
        del rest["files"]
        serve = None if resources.adapters is None else resources.adapters.serve
        try:
            loaded = load_student(
                folder, student.files, resources.encoder, serve, resources.encoders
            )
        except StudentFileError as error:
            raise ModelError(f"{self.name}: {error}") from None
        return Trained(student=loaded, files=folder, **rest)


def write_result(folder: Path, train: Callable[[], Outcome]) -> None:
    """Train, and write the result into the folder of results."""
    try:
        trained, trouble = train()
    except SettingError as error:
        (folder / RESULT).write_bytes(packed(_Result(unsuited=str(error))))
        return
    students = []
    for i, each in enumerate(() if trained is None else (trained, *trained.others)):
        files = save_student(each.student, folder / f"student-{i}")
        rest = {name: getattr(each, name) for name in _Student.__struct_fields__ if name != "files"}
        students.append(_Student(files=files, **rest))
    (folder / RESULT).write_bytes(packed(_Result(tuple(students), trouble)))


class _Array(NamedTuple):
    dtype: Literal["<i8", "<f8", "|b1"]
    content: bytes


def packed(value: msgspec.Struct) -> bytes:
    """Return a struct with arrays as MessagePack."""

    def pack(array: Any) -> _Array:
        if not isinstance(array, np.ndarray) or array.ndim != 1:
            raise TypeError(f"what crosses must be arrays of one dimension, one was {array!r}")
        return _Array(array.dtype.newbyteorder("<").str, array.tobytes())

    return msgspec.msgpack.encode(value, enc_hook=pack)


def unpacked(content: bytes, kind: type[Kind]) -> Kind:
    """Return a struct from what `packed` returned.

    Raises:
        msgspec.DecodeError: It is not one.
    """

    def unpack(_: Any, value: Any) -> Any:
        array = msgspec.convert(value, _Array)
        return np.frombuffer(array.content, np.dtype(array.dtype)).copy()

    return msgspec.msgpack.decode(content, type=kind, dec_hook=unpack)
