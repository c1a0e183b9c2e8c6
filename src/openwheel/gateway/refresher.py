"""Refreshes promotions, keys and what keys have spent: every second, and when told of a change."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence

from openwheel.errors import OpenwheelError
from openwheel.gateway.meter import Meter

logger = logging.getLogger(__name__)

_LISTENS_S = 1.0
"""Seconds after which the thread that waits for changes sees that it is to end."""


class Refresher:
    """Calls functions in a thread every second, so no request waits for them.

    Args:
        meter: Counts failures.
        look: The functions to call; one that fails does not keep the others from being called.
        every: Seconds between calls.
        wait: Returns after so many seconds, sooner if the functions should be called now; it is
            called in a thread of its own. None where nothing tells of changes.
    """

    def __init__(
        self,
        meter: Meter,
        look: Sequence[Callable[[], object]],
        every: float,
        wait: Callable[[float], None] | None = None,
    ) -> None:
        self._meter = meter
        self._look = look
        self._every = every
        self._wait = wait
        self._told = asyncio.Event()
        self._over = threading.Event()
        self._task: asyncio.Task[None] | None = None
        self._problems: dict[int, str] = {}

    def start(self) -> None:
        """Begin, on the running event loop."""
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._run())
        self._task.add_done_callback(self._ended)
        if self._wait is not None:
            threading.Thread(
                target=self._listen, args=(self._wait, loop), name="openwheel-listen", daemon=True
            ).start()

    def problem(self) -> str:
        """Return the present problem, ``""`` if there is none."""
        if self._task is None or self._task.done():
            return "Changes are no longer picked up; restart"
        return "; ".join(self._problems.values())

    async def stop(self) -> None:
        """End."""
        self._over.set()
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            self._told.clear()
            for number, look in enumerate(self._look):
                try:
                    await asyncio.to_thread(look)
                except (OpenwheelError, OSError) as error:
                    self._meter.refresh_errors += 1
                    if str(error) != self._problems.get(number):  # once, not every second
                        self._problems[number] = str(error)
                        logger.error("What was changed could not be looked up: %s", error)
                else:
                    self._problems.pop(number, None)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every):
                    await self._told.wait()

    def _listen(self, wait: Callable[[float], None], loop: asyncio.AbstractEventLoop) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            try:
                wait(_LISTENS_S)
            except OpenwheelError:  # the next look says what is wrong
                self._over.wait(_LISTENS_S)
                continue
            if time.monotonic() - began < _LISTENS_S:
                with contextlib.suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(self._told.set)

    @staticmethod
    def _ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.critical("Changes are no longer picked up; restart", exc_info=error)
