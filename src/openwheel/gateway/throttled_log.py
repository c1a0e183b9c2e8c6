"""Logs repeated warnings at most once in some seconds."""

import logging
import time
from collections.abc import Callable
from typing import Final

_EVERY_S: Final = 10.0


class ThrottledLog:
    """Logs a warning at most once in some seconds, with the number of those in between.

    Args:
        logger: Takes them.
        every: Seconds between two.
        clock: Seconds, from any start.
    """

    def __init__(
        self,
        logger: logging.Logger,
        *,
        every: float = _EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = logger
        self._every = every
        self._clock = clock
        self._next = float("-inf")
        self._left_out = 0

    def warning(self, message: str) -> None:
        """Log a message, unless one was logged shortly before."""
        now = self._clock()
        if now < self._next:
            self._left_out += 1
            return
        self._next = now + self._every
        more = f" ({self._left_out} more since the last such line)" if self._left_out else ""
        self._left_out = 0
        self._logger.warning("%s%s", message, more)
