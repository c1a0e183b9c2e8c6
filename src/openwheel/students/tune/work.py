"""The process that tunes and writes ONNX: ``python -m openwheel.students.tune.work ORDER.json``.

Each file is written beside its place and renamed before it is reported.
"""

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from openwheel.errors import ModelError
from openwheel.job import run_job
from openwheel.students.encoder import SentenceEncoder
from openwheel.students.onnx_encoder import GRAPH, TOKENIZER, OnnxEncoder
from openwheel.students.tune.order import (
    AT_EVERY_S,
    At,
    Done,
    Event,
    Fold,
    Order,
    Step,
    seen_file,
)

Tell = Callable[[Event], None]


class Placed(Protocol):
    """An order: where its files come."""

    @property
    def folder(self) -> str:
        """The folder."""


def clear_up(order: Placed) -> None:
    """Delete all files: the process that gave the order has ended and cannot."""
    shutil.rmtree(order.folder, ignore_errors=True)


def carry_out(order: Order, tell: Tell) -> None:
    """Carry out an order: train, and write the encoder's files to the order's folder.

    Raises:
        ModelError: It cannot be trained or written.
        SettingError: The encoder cannot be loaded.
    """
    encoder = SentenceEncoder(order.encoder)
    model = encoder.model
    if order.labels:
        model = _tune(order, encoder, tell)
    # Here, since it needs more libraries than training does.
    from openwheel.students.tune.export import write_onnx  # noqa: PLC0415

    written = write_onnx(encoder, model, order.texts)
    write(order, GRAPH, written.body.graph)
    write(order, TOKENIZER, written.body.tokenizer)
    tell(Done(written.precision, written.likeness, time.process_time()))


def _tune(order: Order, encoder: SentenceEncoder, tell: Tell) -> Any:
    """Train a body for each fold, and one on all texts, which is returned."""
    from safetensors.numpy import save  # noqa: PLC0415

    from openwheel.students.tune.export import write_onnx  # noqa: PLC0415
    from openwheel.students.tune.train import Place, Texts, tune, vectors_of  # noqa: PLC0415

    place = Place()
    texts = Texts(encoder, order.texts, order.labels, order.weights, order.answers)
    start = vectors_of(encoder.model.to(place.device), texts, place)
    encoder.model.cpu()
    folds = np.array(order.folds, np.int64)
    learned = np.array(order.labels, np.int64) >= 0
    names = [*sorted(set(order.folds)), None]
    sizes = [int(learned[folds != (-1 if fold is None else fold)].sum()) for fold in names]
    steps = Steps(sum(order.recipe.steps(size) for size in sizes), tell)

    def body(fold: int | None, name: str) -> tuple[Any, npt.NDArray[np.float32]]:
        def told(number: int, loss: float) -> None:
            if not np.isfinite(loss):
                raise ModelError(f"The loss of {name} must be finite, was {loss}")
            tell(Step(name, number, loss, time.process_time()))

        rows = np.flatnonzero(folds != (-1 if fold is None else fold))
        steps.go_on()
        trained = tune(
            encoder,
            texts,
            rows,
            start,
            recipe=order.recipe,
            place=place,
            tell=told,
            stepped=steps.one_more,
        )
        steps.tell()
        return trained

    for fold in sorted(set(order.folds)):
        model, prototypes = body(fold, f"the body without fold {fold}")
        # By the graph that will be served: in 8 bits.
        written = write_onnx(encoder, model, order.texts)
        vectors = OnnxEncoder(order.encoder, written.body).embed(order.texts)
        write(order, seen_file(fold), save({"vectors": vectors, "prototypes": prototypes}))
        tell(Fold(fold, time.process_time()))
    model, prototypes = body(None, "the body")
    write(order, seen_file(None), save({"prototypes": prototypes}))
    return model


class Steps:
    """Counts the steps of all bodies and their time, and reports them regularly.

    Args:
        total: How many there will be.
        tell: Told.
    """

    def __init__(self, total: int, tell: Tell) -> None:
        self._total = total
        self._tell = tell
        self._done = 0
        self._seconds = 0.0
        self._since = self._told = time.monotonic()

    def go_on(self) -> None:
        """Note that steps follow: the time since the last one does not count."""
        self._since = time.monotonic()

    def one_more(self) -> None:
        """Count a step."""
        now = time.monotonic()
        self._done += 1
        self._seconds += now - self._since
        self._since = now
        if now - self._told >= AT_EVERY_S:
            self.tell()

    def tell(self) -> None:
        """Report how many steps are done."""
        self._told = time.monotonic()
        self._tell(At(self._done, self._total, self._seconds))


def write(order: Placed, name: str, content: bytes) -> None:
    """Write a file of an order beside its place, and rename it."""
    path = Path(order.folder, name)
    part = path.with_suffix(".new")
    part.write_bytes(content)
    os.replace(part, path)


if __name__ == "__main__":
    sys.exit(run_job(Order, carry_out, alone=clear_up))
