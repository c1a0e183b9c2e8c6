"""Serves ``GET /healthz``: whether exchanges are being lost or a part has stopped."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

import openwheel
from openwheel.access import RefusedError
from openwheel.gateway.asgi import method_not_allowed, send_json
from openwheel.gateway.authorization import Guard
from openwheel.gateway.capture import Capture, CaptureStats
from openwheel.gateway.drain import Drain
from openwheel.gateway.edges import EdgeSide
from openwheel.gateway.meter import Meter
from openwheel.gateway.patient_teacher import PatientTeacher
from openwheel.teachers import MemberHealth

_STILL_S = 300.0


class Health:
    """``GET /healthz``.

    ``status`` is "ok", or "degraded" when exchanges are being lost or a part has stopped: the
    capture writer failing or dead, or having dropped something in the last five minutes, promotions
    or keys no longer picked up, a promoted student that cannot be used, every teacher at rest, or
    none to be reached for a model. It is "stopping" where the gateway is about to stop.

    Args:
        teachers: The health of each.
        students: The promoted student of each task, by name.
        broken: Why a promoted student cannot be used, by the task's name.
        problem: Why promotions or keys cannot be picked up, ``""`` if they can.
        teacher: Knows whether the teacher is down.
        best_effort: Whether students may answer below their threshold then, by task name.
        drain: Whether the gateway is about to stop: the answer is 503 then.
        edge: The edge that this gateway is part of; it judges an outage itself.
    """

    def __init__(
        self,
        *,
        meter: Meter,
        capture: Capture | None,
        guard: Guard,
        teachers: Callable[[], list[MemberHealth]],
        students: Callable[[], Mapping[str, str]],
        broken: Callable[[], Mapping[str, str]],
        problem: Callable[[], str],
        teacher: PatientTeacher,
        best_effort: Mapping[str, bool],
        drain: Drain,
        edge: EdgeSide | None = None,
    ) -> None:
        self._meter = meter
        self._capture = capture
        self._guard = guard
        self._teachers = teachers
        self._students = students
        self._broken = broken
        self._problem = problem
        self._teacher = teacher
        self._best_effort = best_effort
        self._drain = drain
        self._edge = edge
        self._started = time.monotonic()
        self._dropped = 0
        self._dropped_at = float("-inf")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Answer one request; with keys in force, in full to who has one without limits."""
        if scope["method"] not in {"GET", "HEAD"}:
            await method_not_allowed(scope, send, "GET")
            return
        report = self.report()
        try:
            self._guard.require_unlimited(self._guard.identify(scope))
        except RefusedError:
            report = {"status": report["status"]}
        await send_json(send, 503 if self._drain.begun else 200, report)

    def report(self) -> dict[str, Any]:
        """Return the full report of ``GET /healthz``."""
        capture = self._capture.stats() if self._capture else None
        problem = self._problem()
        teachers = self._teachers()
        resting = bool(teachers) and all(teacher.resting_s > 0 for teacher in teachers)
        outage = self._teacher.outage()
        broken = self._broken()
        own = {} if self._edge is None else {"edge": self._edge.report()}
        well = (
            not problem
            and not broken
            and not resting
            and (outage is None if self._edge is None else own["edge"]["ok"])
            and (capture is None or self._keeps(capture))
        )
        return {
            "status": "stopping" if self._drain.begun else "ok" if well else "degraded",
            "version": openwheel.__version__,
            "uptime_s": round(time.monotonic() - self._started, 3),
            "problem": problem,
            "requests": self._meter.counts(),
            "capture": None if capture is None else msgspec.structs.asdict(capture),
            "teacher_down": None if outage is None else msgspec.structs.asdict(outage),
            "waiting": self._teacher.waiting,
            "best_effort": dict(self._best_effort),
            "teachers": [msgspec.structs.asdict(teacher) for teacher in teachers],
            "students": dict(self._students()),
            "students_broken": dict(broken),
            **own,
        }

    def _keeps(self, capture: CaptureStats) -> bool:
        now = time.monotonic()
        if capture.dropped > self._dropped:
            self._dropped, self._dropped_at = capture.dropped, now
        return capture.alive and not capture.error and now - self._dropped_at > _STILL_S
