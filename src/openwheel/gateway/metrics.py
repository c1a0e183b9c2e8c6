"""Serves ``GET /metrics``: the counts of all workers, for Prometheus."""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.types import Receive, Scope, Send

from openwheel.access import RefusedError
from openwheel.gateway.asgi import header, method_not_allowed, send_body
from openwheel.gateway.audit_metrics import AuditStatus, audit_samples, left_out_samples
from openwheel.gateway.authorization import Guard, api_of, send_refusal
from openwheel.gateway.edges import EdgeSide
from openwheel.gateway.meter import Snapshot
from openwheel.gateway.metrics_page import metrics_page
from openwheel.gateway.snapshots import Snapshots, keep_writing, merge

if TYPE_CHECKING:
    from openwheel.loop.records import Beyond

logger = logging.getLogger(__name__)


class Metrics:
    """``GET /metrics``; with keys in force, for keys that are not limited.

    Args:
        take: Makes this worker's snapshot, on the event loop.
        guard: Checks keys.
        snapshots: Those of all workers; None for a worker that is alone.
        slot: This worker's number.
        audits: The audit of each task; called in a thread.
        left_out: The tasks left out, likewise.
        edge: The edge that this gateway is part of.
    """

    def __init__(
        self,
        take: Callable[[], Snapshot],
        guard: Guard,
        snapshots: Snapshots | None = None,
        slot: int = 0,
        audits: AuditStatus = tuple,
        *,
        left_out: "Callable[[], Beyond | None]" = lambda: None,
        edge: EdgeSide | None = None,
    ) -> None:
        self._take = take
        self._guard = guard
        self._snapshots = snapshots
        self._slot = slot
        self._audits = audits
        self._left_out = left_out
        self._edge = edge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Answer one request."""
        if scope["method"] not in {"GET", "HEAD"}:
            await method_not_allowed(scope, send, "GET")
            return
        try:
            self._guard.require_unlimited(self._guard.identify(scope))
        except RefusedError as error:
            await send_refusal(send, error, api_of(scope["path"]))
            return
        accept = header(scope, b"accept").decode("latin-1")
        kind, page = await asyncio.to_thread(self._page, self._take(), accept)
        await send_body(send, 200, page, [(b"content-type", kind.encode())])

    async def keep_writing(self) -> None:
        """Write this worker's snapshot every second, for the other workers, until cancelled."""
        if self._snapshots is None:
            return
        try:
            await asyncio.to_thread(self._snapshots.fold_dead)
        except OSError as error:
            logger.error("What earlier workers have counted could not be gathered: %s", error)
        await keep_writing(self._snapshots, self._slot, self._take)

    def _page(self, snapshot: Snapshot, accept: str) -> tuple[str, bytes]:
        if self._snapshots is None:
            merged = merge([(str(self._slot), snapshot)])
        else:
            self._snapshots.write(self._slot, snapshot)
            merged = self._snapshots.merged()
        more = audit_samples(self._audits) + left_out_samples(self._left_out)
        if self._edge is None:
            return metrics_page(merged, accept, more)
        return metrics_page(merged, accept, more + self._edge.samples(), self._edge.metrics)
