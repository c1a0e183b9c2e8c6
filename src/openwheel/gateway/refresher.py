"""Refreshes promotions, keys and what keys have spent, every second."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from openwheel.errors import OpenwheelError
from openwheel.gateway.meter import Meter

logger = logging.getLogger(__name__)


class Refresher:
    """Calls functions in a thread every second, so no request waits for them.

    Args:
        meter: Counts failures.
        look: The functions to call; one that fails does not keep the others from being called.
        every: Seconds between calls.
    """

    def __init__(self, meter: Meter, look: Sequence[Callable[[], object]], every: float) -> None:
        self._meter = meter
        self._look = look
        self._every = every
        self._task: asyncio.Task[None] | None = None
        self._problems: dict[int, str] = {}

    def start(self) -> None:
        """Begin, on the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._task.add_done_callback(self._ended)

    def problem(self) -> str:
        """Return the present problem, ``""`` if there is none."""
        if self._task is None or self._task.done():
            return "Changes are no longer picked up; restart"
        return "; ".join(self._problems.values())

    async def stop(self) -> None:
        """End."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
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
            await asyncio.sleep(self._every)

    @staticmethod
    def _ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.critical("Changes are no longer picked up; restart", exc_info=error)
