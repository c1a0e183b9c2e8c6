"""The gateway as an ASGI app: its routes, and what runs beside them."""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp

from openwheel.endpoints import Teacher
from openwheel.errors import OpenwheelError
from openwheel.gateway.asgi import not_found
from openwheel.gateway.audit import Audits
from openwheel.gateway.capture import Capture
from openwheel.gateway.chat import ChatCompletions
from openwheel.gateway.forward import Forward
from openwheel.gateway.health import Counts, Health
from openwheel.loop.serving import Serving
from openwheel.traffic.exchange import Exchange
from openwheel.wire import APIS

logger = logging.getLogger(__name__)

_DRAIN_S = 10.0


def create_app(
    teacher: Teacher,
    serving: Serving,
    capture: Capture | None = None,
    *,
    students: Callable[[], Mapping[str, str]] = dict,
    rng: Callable[[], float] = random.random,
    refresh_every: float = 1.0,
    max_body: int = 32 << 20,
    routes: Sequence[BaseRoute] = (),
) -> ASGIApp:
    """Return the gateway as an ASGI app.

    Args:
        teacher: Closed when the app stops.
        serving: Decides who answers. ``decide`` runs on the event loop; ``refresh`` in a thread,
            beside it.
        capture: Takes the exchanges; flushed when the app stops, closed by whoever made it.
        students: The promoted students, task name to student id, for ``/healthz``.
        rng: Draws from [0, 1) for the audit coin.
        refresh_every: Seconds between looks for promotions and demotions.
        max_body: The most bytes a request's body may have.
        routes: More routes, e.g. a dashboard's; they come before the gateway's own.
    """
    counts = Counts()
    poll = _Poll(serving, counts, refresh_every)

    def deliver(exchange: Exchange) -> None:
        if capture is not None:
            capture.put(exchange)

    audits = Audits(teacher, counts, deliver)

    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        poll.start()
        try:
            yield
        finally:
            await poll.stop()
            await audits.drain(_DRAIN_S)
            await teacher.close()
            if capture is not None and not await asyncio.to_thread(capture.flush, _DRAIN_S):
                logger.error("Capture: not everything could be written before the gateway stopped")

    completions = [
        Route(
            api.path,
            ChatCompletions(
                teacher=teacher,
                serving=serving,
                counts=counts,
                audits=audits,
                deliver=deliver,
                rng=rng,
                max_body=max_body,
                api=api,
            ),
        )
        for api in APIS.values()
    ]
    return Router(
        [
            *routes,
            *completions,
            Route("/healthz", Health(counts, capture, students, poll.well)),
            Route("/v1/{path:path}", Forward(teacher, counts, max_body)),
        ],
        redirect_slashes=False,
        default=not_found,
        lifespan=lifespan,
    )


class _Poll:
    """Looks for promotions and demotions, in a thread so that no request waits for it."""

    def __init__(self, serving: Serving, counts: Counts, every: float) -> None:
        self._serving = serving
        self._counts = counts
        self._every = every
        self._task: asyncio.Task[None] | None = None
        self._problem = ""

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._task.add_done_callback(self._ended)

    def well(self) -> bool:
        return self._task is not None and not self._task.done() and not self._problem

    async def stop(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self._serving.refresh)
            except (OpenwheelError, OSError) as error:
                self._counts.refresh_errors += 1
                if str(error) != self._problem:  # once, not every second
                    self._problem = str(error)
                    logger.error("Promotions could not be looked up: %s", error)
            else:
                self._problem = ""
            await asyncio.sleep(self._every)

    @staticmethod
    def _ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.critical("Promotions are no longer picked up; restart", exc_info=error)
