"""Compares texts by the cosine of their sentence vectors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from openwheel.errors import SettingError
from openwheel.tasks.compare.comparison import Encoder, Given, Kind, Pair, fingerprint_of, limit
from openwheel.tasks.compare.exact import settled

LONGEST_PIECE = 400
"""Characters that are embedded at once. Encoders read some 256 to 512 tokens and leave out the
rest without a word; a longer text has the mean of its pieces' vectors, and all of it counts."""


class EmbeddingComparison:
    """Two texts agree if the cosine of their vectors is at least a limit.

    Vectors separate topics better than facts: a number or a "not" changes a vector little.
    """

    bounded = False
    equality = False
    free = False

    def __init__(self, at_least: float, encoder: Encoder) -> None:
        """Compare by a limit in (0, 1]."""
        self.at_least = at_least
        self.setting = f"embedding:{at_least:g}"
        self.fingerprint = fingerprint_of("embedding", at_least, encoder.fingerprint, LONGEST_PIECE)
        self._encoder = encoder

    def losses(self, pairs: Sequence[Pair]) -> list[float]:
        """Return 0.0 for texts whose vectors are similar enough, 1.0 for others."""
        settled_losses = [settled(pair) for pair in pairs]
        rows = [i for i, loss in enumerate(settled_losses) if loss is None]
        cosines = self._cosines(
            [pairs[i].teacher.text for i in rows], [pairs[i].student.text for i in rows]
        )
        losses = [1.0 if loss is None else loss for loss in settled_losses]
        for i, cosine in zip(rows, cosines, strict=True):
            losses[i] = float(cosine < self.at_least)
        return losses

    def _cosines(self, first: list[str], second: list[str]) -> list[float]:
        """Return the cosine of each two texts, 0 where one has no direction."""
        texts = list(dict.fromkeys([*first, *second]))
        if not texts:
            return []
        split = [pieces(text) for text in texts]
        vectors: npt.NDArray[Any] = self._encoder.embed([piece for part in split for piece in part])
        starts = np.cumsum([0, *(len(part) for part in split[:-1])])
        sums = np.add.reduceat(vectors.astype(np.float64), starts, axis=0)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        units = np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > 0)
        at = {text: i for i, text in enumerate(texts)}
        return [
            float(units[at[text]] @ units[at[other]])
            for text, other in zip(first, second, strict=True)
        ]


def pieces(text: str) -> list[str]:
    """Return a text in pieces of at most `LONGEST_PIECE` characters, cut between words.

    A word that is longer is cut itself. A text without a word is one empty piece.
    """
    joined: list[str] = []
    for word in text.split():
        for start in range(0, len(word), LONGEST_PIECE):
            part = word[start : start + LONGEST_PIECE]
            if joined and not start and len(joined[-1]) + 1 + len(part) <= LONGEST_PIECE:
                joined[-1] += f" {part}"
            else:
                joined.append(part)
    return joined or [""]


def _make(setting: str, at_least: float, context: Given) -> EmbeddingComparison:
    if context.encoder is None:
        raise SettingError(
            f"compare = {setting!r} needs a sentence encoder: set `encoder` in [loop]"
        )
    return EmbeddingComparison(at_least, context.encoder)


EMBEDDING = Kind("embedding", "embedding:COSINE (above 0, at most 1)", limit, _make)
