"""Beginnings that prompts share, kept so that a model reads them once.

A task's prompts begin alike. Where two prompts have been seen to, what the model remembers of
that beginning is kept, within a bound of memory; the least recently used goes first.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

_RECENT = 64
_MOST_KEPT = 64
SHORTEST = 16
"""Beginnings of fewer tokens are read again: looking after them costs as much."""

Tokens = NDArray[np.int64]


class _Kept(msgspec.Struct, eq=False):
    adapter: str
    tokens: Tokens
    cache: Any
    size: int
    used: int


class Prefixes:
    """What is remembered of beginnings.

    Args:
        most_bytes: The most memory they may take; 0 keeps none.
        sliceable: Whether a shorter beginning can be cut out of a longer one.

    Attributes:
        read: Tokens of prompts that were asked about.
        spared: How many of them need not be read.
    """

    def __init__(self, most_bytes: int, *, sliceable: bool) -> None:
        self._most_bytes = most_bytes
        self._sliceable = sliceable
        self._kept: list[_Kept] = []
        self._recent: deque[tuple[str, Tokens]] = deque(maxlen=_RECENT)
        self._clock = 0
        self.read = 0
        self.spared = 0

    @property
    def held_bytes(self) -> int:
        """Bytes held."""
        return sum(one.size for one in self._kept)

    def note(self, adapter: str, prompt: Sequence[int]) -> int:
        """Remember that a prompt was asked.

        Returns:
            How many of its first tokens an earlier prompt had too; 0 where so few of them are not
            known yet that keeping them is not worth it.
        """
        tokens = np.asarray(prompt, dtype=np.int64)
        if not self._most_bytes:
            return 0
        shared = max(
            (common_start(seen, tokens) for name, seen in self._recent if name == adapter),
            default=0,
        )
        self._recent.append((adapter, tokens))
        shared = min(shared, len(tokens) - 1)
        _, known = self._best(adapter, tokens)
        return shared if shared - known >= SHORTEST else 0

    def find(self, adapter: str, prompt: Sequence[int]) -> tuple[Any, int]:
        """Return what is remembered of a prompt's first tokens, and how many of them.

        The last token is never among them: its logits are what is wanted.
        """
        tokens = np.asarray(prompt, dtype=np.int64)
        best, known = self._best(adapter, tokens)
        self.read += len(tokens)
        self.spared += known
        if best is None:
            return None, 0
        self._clock += 1
        best.used = self._clock
        return best.cache, known

    def put(self, adapter: str, prompt: Sequence[int], cache: Any, size: int) -> None:
        """Keep what a model remembers of a beginning, ``size`` bytes of it."""
        tokens = np.asarray(prompt, dtype=np.int64)
        if size > self._most_bytes:
            return
        self._kept = [one for one in self._kept if not self._covers(tokens, adapter, one)]
        self._clock += 1
        self._kept.append(_Kept(adapter, tokens, cache, size, self._clock))
        while self.held_bytes > self._most_bytes or len(self._kept) > _MOST_KEPT:
            self._kept.remove(min(self._kept, key=lambda one: one.used))

    def forget(self, adapter: str | None = None) -> None:
        """Forget what belongs to an adapter, or everything."""
        self._kept = [one for one in self._kept if adapter not in {None, one.adapter}]

    def _best(self, adapter: str, tokens: Tokens) -> tuple[_Kept | None, int]:
        best: _Kept | None = None
        known = 0
        for one in self._kept:
            if one.adapter != adapter:
                continue
            common = min(common_start(one.tokens, tokens), len(tokens) - 1)
            if common > known and (self._sliceable or common == len(one.tokens)):
                best, known = one, common
        return best, known

    def _covers(self, tokens: Tokens, adapter: str, one: _Kept) -> bool:
        """Whether a new beginning makes an old one needless."""
        if one.adapter != adapter or len(one.tokens) > len(tokens):
            return False
        same = common_start(one.tokens, tokens) == len(one.tokens)
        return same and (self._sliceable or len(one.tokens) == len(tokens))


def common_start(first: Tokens, second: Tokens) -> int:
    """Return how many tokens two texts have in common at their beginning."""
    size = min(len(first), len(second))
    differ = np.flatnonzero(first[:size] != second[:size])
    return int(differ[0]) if len(differ) else size
