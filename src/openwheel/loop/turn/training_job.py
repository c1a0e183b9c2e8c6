"""Trains a task's best student in a process: ``python -m openwheel.loop.turn.training_job ORDER``.

Its data lies beside the order, and its result goes there; see `openwheel.loop.turn.training`.
"""

import contextlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from openwheel import __version__
from openwheel.errors import ModelError
from openwheel.executors import RESULTS
from openwheel.executors.events import Done, Event, Said
from openwheel.job import run_job
from openwheel.loop.resources import Resources, adapters_of
from openwheel.loop.subject import Subject, comparison_of
from openwheel.loop.turn.training import (
    EXCHANGES,
    Exchanges,
    Order,
    Outcome,
    Training,
    unpacked,
    write_result,
)
from openwheel.students import rungs
from openwheel.students.encoder import TextEncoder
from openwheel.students.onnx_encoder import GRAPH, TOKENIZER, Body, Encoders, OnnxEncoder
from openwheel.students.tune.tuning import open_encoder


def carry_out(order: Order, folder: Path, tell: Callable[[Event], None]) -> None:
    """Train in a folder, and tell that it is done.

    Raises:
        ModelError: Another version of Openwheel ordered it, or files cannot be read or written.
        SettingError: An extra is missing here.
    """
    if order.version != __version__:
        raise ModelError(
            f"A job of Openwheel {order.version} must run on a machine with that version; here is "
            f"{__version__}"
        )
    exchanges = unpacked((folder / EXCHANGES).read_bytes(), Exchanges)

    def progress(
        step: str,
        done: float | None = None,
        total: float | None = None,
        unit: str = "",
        about: str = "",
        /,
    ) -> None:
        tell(Said(step, done, total, unit, about))

    settings = order.settings
    with contextlib.ExitStack() as stack:
        encoder = _encoder(order, folder)
        based = any(rungs()[rung].base == "lm" for rung in settings.rungs_for(order.record.form))
        adapters = adapters_of(settings.lm, settings.engine, stack) if based else None
        subject = Subject(
            order.record,
            settings,
            Resources(encoder, adapters, Encoders()),
            comparison_of(order.record, settings, encoder),
            folder / "work",
        )

        def train() -> Outcome:
            return Training(
                subject=subject,
                training=exchanges.training,
                untrained=exchanges.untrained,
                calibration=exchanges.calibration,
                progress=progress,
                expected=order.expected,
                anytime=order.anytime,
                share=order.share,
            ).here()

        write_result(folder / RESULTS, train)
    tell(Done())


def _encoder(order: Order, folder: Path) -> TextEncoder | None:
    """Return the encoder that was sent, or open the one that was named."""
    if order.encoder_sent:
        body = Body((folder / GRAPH).read_bytes(), (folder / TOKENIZER).read_bytes())
        return OnnxEncoder(order.encoder, body)
    return open_encoder(order.encoder) if order.encoder else None


if __name__ == "__main__":
    at = Path(sys.argv[1]).parent
    sys.exit(
        run_job(
            Order,
            lambda order, tell: carry_out(order, at, tell),
            alone=lambda _: shutil.rmtree(at, ignore_errors=True),
        )
    )
