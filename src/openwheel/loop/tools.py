"""What rungs need from outside to train and to answer: an encoder, and an engine."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from openwheel.students.encoder import SentenceEncoder, TextEncoder

if TYPE_CHECKING:
    from openwheel.loop.settings import LoopSettings


class Tools(msgspec.Struct, frozen=True):
    """What rungs need from outside.

    Attributes:
        encoder: The sentence encoder of the rung ``encoder``; to answer, students load the one
            they were trained with where none is given.
    """

    encoder: TextEncoder | None = None


NO_TOOLS = Tools()


@contextlib.contextmanager
def open_tools(settings: "LoopSettings") -> Iterator[Tools]:
    """Load what the settings ask for, until the block ends.

    Raises:
        SettingError: It cannot be loaded.
    """
    yield Tools(encoder=SentenceEncoder(settings.encoder) if "encoder" in settings.rungs else None)
