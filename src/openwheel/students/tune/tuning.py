"""Having an encoder tuned or written as ONNX in a process of its own, and following it."""

import contextlib
import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file

from openwheel.errors import ModelError
from openwheel.students.encoder import SentenceEncoder, TextEncoder
from openwheel.students.onnx_encoder import GRAPH, TOKENIZER, Body, OnnxEncoder
from openwheel.students.tune.order import (
    EVENTS,
    ORDER,
    Done,
    Event,
    Failed,
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
    """A process at work; what it has not done yet is waited for.

    Attributes:
        report: What it said at its end; None before.
    """

    def __init__(
        self, order: Order, process: "subprocess.Popen[bytes]", log: IO[bytes], tell: Tell | None
    ) -> None:
        self._order = order
        self._process = process
        self._log = log
        self._tell = tell
        self._folds: set[int] = set()
        self._late = False
        self.report: Done | None = None

    def fold(self, fold: int) -> Seen:
        """Return what a body that has not seen a fold makes of the texts.

        Raises:
            ModelError: The process failed, ended or took too long; or has no such fold.
        """
        while fold not in self._folds:
            self._next()
        found = self._read(seen_file(fold))
        return Seen(found["vectors"], found["prototypes"])

    def whole(self) -> tuple[OnnxEncoder, Seen]:
        """Return the encoder that was trained on all texts, and what it makes of them.

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

    def too_late(self) -> None:
        """End the process: its time is up."""
        self._late = True
        self._process.kill()

    def _next(self) -> None:
        """Wait for the next thing that the process tells."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):  # its end, perhaps in the middle of a word
            raise ModelError(self._ended())
        event = EVENTS.decode(line)
        if isinstance(event, Failed):
            raise ModelError(event.message)
        if isinstance(event, Fold):
            self._folds.add(event.fold)
        if isinstance(event, Done):
            self.report = event
        if self._tell is not None:
            self._tell(event)

    def _ended(self) -> str:
        status = self._process.wait()
        if self._late:
            return (
                f"Training the encoder must take at most {self._order.deadline_s:g} s; it did not"
            )
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        return f"The process that trains the encoder ended {how}" + (
            f": {lines[-1]}" if lines else ""
        )


@contextlib.contextmanager
def carrying_out(order: Order, tell: Tell | None = None) -> Iterator[Tuning]:
    """Start a process on an order; it is ended with the block, and its folder is the caller's.

    Args:
        order: What to do; its folder must exist.
        tell: Told of progress, whenever something is waited for.

    Raises:
        ModelError: It cannot be started.
    """
    path = Path(order.folder, ORDER)
    with contextlib.ExitStack() as stack:
        try:
            path.write_bytes(msgspec.json.encode(order))
            log = stack.enter_context(Path(order.folder, "log.txt").open("w+b"))
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "openwheel.students.tune.work", str(path)],
                    stdin=subprocess.PIPE,  # closed when this process ends, however it does
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env={**os.environ, **_environment()},
                )
            )
        except OSError as error:
            raise ModelError(f"Training the encoder cannot be started: {error}") from None
        stack.callback(process.kill)  # before it is waited for, whatever happened here
        tuning = Tuning(order, process, log, tell)
        if order.deadline_s:
            timer = threading.Timer(order.deadline_s, tuning.too_late)
            timer.daemon = True
            timer.start()
            stack.callback(timer.cancel)
        yield tuning


def onnx_encoder(name: str, texts: Sequence[str] = ()) -> OnnxEncoder:
    """Return an encoder as it is, in ONNX.

    Args:
        name: Hub id or folder of the encoder.
        texts: Texts of the task, to try it on.

    Raises:
        ModelError: It cannot be loaded, or not be written as ONNX.
        SettingError: The extra is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="openwheel-encoder-") as folder:
        order = Order(folder=folder, encoder=name, texts=tuple(texts))
        with carrying_out(order) as tuning:
            return tuning.encoder()


def open_encoder(name: str) -> TextEncoder:
    """Return an encoder: in ONNX, so that students keep it and answer without torch, if it can be.

    Args:
        name: Hub id or folder of the encoder.

    Raises:
        SettingError: The extra is not installed, or this is no encoder that can be loaded.
    """
    try:
        return onnx_encoder(name)
    except ModelError as error:
        encoder = SentenceEncoder(name)  # says what is wrong, if that is not ONNX alone
        _log.warning("students with the encoder %s will need torch to answer: %s", name, error)
        return encoder


def _environment() -> dict[str, str]:
    """Return what must be set before torch is imported.

    Threads that spin while they wait for each other make a busy machine several times slower, and
    more than half of its processors belong to those who answer, unless whoever starts this one
    was told otherwise.
    """
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, (os.cpu_count() or 2) // 2))
    return {
        "OMP_WAIT_POLICY": "PASSIVE",
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
