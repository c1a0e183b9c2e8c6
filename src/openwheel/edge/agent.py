"""Does what the gateway of an edge does otherwise: marks, keeps, and answers in outages."""

import asyncio
import collections
import hashlib
import logging
import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import msgspec
from starlette.types import Scope, Send

from openwheel.edge.link import Link
from openwheel.edge.metrics import METRICS
from openwheel.edge.serving import EdgeServing
from openwheel.edge.spool import Spool
from openwheel.edge.waiting import Waiting, part_of, waiting_for
from openwheel.errors import StoreError
from openwheel.gateway.asgi import JSON, header, send_body
from openwheel.gateway.call import Call
from openwheel.gateway.edges import ANYBODY, ASKS, EXCHANGE, TEACHER
from openwheel.gateway.forward import passable, target
from openwheel.gateway.metric import Metric, Sample
from openwheel.loop.route import Route
from openwheel.loop.serving import Decision
from openwheel.teachers import Headers

logger = logging.getLogger(__name__)

_REMEMBERED_S: Final = 900.0
_MOST_REMEMBERED: Final = 20_000
_NO_ROUTE: Final = Route(held_back=False, audited=False, unbiased=False)


class Edge:
    """What the gateway of an edge does otherwise; see `EdgeSide`.

    Args:
        spool: Keeps what is still to be asked.
        link: Says whether the link is up.
        serving: Says whether students answer.
        poll: Seconds between looks at the link, after which a client may come back.
        queue: Whether requests that nobody can answer are sent later unasked.
    """

    def __init__(
        self, spool: Spool, link: Link, serving: EdgeServing, *, poll: float, queue: bool
    ) -> None:
        self._spool = spool
        self._link = link
        self._serving = serving
        self._retry_after = max(1, math.ceil(poll))
        self._queue = queue
        self._writer = ThreadPoolExecutor(1, "openwheel-queue")
        self._refused: collections.OrderedDict[bytes, float] = collections.OrderedDict()
        self.lost_audits = 0
        self.metrics: Sequence[Metric[Any]] = METRICS

    def close(self) -> None:
        """Wait until all that is to be kept is on disk."""
        self._writer.shutdown()

    def mark(self, call: Call) -> None:
        """See `EdgeSide.mark`.

        A request that a student was asked about is decided here: a teacher answers it upstream, and
        the exchange is kept here. Any other is the upstream's own.

        A request that was refused during an outage, and comes again, had its coin then.
        """
        parts = call.parts or (call,)
        if all(_is_upstreams(part.decision) for part in parts):
            call.captured = False
            call.marks = [(ASKS, ANYBODY), (EXCHANGE, call.id.encode())]
            return
        call.marks = [(ASKS, TEACHER)]
        if self._was_refused(call):
            for part in (call, *call.parts):
                part.route = _NO_ROUTE

    async def unanswered(self, scope: Scope, send: Send, call: Call, reason: str) -> bool:
        """See `EdgeSide.unanswered`: 503, or 202 where the request is sent later."""
        wants = self._queue or b"respond-async" in header(scope, b"prefer").lower()
        if wants and call.request is not None:
            waiting = waiting_for(
                call, target(scope), passable(scope, call.key), call.parts or (call,)
            )
            if await self._kept(call.id, waiting, promised=True):
                call.status = 202
                said = {"object": "openwheel.queued", "id": call.id, "status": "queued"}
                applied = (b"preference-applied", b"respond-async")
                await send_body(send, 202, msgspec.json.encode(said), [JSON, applied])
                return True
        self.broke_off(scope, call)
        call.status, call.error = 503, reason
        down = not self._link.up
        why = "The link to the upstream gateway is down" if down else "No teacher answered upstream"
        full = ", and no more requests can be kept" if wants else ""
        body = call.api.error(
            f"{why}{full}; no certified student answers this request.",
            type="teacher_error",
            code="link_down" if down else reason,
        )
        retry = str(self._retry_after).encode()
        await send_body(send, 503, body, [JSON, (b"retry-after", retry)])
        return True

    def broke_off(self, scope: Scope, call: Call) -> None:
        """See `EdgeSide.broke_off`."""
        parts = call.parts or (call,)
        picked = [part for part in parts if part.route.unbiased and part.decision.student]
        if picked:
            some = part_of(call, picked)
            self._keep(waiting_for(some, target(scope), passable(scope, call.key), picked))
        self._remember(call)

    def audit(self, call: Call, path: str, headers: Headers) -> None:
        """See `EdgeSide.audit`."""
        parts = call.parts or (call,)
        self._keep(waiting_for(call, path, headers, parts, audit=True))

    def report(self) -> Mapping[str, Any]:
        """See `EdgeSide.report`."""
        backlog = self._spool.backlog()
        return {
            "ok": self._link.up and not self._serving.unheard and not self._link.problem(),
            "link": "up" if self._link.up else "down",
            "down_s": 0.0 if self._link.up else round(time.monotonic() - self._link.down_since, 1),
            "link_error": self._link.error,
            "problem": self._link.problem(),
            "unheard": self._serving.unheard,
            "lost_audits": self.lost_audits,
            **msgspec.structs.asdict(backlog),
            **msgspec.structs.asdict(self._spool.counts),
        }

    def samples(self) -> list[Sample]:
        """See `EdgeSide.samples`."""
        report = self.report()
        return [sample for metric in METRICS for sample in metric.samples(report)]

    async def _kept(self, identity: str, waiting: Waiting, *, promised: bool) -> bool:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(
                self._writer, lambda: self._spool.wait(identity, waiting, promised=promised)
            )
        except StoreError as error:
            logger.error("A request cannot be kept: %s", error)
            return False

    def _keep(self, waiting: Waiting) -> None:
        """Keep what the coin picked; the client does not wait for it."""

        def keep() -> None:
            try:
                kept = self._spool.wait(waiting.exchanges[0].id, waiting)
            except StoreError as error:
                kept = False
                logger.error("An audit cannot be kept: %s", error)
            if not kept:
                self.lost_audits += 1

        self._writer.submit(keep)

    def _was_refused(self, call: Call) -> bool:
        refused = self._refused.get(_same(call))
        return refused is not None and time.monotonic() - refused < _REMEMBERED_S

    def _remember(self, call: Call) -> None:
        if not any(part.decision.student for part in call.parts or (call,)):
            return
        self._refused[_same(call)] = time.monotonic()
        while len(self._refused) > _MOST_REMEMBERED:
            self._refused.popitem(last=False)


def _is_upstreams(decision: Decision) -> bool:
    """Whether no student here had to do with a request.

    Where one failed on it, the request itself may have been why: then the upstream's own coin would
    be for such requests alone.
    """
    return not decision.student and decision.audit_probability == 1


def _same(call: Call) -> bytes:
    key = call.key.name if call.key else ""
    return hashlib.sha256(key.encode() + b"\0" + call.body).digest()[:16]
