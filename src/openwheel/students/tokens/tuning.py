"""Starts and follows a process that tunes an encoder on records."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from openwheel.job import started
from openwheel.students.tokens.order import TokenOrder, scores_file
from openwheel.students.tokens.reader import TAGGER, Scores, TokenReader
from openwheel.students.tune.order import EVENTS
from openwheel.students.tune.tuning import Following, Tell


class TokenTuning:
    """A process at work; calls wait for the parts that are not done yet."""

    def __init__(self, following: Following) -> None:
        self._following = following

    def fold(self, fold: int) -> Scores:
        """Return what a body that has not seen a fold says of its texts.

        Raises:
            ModelError: The process failed, ended or took too long.
        """
        found = self._following.read(scores_file(fold), fold)
        return Scores(found["tags"], found["labels"])

    def reader(self) -> TokenReader:
        """Return the encoder that was tuned on all texts.

        Raises:
            ModelError: The process failed, ended or took too long.
            SettingError: The extra is not installed.
        """
        return TokenReader(self._following.body(TAGGER))


@contextlib.contextmanager
def tuning_tokens(order: TokenOrder, tell: Tell | None = None) -> Iterator[TokenTuning]:
    """Start a process on an order, whose folder exists and stays; it ends with the block."""
    with started(
        "openwheel.students.tokens.work",
        order,
        Path(order.folder),
        EVENTS,
        name="Training the encoder",
        limit_s=order.deadline_s,
    ) as job:
        yield TokenTuning(Following(order.folder, job, tell))
