"""Starts and follows a process that tunes an encoder or writes it as ONNX."""

import contextlib
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file

from openwheel.errors import ModelError
from openwheel.job import Job, started
from openwheel.students.encoder import SentenceEncoder, TextEncoder
from openwheel.students.onnx_encoder import GRAPH, TOKENIZER, Body, OnnxEncoder
from openwheel.students.tune.order import (
    EVENTS,
    Done,
    Event,
    Fold,
    Order,
    seen_file,
)

_log = logging.getLogger("openwheel.students")

Tell = Callable[[Event], None]


class Seen(NamedTuple):
    """Texts as a body sees them.

    Attributes:
        vectors: Unit vectors of all texts, shape (n, dimensions).
        prototypes: Direction of each answer, unit length, shape (answers, dimensions).
    """

    vectors: npt.NDArray[np.float32]
    prototypes: npt.NDArray[np.float32]


class Following:
    """A process that trains an encoder, as it is followed; calls wait for what is not done yet.

    Attributes:
        folder: Where its files come.
        report: Its last message; None before its end.
    """

    def __init__(self, folder: str, job: Job[Event], tell: Tell | None) -> None:
        self.folder = Path(folder)
        self._job = job
        self._tell = tell
        self._folds: set[int] = set()
        self.report: Done | None = None

    def read(self, name: str, fold: int | None = None) -> dict[str, npt.NDArray[np.float32]]:
        """Return the arrays in a file, once what a fold needs is written, or all is.

        Raises:
            ModelError: The process failed, ended or took too long; or the file cannot be read.
        """
        while (fold is None or fold not in self._folds) and self.report is None:
            self._next()
        try:
            found: dict[str, npt.NDArray[np.float32]] = load_file(self.folder / name)
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{name} of the trained encoder cannot be read: {error}") from None
        return found

    def body(self, graph: str) -> Body:
        """Return the trained encoder's files, at the end.

        Raises:
            ModelError: The process failed, ended or took too long; or a file cannot be read.
        """
        while self.report is None:
            self._next()
        try:
            return Body(*((self.folder / name).read_bytes() for name in (graph, TOKENIZER)))
        except OSError as error:
            raise ModelError(f"The encoder in ONNX cannot be read: {error}") from None

    def _next(self) -> None:
        """Wait for the next message of the process."""
        event = self._job.next()
        if isinstance(event, Fold):
            self._folds.add(event.fold)
        if isinstance(event, Done):
            self.report = event
        if self._tell is not None:
            self._tell(event)


class Tuning:
    """A process that trains an encoder to give vectors."""

    def __init__(self, order: Order, following: Following) -> None:
        self._order = order
        self._following = following

    @property
    def report(self) -> Done | None:
        """Its last message; None before its end."""
        return self._following.report

    def fold(self, fold: int) -> Seen:
        """Return the texts as seen by a body that has not seen a fold.

        Raises:
            ModelError: The process failed, ended or took too long; or has no such fold.
        """
        found = self._following.read(seen_file(fold), fold)
        return Seen(found["vectors"], found["prototypes"])

    def whole(self) -> tuple[OnnxEncoder, Seen]:
        """Return the encoder that was trained on all texts, and the texts as it sees them.

        Raises:
            ModelError: The process failed, ended or took too long.
            SettingError: The extra is not installed.
        """
        encoder = self.encoder()
        prototypes = self._following.read(seen_file(None))["prototypes"]
        return encoder, Seen(encoder.embed(self._order.texts), prototypes)

    def encoder(self) -> OnnxEncoder:
        """Return the encoder.

        Raises:
            ModelError: The process failed, ended or took too long.
            SettingError: The extra is not installed.
        """
        return OnnxEncoder(self._order.encoder, self._following.body(GRAPH))


@contextlib.contextmanager
def carrying_out(order: Order, tell: Tell | None = None) -> Iterator[Tuning]:
    """Start a process on an order, whose folder exists and stays; it ends with the block."""
    with started(
        "openwheel.students.tune.work",
        order,
        Path(order.folder),
        EVENTS,
        name="Training the encoder",
        limit_s=order.deadline_s,
    ) as job:
        yield Tuning(order, Following(order.folder, job, tell))


def onnx_encoder(name: str, texts: Sequence[str] = ()) -> OnnxEncoder:
    """Return an encoder of a hub id or folder in ONNX, tried on texts of the task.

    Raises:
        ModelError: It cannot be loaded, or cannot be written as ONNX.
        SettingError: The extra is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="openwheel-encoder-") as folder:
        order = Order(folder=folder, encoder=name, texts=tuple(texts))
        with carrying_out(order) as tuning:
            return tuning.encoder()


def open_encoder(name: str) -> TextEncoder:
    """Return an encoder of a hub id or folder, in ONNX if possible: it answers without torch.

    Raises:
        SettingError: The extra is not installed, or this is no encoder that can be loaded.
    """
    try:
        return onnx_encoder(name)
    except ModelError as error:
        encoder = SentenceEncoder(name)  # says what is wrong, if that is not ONNX alone
        _log.warning("students with the encoder %s will need torch to answer: %s", name, error)
        return encoder
