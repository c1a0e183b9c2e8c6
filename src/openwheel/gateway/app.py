"""Makes the gateway's ASGI app: its routes and its background work."""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from openwheel.access import Access
from openwheel.gateway.asgi import STOPPING
from openwheel.gateway.audit import Audits
from openwheel.gateway.audit_metrics import AuditStatus
from openwheel.gateway.authorization import Guard
from openwheel.gateway.capture import Capture
from openwheel.gateway.completions import Completions
from openwheel.gateway.decisions import Decisions
from openwheel.gateway.drain import Drain
from openwheel.gateway.edges import EdgeSide
from openwheel.gateway.feedback import PATH as FEEDBACK
from openwheel.gateway.feedback import Desk, FeedbackEndpoint
from openwheel.gateway.forward import Forward
from openwheel.gateway.health import Health
from openwheel.gateway.meter import Meter, Snapshot, process_usage
from openwheel.gateway.metrics import Metrics
from openwheel.gateway.other_paths import Places
from openwheel.gateway.patient_teacher import PatientTeacher
from openwheel.gateway.recorder import Recorder
from openwheel.gateway.refresher import Refresher
from openwheel.gateway.snapshots import Snapshots
from openwheel.gateway.state import GatewayState, TapMemory
from openwheel.gateway.tracing import Tracer
from openwheel.loop.serving import Serving
from openwheel.settings import Settings, teacher_prices
from openwheel.teachers import MemberHealth, Teacher
from openwheel.wire import DECISION_APIS, TEXT_APIS

if TYPE_CHECKING:
    from openwheel.loop.records import Beyond

logger = logging.getLogger(__name__)

_DEFAULTS = Settings()
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
    settings: Settings = _DEFAULTS,
    access: Access | None = None,
    students: Callable[[], Mapping[str, str]] = dict,
    broken: Callable[[], Mapping[str, str]] = dict,
    teachers: Callable[[], list[MemberHealth]] = list,
    audit_status: AuditStatus = tuple,
    left_out: "Callable[[], Beyond | None]" = lambda: None,
    feedback: Desk | None = None,
    rng: Callable[[], float] = random.random,
    refresh_every: float = 1.0,
    wait_for_change: Callable[[float], None] | None = None,
    routes: Sequence[BaseRoute] = (),
    stop: Callable[[], None] = lambda: None,
    snapshots: Snapshots | None = None,
    slot: int = 0,
    tracer: Tracer | None = None,
    drain: Drain | None = None,
    edge: EdgeSide | None = None,
) -> ASGIApp:
    """Return the gateway as an ASGI app.

    Args:
        teacher: Closed when the app stops.
        serving: Decides who answers. ``decide`` runs on the event loop; ``refresh`` in a thread,
            beside it.
        capture: Takes the exchanges; flushed when the app stops, closed by the caller.
        settings: Of these ``gateway``, ``capture``, the teachers' prices, and whether a task's
            student may answer below its threshold while no teacher can be reached.
        access: Checks keys; None lets everybody in.
        students: The promoted students, task name to student id, for ``/healthz``.
        broken: Why a promoted student cannot be used, by its task's name, likewise.
        teachers: The health of the teachers, likewise.
        audit_status: The audit of each task, for ``/metrics``; called in a thread.
        left_out: The tasks left out, likewise.
        feedback: Takes clients' feedback; None takes none.
        rng: Draws from [0, 1) for the audit coin and the sample.
        refresh_every: Seconds between looks for promotions, demotions and keys.
        wait_for_change: Waits for such a change, as `Store.wait`, in a thread of its own; None
            where only looking tells.
        routes: More routes, such as the console's; they come before the gateway's own.
        stop: Called when the app begins to stop, to end requests that would hold it up.
        snapshots: Where workers of one gateway keep their counts; None for a single worker.
        slot: This worker's number.
        tracer: Sends spans; closed when the app stops.
        drain: Whether the gateway is about to stop, for ``/healthz``.
        edge: The edge that this gateway is part of; None for any other.
    """
    meter, guard = Meter(), Guard(access)
    patient = PatientTeacher(teacher, meter, wait=settings.gateway.teacher_wait)
    stop_waiting = _in_turn(patient.stop, stop)
    best_effort = _best_effort(settings)
    prices = teacher_prices(settings.teachers)
    recorder = Recorder(capture, meter, guard, settings=settings.capture, prices=prices, rng=rng)
    slow = ThreadPoolExecutor(_SLOW_STUDENTS_AT_ONCE, "openwheel-student")
    remote = ThreadPoolExecutor(_REMOTE_STUDENTS_AT_ONCE, "openwheel-engine")
    reading = ThreadPoolExecutor(_READING_AT_ONCE, "openwheel-reading")
    writing_feedback = ThreadPoolExecutor(_FEEDBACK_AT_ONCE, "openwheel-feedback")
    look: list[Callable[[], object]] = [serving.refresh]
    if access is not None:
        look.append(access.refresh)
    refresher = Refresher(meter, look, refresh_every, wait_for_change)
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
        settings=settings.gateway,
        best_effort=best_effort,
        tracer=tracer,
        edge=edge,
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

    metrics = Metrics(
        take_snapshot, guard, snapshots, slot, audit_status, left_out=left_out, edge=edge
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[dict[str, Any]]:
        refresher.start()
        writing = asyncio.get_running_loop().create_task(metrics.keep_writing())
        try:
            yield {STOPPING: stop_waiting}
        finally:
            stop_waiting()
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
        drain=drain or Drain(),
        edge=edge,
    )
    served: dict[str, ASGIApp] = {api.path: Completions(api, state) for api in TEXT_APIS.values()}
    served |= {api.path: Decisions(api, state) for api in DECISION_APIS.values()}
    served[FEEDBACK] = FeedbackEndpoint(feedback, guard, meter, writing_feedback)
    router = Router(
        [*routes, Route("/healthz", health), Route("/metrics", metrics)],
        redirect_slashes=False,
        default=Places(served, Forward(state), settings.gateway.paths, guard),
        lifespan=lifespan,
    )
    at_once = {path.encode(): handler for path, handler in served.items()}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        # Looked up, not matched one after the other: nearly all requests go here.
        handler = at_once.get(scope["raw_path"]) if scope["type"] == "http" else None
        await (handler or router)(scope, receive, send)

    return app


def _in_turn(*calls: Callable[[], None]) -> Callable[[], None]:
    def call_all() -> None:
        for call in calls:
            call()

    return call_all


def _best_effort(settings: Settings) -> dict[str, bool]:
    """Return whether a student may answer below its threshold, by task; ``*`` for all others."""
    overrides = {name: task.best_effort for name, task in settings.tasks.items()}
    return {"*": settings.gateway.best_effort} | {
        name: wanted for name, wanted in overrides.items() if wanted is not None
    }
