"""Keeps the board current, within a limited share of one processor.

A board is made anew only while somebody looks, when the store has changed, and not before enough
time has passed since the last one for its cost.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from openwheel.console.board import Board, make_board
from openwheel.console.counts import Counts
from openwheel.store import Store

LEAST_WAIT_S: Final = 2.0
SHARE: Final = 0.01
"""Of one processor, for boards that nobody waits for."""
MOST_AT_ONCE: Final = 200_000
"""Exchanges counted in one look: about half a second."""


class Watch:
    """Makes boards for any number of open consoles; safe in threads.

    Args:
        store: Only read.
        prices: Dollars for a million tokens, read and written, by endpoint.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        store: Store,
        prices: Mapping[str, tuple[float, float]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._counts = Counts(store, prices)
        self._clock = clock
        self._lock = threading.Lock()
        self._boards: dict[float, tuple[float, int, Board]] = {}
        self._looked: tuple[float, float] = (-1e9, 0.0)

    @property
    def counts(self) -> Counts:
        """The counts; hold `lock` while you read them."""
        return self._counts

    @property
    def lock(self) -> threading.Lock:
        """Held while boards are made."""
        return self._lock

    def board(self, days: float, *, fresh: bool = False) -> Board:
        """Return the board of a range, made before or now.

        Args:
            days: The range, up to now.
            fresh: Whether a change that was just made has to be in it.

        Raises:
            StoreError: The store cannot be read.
        """
        with self._lock:
            known = self._boards.get(days)
            now = self._clock()
            if known is not None and not fresh:
                made, changed, board = known
                wait = max(LEAST_WAIT_S, board.seconds / SHARE)
                if now - made < (LEAST_WAIT_S if board.behind else wait):
                    return board
                if changed == self._store.changed() and not board.behind:
                    return board
            changed = self._store.changed()
            began = time.thread_time()
            self._counts.look(most=MOST_AT_ONCE)
            counting = time.thread_time() - began
            board = make_board(self._store, self._counts, days=days, counting=counting)
            self._boards[days] = self._clock(), changed, board
            return board
