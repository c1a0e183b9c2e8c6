"""One answer while it is written: its tokens become text, thoughts and tool calls."""

import threading
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from openwheel.engine.choose import Chosen
from openwheel.engine.grammar import Matcher
from openwheel.engine.reasoning import Piece, Reader
from openwheel.engine.text import Characters, StopTexts, Vocabulary
from openwheel.errors import OpenwheelError

Finish = Literal["stop", "length"]


class Progress(msgspec.Struct, frozen=True):
    """What a token, or the end, brought.

    Attributes:
        pieces: What is certain by now.
        scored: The token, if it is one of the answer.
        finish: Why the answer has ended, ``""`` while it has not.
        error: Why there is none.
    """

    pieces: tuple[Piece, ...] = ()
    scored: Chosen | None = None
    finish: Finish | Literal[""] = ""
    error: OpenwheelError | None = None


class Answering:
    """Takes the tokens of one answer; see `openwheel.engine.scheduler.Steering`.

    Args:
        vocabulary: What tokens stand for.
        reader: Tells thoughts and tool calls from the answer.
        matcher: Keeps the answer within its form, None for free text. It applies once the model
            has stopped thinking.
        stops: Texts that end the answer.
        top: How many of the most likely tokens are wanted at each place.
        listener: Told of all progress, in the thread that writes.

    Attributes:
        pieces: All pieces so far.
        scored: The answer's tokens so far, with the one that ended it.
        written: Tokens so far.
        finish: Why it ended.
        error: Why there is no answer.
        done: Set when it has ended.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        reader: Reader,
        *,
        matcher: Matcher | None = None,
        stops: Sequence[str] = (),
        top: int = 0,
        listener: Callable[[Progress], None] | None = None,
    ) -> None:
        self._vocabulary = vocabulary
        self._reader = reader
        self._matcher = matcher
        self._characters = Characters()
        self._stops = StopTexts(stops)
        self._top = top
        self._listener = listener
        self.pieces: list[Piece] = []
        self.scored: list[Chosen] = []
        self.written = 0
        self.finish: Finish = "length"
        self.error: OpenwheelError | None = None
        self.done = threading.Event()

    @property
    def top(self) -> int:
        """See `Steering.top`."""
        return self._top

    def allowed(self) -> NDArray[np.bool_] | None:
        """See `Steering.allowed`."""
        return self._matcher.allowed() if self._matcher and self._answers() else None

    def accept(self, chosen: Chosen) -> bool:
        """See `Steering.accept`."""
        self.written += 1
        answers = self._answers()
        scored = chosen if self._reader.kind != "reasoning" else None
        if scored is not None:
            self.scored.append(scored)
        if chosen.token in self._vocabulary.ends:
            self.finish = "stop"
            self._tell(Progress(scored=scored))
            return True
        whole = self._matcher is not None and answers and self._matcher.accept(chosen.token)
        text = self._characters.feed(self._vocabulary.bytes_of(chosen.token))
        pieces = self._passed(self._reader.feed(text)) if text else ()
        if self._listener is not None:
            self._listener(Progress(pieces, scored))
        if whole or self._stops.found:
            self.finish = "stop"
            return True
        return False

    def end(self, error: OpenwheelError | None) -> None:
        """See `Steering.end`."""
        if self.done.is_set():
            return
        self.error = error
        rest = self._passed(self._reader.feed(self._characters.close()))
        rest += self._passed(self._reader.close())
        if last := self._stops.close():
            rest += (Piece("content", last),)
            self.pieces.append(rest[-1])
        self.done.set()
        self._tell(Progress(rest, finish=self.finish, error=error))

    def text(self) -> str:
        """Return the answer."""
        return "".join(piece.text for piece in self.pieces if piece.kind == "content")

    def reasoning(self) -> str:
        """Return what the model thought."""
        return "".join(piece.text for piece in self.pieces if piece.kind == "reasoning").strip()

    def _answers(self) -> bool:
        return self._reader.kind == "content"

    def _passed(self, pieces: Sequence[Piece]) -> tuple[Piece, ...]:
        """Return the pieces that stand before any stop text, and keep them."""
        passed = []
        for piece in pieces:
            kept = piece
            if piece.kind == "content":
                kept = piece._replace(text=self._stops.feed(piece.text))
            if kept.text:
                passed.append(kept)
        self.pieces += passed
        return tuple(passed)

    def _tell(self, progress: Progress) -> None:
        if self._listener is not None:
            self._listener(progress)
