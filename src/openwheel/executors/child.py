"""Carries out a job in a child process of this one, in a folder that holds its files."""

from pathlib import Path
from typing import Final

import msgspec

from openwheel.errors import ModelError
from openwheel.executors.events import EVENTS, Done, Said
from openwheel.job import ORDER, started
from openwheel.progress import Progress, silent

RESULTS: Final = "results"
"""The folder in a job's folder that its module writes its result into."""


def carry_out(
    module: str, folder: Path, *, name: str, threads: int = 0, progress: Progress = silent
) -> None:
    """Run a job's module on the order in a folder, and wait until its result is there.

    Args:
        module: See `Computation`.
        folder: Holds the order and the data.
        name: The work, as a sentence begins.
        threads: How many compute at once; 0: see `job.started`.
        progress: Is told how far it is.

    Raises:
        ModelError: The work failed.
        JobDiedError: Its process was killed or crashed.
    """
    try:
        order = msgspec.Raw((folder / ORDER).read_bytes())
        (folder / RESULTS).mkdir()
    except OSError as error:
        raise ModelError(f"{name}: its folder cannot be used: {error}") from None
    with started(module, order, folder, EVENTS, name=name, threads=threads) as job:
        while not isinstance(event := job.next(), Done):
            if isinstance(event, Said):
                progress(event.step, event.done, event.total, event.unit, event.about)
