"""Training an adapter in a process of its own, and following it.

The learner's process needs no torch for it, and a gateway beside it keeps its memory and most of
its processor. The process may be killed at any time: the same order again goes on from its last
checkpoint and ends with the same weights.
"""

import os
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

import msgspec

from openwheel.errors import ModelError
from openwheel.job import started
from openwheel.settings import LmSection
from openwheel.students.lm.examples import Record
from openwheel.students.lm.order import (
    ADAPTER,
    EVENTS,
    RECORDS,
    Done,
    Event,
    Order,
    Report,
    threads_of,
)

LATE_S = 900.0
"""Seconds beyond its time limit after which a process is killed: in these it loads the base, takes
the pass that is measured, and writes its adapter."""


def place_order(
    folder: Path,
    records: Sequence[Record],
    settings: LmSection,
    *,
    checkpoint_s: float = 60.0,
) -> Order:
    """Write the records of an order, and return it.

    Args:
        folder: The work folder of this run, or of an earlier one of the same order to go on with.
        records: The exchanges.
        settings: The settings of the rung.
        checkpoint_s: Seconds of work that a killed run may have to do again.

    Raises:
        ModelError: They cannot be written.
    """
    content = msgspec.json.Encoder().encode_lines(records)
    order = Order(
        folder=str(folder),
        settings=settings,
        records_sha256=sha256(content).hexdigest(),
        deadline_s=settings.time_limit,
        checkpoint_s=checkpoint_s,
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f"{RECORDS}.new"
        part.write_bytes(content)
        os.replace(part, folder / RECORDS)
    except OSError as error:
        raise ModelError(f"The exchanges cannot be written to {folder}: {error}") from None
    return order


def train_adapter(order: Order, tell: Callable[[Event], None] | None = None) -> tuple[Path, Report]:
    """Train in a process of its own, and wait for it.

    Args:
        order: What :func:`place_order` wrote.
        tell: Is told of progress.

    Returns:
        The adapter's folder, and the report.

    Raises:
        ModelError: The run cannot go on; the message says why.
    """
    with started(
        "openwheel.students.lm.work",
        order,
        order.path,
        EVENTS,
        name="Training the model",
        threads=threads_of(order.settings),
        limit_s=order.deadline_s,
        grace_s=LATE_S,
    ) as job:
        while not isinstance(event := job.next(), Done):
            if tell is not None:
                tell(event)
    return order.path / ADAPTER, event.report
