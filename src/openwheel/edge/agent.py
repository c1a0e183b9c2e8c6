"""The edge itself: a gateway whose teacher is the upstream gateway, and what it does in outages."""

import asyncio
import collections
import hashlib
import logging
import math
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Self, TypeVar

import msgspec
from starlette.types import Scope, Send

from openwheel.edge.link import Link
from openwheel.edge.shelf import Opened
from openwheel.edge.spool import Spool, Waiting
from openwheel.errors import StoreError, TeacherError
from openwheel.gateway.asgi import JSON, header, send_body
from openwheel.gateway.call import Call
from openwheel.gateway.edges import ANYBODY, ASKS, EXCHANGE, TEACHER
from openwheel.gateway.forward import passable, target
from openwheel.gateway.metric import Metric, Sample
from openwheel.loop.resources import Resources
from openwheel.loop.route import Route, as_audit, by_teacher
from openwheel.loop.serving import Decision, Pending, RegistryServing
from openwheel.store import Exchange
from openwheel.teachers import (
    Headers,
    HttpTeacher,
    TeacherNotReachedError,
    TeacherRequest,
    TeacherResponse,
)
from openwheel.wire import Answer, Request, without_stream

logger = logging.getLogger(__name__)

_KEPT_HEADERS: Final = ("content-type", "anthropic-version", "anthropic-beta", "x-openwheel-task")
_LOOK_S: Final = 0.25
_REMEMBERED_S: Final = 900.0
_MOST_REMEMBERED: Final = 20_000
_Done = TypeVar("_Done")
_NO_ROUTE: Final = Route(held_back=False, audited=False, unbiased=False)


class EdgeServing:
    """Serves the students of the bundle in use; see `Serving`.

    None answers once the upstream was unheard for too long.
    """

    def __init__(self, opened: Opened, edge: str, resources: Resources) -> None:
        self._resources = resources
        self._edge = edge
        self._registry_serving = RegistryServing(opened.registry, resources)
        # The gateway looks too: one that began to read before a demotion must not end after it.
        self._lock = threading.Lock()
        self.unheard = False

    def swap(self, opened: Opened) -> None:
        """Serve another bundle from now on."""
        with self._lock:
            self._registry_serving = RegistryServing(opened.registry, self._resources)

    def named(self, edge: str) -> None:
        """Note the name that this edge has upstream, by which students may leave its requests."""
        self._edge = edge

    def refresh(self) -> bool:
        """See `Serving.refresh`."""
        with self._lock:
            return self._registry_serving.refresh()

    def students(self) -> Mapping[str, str]:
        """Return the student that answers each task, by the task's name."""
        return {} if self.unheard else self._registry_serving.students()

    def broken(self) -> Mapping[str, str]:
        """Return why students cannot be used, by the name of their task."""
        return self._registry_serving.broken()

    def decide(self, request: Request, task: str = "", key: str = "") -> Decision | Pending:  # noqa: ARG002
        """See `Serving.decide`; upstream the key of every client here is that of the edge."""
        if self.unheard:
            return Decision(reason="unheard")
        return self._registry_serving.decide(request, task, self._edge)


class UpstreamTeacher:
    """The upstream gateway as a teacher; fails at once while the link is down. See `Teacher`."""

    def __init__(self, teacher: HttpTeacher, link: Link) -> None:
        self._teacher = teacher
        self._link = link

    async def close(self) -> None:
        """Close every connection."""
        await self._teacher.close()

    async def send(self, request: TeacherRequest) -> TeacherResponse:
        """Send one request; one that waits for its answer is broken off when the link goes down."""
        if not self._link.up:
            raise TeacherNotReachedError(f"The link is down: {self._link.error}")
        started = time.monotonic()
        try:
            response = await _while_up(self._link, self._teacher.send(request), started)
        except TeacherNotReachedError as error:
            self._link.lost(str(error))
            raise
        if response.status == 401:
            response.close()
            raise TeacherError("The upstream gateway refuses the key of this edge (status 401)")
        watched = _Watched(response.chunks, self._link, started)
        return msgspec.structs.replace(response, chunks=watched)


class _Watched:
    """The body of an answer, which breaks off when the link goes down."""

    def __init__(self, chunks: AsyncIterator[bytes], link: Link, started: float) -> None:
        self._chunks = chunks
        self._link = link
        self._started = started

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        return await _while_up(self._link, self._chunks.__anext__(), self._started)


