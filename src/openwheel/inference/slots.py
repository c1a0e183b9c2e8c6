"""Which of llama.cpp's slots answers a request: one that remembers its prompt, where there is one.

A slot remembers the prompt it read last, and reads no more than what is new in the next. A task's
requests begin alike, so they are kept to as few slots as their number at a time needs.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Hashable

from openwheel.errors import EngineError


class SlotsFullError(EngineError):
    """More requests wait than may."""


class Slots:
    """Slots and who has them.

    Args:
        count: How many there are.
        most_waiting: How many requests may wait for one.
    """

    def __init__(self, count: int, most_waiting: int) -> None:
        self._keys: list[Hashable] = [None] * count
        self._used = [0] * count
        self._free = set(range(count))
        self._changed = asyncio.Condition()
        self._most_waiting = most_waiting
        self._waiting = self._clock = 0

    @property
    def busy(self) -> int:
        """How many are answering."""
        return len(self._keys) - len(self._free)

    @contextlib.asynccontextmanager
    async def take(self, key: Hashable) -> AsyncIterator[int]:
        """Hold a slot while the block lasts.

        Args:
            key: Requests with the same key begin alike.

        Raises:
            SlotsFullError: All are busy, and too many wait.
        """
        if not self._free and self._waiting >= self._most_waiting:
            raise SlotsFullError(
                f"{self._waiting} requests wait already: there is room for no more"
            )
        self._waiting += 1
        try:
            async with self._changed:
                await self._changed.wait_for(lambda: self._free)
                slot = self._best(key)
                self._free.remove(slot)
        finally:
            self._waiting -= 1
        try:
            yield slot
        finally:
            self._clock += 1
            self._keys[slot], self._used[slot] = key, self._clock
            self._free.add(slot)
            async with self._changed:
                self._changed.notify()

    def _best(self, key: Hashable) -> int:
        """Return the slot that had such a request last, else the one unused for longest."""
        same = [slot for slot in self._free if self._keys[slot] == key]
        if same:
            return max(same, key=self._used.__getitem__)
        return min(self._free, key=self._used.__getitem__)
