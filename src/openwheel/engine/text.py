"""From tokens to text, as they come: never half a character, never half a stop text."""

import codecs
from collections.abc import Iterable, Sequence
from typing import Any

from openwheel.engine.reasoning import held_back, next_mark


class Vocabulary:
    """What a tokenizer's tokens stand for, and which of them end an answer.

    Args:
        tokenizer: A fast tokenizer.
        ends: Tokens that end an answer.
        kept: Special tokens whose text matters, such as the marks around a thought. The text of
            the others is left out.
        scored: How many tokens the model scores; some tokenizers have more. 0: all.

    Attributes:
        size: How many tokens there are.
        ends: Tokens that end an answer.
        matching: The tokenizer as llguidance knows it.
    """

    def __init__(
        self, tokenizer: Any, ends: Iterable[int], kept: Iterable[str] = (), *, scored: int = 0
    ) -> None:
        import llguidance.hf  # noqa: PLC0415 - only where a model runs

        self.size = min(len(tokenizer), scored or len(tokenizer))
        self.ends = frozenset(ends)
        self.matching: Any = llguidance.hf.from_tokenizer(
            tokenizer, n_vocab=len(tokenizer), eos_token=sorted(self.ends)
        )
        self._bytes: dict[int, bytes] = {}
        kept = frozenset(kept)
        added = tokenizer.added_tokens_decoder
        self._silent = {
            token
            for token, one in added.items()
            if one.special and one.content not in kept and token < self.size
        } | self.ends

    def bytes_of(self, token: int) -> bytes:
        """Return what a token adds to the text."""
        known = self._bytes.get(token)
        if known is None:
            known = b"" if token in self._silent else bytes(self.matching.decode_bytes([token]))
            self._bytes[token] = known
        return known

    def shown(self, token: int) -> str:
        """Return a token's text for lists of log-probabilities, special tokens included."""
        return self.raw(token).decode("utf-8", errors="replace")

    def raw(self, token: int) -> bytes:
        """Return a token's bytes, special tokens included."""
        return bytes(self.matching.decode_bytes([token]))


class Characters:
    """Turns bytes into text; a character whose bytes have not all come waits for the rest."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, data: bytes) -> str:
        """Return the characters that are whole by now."""
        return self._decoder.decode(data)

    def close(self) -> str:
        """Return the rest: half a character becomes U+FFFD."""
        return self._decoder.decode(b"", final=True)


class StopTexts:
    """Ends a text before the first of some stop texts, wherever their characters were split.

    Attributes:
        found: The stop text that was met, ``""`` before that.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._pending = ""
        self.found = ""

    def feed(self, text: str) -> str:
        """Take more of the text, and return what is certainly not part of a stop text."""
        if self.found or not self._stops:
            return "" if self.found else text
        self._pending += text
        at, self.found = next_mark(self._pending, self._stops)
        size = at if self.found else len(self._pending) - held_back(self._pending, self._stops)
        passed, self._pending = self._pending[:size], self._pending[size:]
        return passed

    def close(self) -> str:
        """Return the rest: the text has ended."""
        rest, self._pending = self._pending, ""
        return "" if self.found else rest