async def _while_up(link: Link, work: Awaitable[_Done], started: float) -> _Done:
    """Wait for something that comes over the link, as long as it is there.

    A cable that is pulled says nothing: only the link's own looks notice.

    Raises:
        TeacherError: The link has gone down since a time of `time.monotonic`.
    """
    task = asyncio.ensure_future(work)
    try:
        while True:
            await asyncio.wait([task], timeout=_LOOK_S)
            if task.done():
                return task.result()
            if not link.up and link.down_since > started:
                raise TeacherError(f"The link went down: {link.error}")
    finally:
        task.cancel()


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
            waiting = _waiting(
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
            some = _part_of(call, picked)
            self._keep(_waiting(some, target(scope), passable(scope, call.key), picked))
        self._remember(call)

    def audit(self, call: Call, path: str, headers: Headers) -> None:
        """See `EdgeSide.audit`."""
        parts = call.parts or (call,)
        self._keep(_waiting(call, path, headers, parts, audit=True))

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


def _part_of(call: Call, parts: Sequence[Call]) -> Call:
    """Return the call that has some of the questions of another."""
    if len(parts) == len(call.parts) or not call.parts or call.api.questions is None:
        return call
    places = [call.parts.index(part) for part in parts]
    return msgspec.structs.replace(
        call, body=call.api.questions.only(call.body, places), parts=tuple(parts)
    )


def _waiting(
    call: Call, path: str, headers: Headers, parts: Sequence[Call], *, audit: bool = False
) -> Waiting:
    """Return a request as it is kept until it can be asked."""
    body = without_stream(call.body) if call.stream else call.body
    exchanges: list[Exchange] = []
    if call.captured:
        for part in parts:
            exchange = Exchange(
                id=part.id,
                time=part.time,
                request=b"" if len(parts) == 1 else part.body,
                api=part.api.name,
                answer=Answer(""),
                source="teacher",
                task=part.task,
                key=part.key.name if part.key else "",
            )
            exchange = by_teacher(exchange, part.decision, part.route)
            exchanges.append(as_audit(exchange) if audit else exchange)
    return Waiting(
        api=call.api.name,
        path=path,
        headers=tuple(
            (name.decode(), value.decode("latin-1"))
            for name, value in headers
            if name.decode("latin-1") in _KEPT_HEADERS
        ),
        marks=tuple((name.decode(), value.decode()) for name, value in call.marks),
        body=body,
        model=call.model,
        exchanges=tuple(exchanges),
    )


# fmt: off
METRICS: Final[tuple[Metric[Mapping[str, Any]], ...]] = (
    Metric("openwheel_edge_link_up", "Whether the upstream gateway answers: 1 or 0.",
           lambda report: float(report["link"] == "up")),
    Metric("openwheel_edge_unheard",
           "Whether students stopped since the upstream was not heard for too long: 1 or 0.",
           lambda report: float(report["unheard"])),
    Metric("openwheel_edge_unsent", "Exchanges that the upstream does not have yet.",
           lambda report: report["exchanges"]),
    Metric("openwheel_edge_waiting", "Requests that the upstream is still to be asked.",
           lambda report: report["waiting"]),
    Metric("openwheel_edge_spool_bytes", "What the spool takes on the disk.",
           lambda report: report["bytes"]),
    Metric("openwheel_edge_spool_most_bytes", "What the spool may take on the disk.",
           lambda report: report["most_bytes"]),
    Metric("openwheel_edge_sent_total", "Exchanges that the upstream has taken.",
           lambda report: report["sent"]),
    Metric("openwheel_edge_refused_total", "Exchanges and requests that it does not take.",
           lambda report: report["refused"]),
    Metric("openwheel_edge_deleted_total",
           "Exchanges that were deleted for want of room before they were sent, by kind.",
           lambda report: [((kind,), report[f"deleted_{kind}"])
                           for kind in ("student", "teacher", "audits")],
           ("kind",)),
    Metric("openwheel_edge_lost_audits_total", "Audits for which there was no room at all.",
           lambda report: report["lost_audits"]),
    Metric("openwheel_edge_given_up_total", "Requests that waited and were given up.",
           lambda report: report["given_up"]),
)
# fmt: on
