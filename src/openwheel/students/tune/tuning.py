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


class Tuning:
    """A process at work; calls wait for the parts that are not done yet.

    Attributes:
        report: Its last message; None before its end.
    """

    def __init__(self, order: Order, job: Job[Event], tell: Tell | None) -> None:
        self._order = order
        self._job = job
        self._tell = tell
        self._folds: set[int] = set()
        self.report: Done | None = None

    def fold(self, fold: int) -> Seen:
        """Return the texts as seen by a body that has not seen a fold.

        Raises:
            ModelError: The process failed, ended or took too long; or has no such fold.
        """
        while fold not in self._folds:
            self._next()
        found = self._read(seen_file(fold))
        return Seen(found["vectors"], found["prototypes"])

    def whole(self) -> tuple[OnnxEncoder, Seen]:
        """Return the encoder that was trained on all texts, and the texts as it sees them.

        Raises:
            ModelError: The process failed, ended or took too long.
            SettingError: The extra is not installed.
        """
        encoder = self.encoder()
        prototypes = self._read(seen_file(None))["prototypes"]
        return encoder, Seen(encoder.embed(self._order.texts), prototypes)

    def _read(self, name: str) -> dict[str, npt.NDArray[np.float32]]:
        try:
            found: dict[str, npt.NDArray[np.float32]] = load_file(Path(self._order.folder, name))
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{name} of the trained encoder cannot be read: {error}") from None
        return found

    def encoder(self) -> OnnxEncoder:
        """Return the encoder.

        Raises:
            ModelError: The process failed, ended or took too long.
            SettingError: The extra is not installed.
        """
        while self.report is None:
            self._next()
        try:
            body = Body(
                *(Path(self._order.folder, name).read_bytes() for name in (GRAPH, TOKENIZER))
            )
        except OSError as error:
            raise ModelError(f"The encoder in ONNX cannot be read: {error}") from None
        return OnnxEncoder(self._order.encoder, body)

    def _next(self) -> None:
        """Wait for the next message of the process."""
        event = self._job.next()
        if isinstance(event, Fold):
            self._folds.add(event.fold)
        if isinstance(event, Done):
            self.report = event
        if self._tell is not None:
            self._tell(event)


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
        yield Tuning(order, job, tell)


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
