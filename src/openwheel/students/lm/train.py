"""Training an adapter in a process of its own, and following it.

The learner's process needs no torch for it, and a gateway beside it keeps its memory and most of
its processor. The process may be killed at any time: the same order again goes on from its last
checkpoint and ends with the same weights.
"""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

import msgspec

from openwheel.errors import ModelError
from openwheel.settings import LmSection
from openwheel.students.lm.examples import Record
from openwheel.students.lm.order import (
    ADAPTER,
    EVENTS,
    ORDER,
    RECORDS,
    Done,
    Event,
    Failed,
    Order,
    Report,
)

LAST_WORDS = 20
"""Lines of a process's last messages that an error repeats."""

LATE_S = 60.0
"""Seconds beyond its time limit after which a process that does not end by itself is killed."""


def place_order(
    folder: Path,
    records: Sequence[Record],
    settings: LmSection,
    *,
    checkpoint_s: float = 60.0,
) -> Order:
    """Write an order's files.

    Args:
        folder: The work folder of this run, or of an earlier one of the same order to go on with.
        records: The exchanges.
        settings: The settings of the rung.
        checkpoint_s: Seconds of work that a killed run may have to do again.

    Raises:
        ModelError: They cannot be written.
    """
    encoder = msgspec.json.Encoder()
    content = encoder.encode_lines(records)
    order = Order(
        folder=str(folder),
        settings=settings,
        records_sha256=sha256(content).hexdigest(),
        deadline_s=settings.time_limit,
        checkpoint_s=checkpoint_s,
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in ((RECORDS, content), (ORDER, encoder.encode(order))):
            part = folder / f"{name}.new"
            part.write_bytes(data)
            os.replace(part, folder / name)
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
    with contextlib.ExitStack() as stack:
        log = stack.enter_context((order.path / "log.txt").open("w+b"))
        process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "openwheel.students.lm.work", str(order.path / ORDER)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **environment(order.settings)},
            )
        )
        stack.callback(process.kill)  # before it is waited for, whatever happened here
        if order.deadline_s:
            watch = threading.Timer(order.deadline_s + LATE_S, process.kill)
            watch.start()
            stack.callback(watch.cancel)
        report: Report | None = None
        assert process.stdout is not None
        for line in process.stdout:
            event = EVENTS.decode(line)
            if isinstance(event, Failed):
                raise ModelError(event.message)
            if isinstance(event, Done):
                report = event.report
            elif tell is not None:
                tell(event)
        status = process.wait()
        if report is None:
            log.seek(0)
            last = log.read().decode(errors="replace").strip().splitlines()[-LAST_WORDS:]
            how = f"by signal {-status}" if status < 0 else f"with status {status}"
            often = ". Signal 9 is mostly the system's, for want of memory" if status == -9 else ""
            words = ": " + last[-1] if last else ""
            raise ModelError(f"The process that trains ended {how}{words}{often}")
    return order.path / ADAPTER, report


def environment(settings: LmSection) -> dict[str, str]:
    """Return what must be set before torch is imported.

    Threads that spin while they wait for each other make a busy machine several times slower.
    """
    threads = str(settings.threads or max(1, (os.cpu_count() or 2) - 1))
    return {
        "OMP_WAIT_POLICY": "PASSIVE",
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
