"""The gateway as an ASGI app: its routes, and what runs beside them."""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from openwheel.access import Access
from openwheel.gateway.asgi import STOPPING
from openwheel.gateway.audit import Audits
from openwheel.gateway.audit_metrics import AuditStatus
from openwheel.gateway.capture import Capture
from openwheel.gateway.completions import Completions
from openwheel.gateway.feedback import PATH as FEEDBACK
from openwheel.gateway.feedback import Desk, FeedbackEndpoint
from openwheel.gateway.forward import Forward
from openwheel.gateway.guard import Guard
from openwheel.gateway.health import Health
from openwheel.gateway.meter import Meter, Snapshot, process_usage
from openwheel.gateway.metrics import Metrics
from openwheel.gateway.patient_teacher import PatientTeacher
from openwheel.gateway.places import Places
from openwheel.gateway.recorder import Mode, Price, Recorder
from openwheel.gateway.refresher import Refresher
from openwheel.gateway.snapshots import Snapshots
from openwheel.gateway.state import GatewayState, TapMemory
from openwheel.gateway.tracing import Tracer
from openwheel.loop.serving import Serving
from openwheel.teachers import MemberHealth, Teacher
from openwheel.wire import APIS

logger = logging.getLogger(__name__)

_DRAIN_S = 10.0
_SLOW_STUDENTS_AT_ONCE = 2
_REMOTE_STUDENTS_AT_ONCE = 64
_FEEDBACK_AT_ONCE = 2
_READING_AT_ONCE = 2


def create_app(
    teacher: Teacher,
    serving: Serving,
    capture: Capture | None = None,
    *,
    access: Access | None = None,
    mode: Mode = "fast",
    strict_timeout: float = 2.0,
    sample: Mapping[str, float] | None = None,
    prices: Mapping[str, Price] | None = None,
    students: Callable[[], Mapping[str, str]] = dict,
    broken: Callable[[], Mapping[str, str]] = dict,
    teachers: Callable[[], list[MemberHealth]] = list,
    audit_status: AuditStatus = tuple,
    feedback: Desk | None = None,
    rng: Callable[[], float] = random.random,
    refresh_every: float = 1.0,
    max_body: int = 32 << 20,
    answer_kept: bool = False,
    teacher_wait: float = 0.0,
    best_effort: Mapping[str, bool] | None = None,
    routes: Sequence[BaseRoute] = (),
    paths: Sequence[str] = (),
    snapshots: Snapshots | None = None,
    slot: int = 0,
    tracer: Tracer | None = None,
) -> ASGIApp:
    """Return the gateway as an ASGI app.

    Args:
        teacher: Closed when the app stops.
        serving: Decides who answers. ``decide`` runs on the event loop; ``refresh`` in a thread,
            beside it.
        capture: Takes the exchanges; flushed when the app stops, closed by whoever made it.
        access: Says who may do what; None lets everybody in.
        mode, strict_timeout, sample, prices: See `Recorder`.
        students: The promoted students, task name to student id, for ``/healthz``.
        broken: Why a promoted student cannot be used, by its task's name, likewise.
        teachers: How the teachers have been doing, likewise.
        audit_status: How the audit of each task stands, for ``/metrics``; called in a thread.
        feedback: Takes what clients say of answers; None takes nothing.
        rng: Draws from [0, 1) for the audit coin and the sample.
        refresh_every: Seconds between looks for promotions, demotions and keys.
        max_body: The most bytes a request's body may have.
        answer_kept: Whether students may answer what the server is asked to keep.
        teacher_wait: Seconds that a request waits for a teacher that cannot be reached.
        best_effort: Whether a student may answer below its threshold while no teacher can be
            reached, by task name; ``*`` stands for all others. By default none may.
        routes: More routes, e.g. a dashboard's; they come before the gateway's own.
        paths: Patterns of paths that are forwarded besides those of the APIs.
        snapshots: Where workers of one gateway keep what they count; None for one alone.
        slot: This worker's number.
        tracer: Sends spans; closed when the app stops.
    """
    meter = Meter()
    patient = PatientTeacher(teacher, meter, wait=teacher_wait)
    best_effort = best_effort or {}
    guard = Guard(access)
    recorder = Recorder(
        capture,
        meter,
        guard,
        mode=mode,
        strict_timeout=strict_timeout,
        sample=sample,
        prices=prices,
        rng=rng,
    )
    slow = ThreadPoolExecutor(_SLOW_STUDENTS_AT_ONCE, "openwheel-student")
    remote = ThreadPoolExecutor(_REMOTE_STUDENTS_AT_ONCE, "openwheel-engine")
    reading = ThreadPoolExecutor(_READING_AT_ONCE, "openwheel-reading")
    writing_feedback = ThreadPoolExecutor(_FEEDBACK_AT_ONCE, "openwheel-feedback")
    look: list[Callable[[], object]] = [serving.refresh]
    if access is not None:
        look.append(access.refresh)
    refresher = Refresher(meter, look, refresh_every)
    state = GatewayState(
        teacher=patient,
        serving=serving,
        guard=guard,
        recorder=recorder,
        audits=Audits(patient, meter, recorder),
        meter=meter,
        taps=TapMemory(),
        slow=slow,
        remote=remote,
        reading=reading,
        rng=rng,
        max_body=max_body,
        answer_kept=answer_kept,
        best_effort=best_effort,
        tracer=tracer,
    )

    def take_snapshot() -> Snapshot:
        stats = capture.stats() if capture is not None else None
        return meter.snapshot(
            capture=stats,
            teachers=teachers(),
            usage=process_usage(),
            waiting=patient.waiting,
            down=patient.outage() is not None,
        )

    metrics = Metrics(take_snapshot, guard, snapshots, slot, audit_status)

    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[dict[str, Any]]:
        refresher.start()
        writing = asyncio.get_running_loop().create_task(metrics.keep_writing())
        try:
            yield {STOPPING: patient.stop}
        finally:
            patient.stop()
            await refresher.stop()
            await state.audits.drain(_DRAIN_S)
            await patient.close()
            slow.shutdown(wait=False)
            remote.shutdown(wait=False)
            reading.shutdown(wait=False)
            writing_feedback.shutdown(wait=False)
            if capture is not None and not await asyncio.to_thread(capture.flush, _DRAIN_S):
                logger.error("Capture: not everything could be written before the gateway stopped")
            if tracer is not None:
                await asyncio.to_thread(tracer.close)
            writing.cancel()
            await asyncio.wait([writing])

    health = Health(
        meter=meter,
        capture=capture,
        guard=guard,
        teachers=teachers,
        students=students,
        broken=broken,
        problem=refresher.problem,
        teacher=patient,
        best_effort=best_effort,
    )
    served: dict[str, ASGIApp] = {api.path: Completions(api, state) for api in APIS.values()}
    served[FEEDBACK] = FeedbackEndpoint(feedback, guard, meter, writing_feedback)
    router = Router(
        [*routes, Route("/healthz", health), Route("/metrics", metrics)],
        redirect_slashes=False,
        default=Places(served, Forward(state), tuple(paths), guard),
        lifespan=lifespan,
    )
    at_once = {path.encode(): handler for path, handler in served.items()}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        # Looked up, not matched one after the other: nearly all requests go here.
        handler = at_once.get(scope["raw_path"]) if scope["type"] == "http" else None
        await (handler or router)(scope, receive, send)

    return app
