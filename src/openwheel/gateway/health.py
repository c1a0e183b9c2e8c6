"""What the gateway counts, and ``GET /healthz``, which shows it."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

import openwheel
from openwheel.gateway.asgi import method_not_allowed, send_json
from openwheel.gateway.capture import Capture, CaptureStats


class Counts(msgspec.Struct):
    """What has happened since the start; touched on the event loop only.

    Attributes:
        student: Chat completions answered by a student.
        teacher: Chat completions answered by the teacher, its error answers included.
        forwarded: Requests of other paths passed to the teacher.
        teacher_errors: Requests for which the teacher could not be reached or broke off.
        cancelled: Requests whose client went away before the answer was whole.
        uncaptured: Answers of status 200 passed on that could not be read, and so not captured.
        student_errors: Requests a student failed on; the teacher answered them.
        audits: Audits asked of the teacher and captured.
        audits_failed: Audits without an answer that could be captured.
        refresh_errors: Times the promoted students could not be refreshed.
    """

    student: int = 0
    teacher: int = 0
    forwarded: int = 0
    teacher_errors: int = 0
    cancelled: int = 0
    uncaptured: int = 0
    student_errors: int = 0
    audits: int = 0
    audits_failed: int = 0
    refresh_errors: int = 0


class Health:
    """``GET /healthz``.

    ``status`` is "ok", or "degraded" when something is being lost or has stopped: the capture
    writer failing, dropping or dead, or promotions no longer picked up.
    """

    def __init__(
        self,
        counts: Counts,
        capture: Capture | None,
        students: Callable[[], Mapping[str, str]],
        promotions_well: Callable[[], bool],
    ) -> None:
        self._counts = counts
        self._capture = capture
        self._students = students
        self._promotions_well = promotions_well
        self._started = time.monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Answer one request."""
        if scope["method"] not in {"GET", "HEAD"}:
            await method_not_allowed(scope, send, "GET")
            return
        await send_json(send, 200, self.report())

    def report(self) -> dict[str, Any]:
        """Return what ``GET /healthz`` shows."""
        capture = self._capture.stats() if self._capture else None
        well = self._promotions_well() and (capture is None or _well(capture))
        return {
            "status": "ok" if well else "degraded",
            "version": openwheel.__version__,
            "uptime_s": round(time.monotonic() - self._started, 3),
            "requests": msgspec.structs.asdict(self._counts),
            "capture": None if capture is None else msgspec.structs.asdict(capture),
            "students": dict(self._students()),
        }


def _well(capture: CaptureStats) -> bool:
    return capture.alive and not capture.error and not capture.dropped
