"""Runs a gateway worker: one process that answers requests on the supervisor's socket."""

import contextlib
import signal
import socket
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.routing import Route

from openwheel.access import Access
from openwheel.edge.upstream import edge_routes
from openwheel.errors import OpenwheelError
from openwheel.gateway import (
    CaptureWriter,
    Server,
    create_app,
    spare_collector,
)
from openwheel.gateway.authorization import check_public
from openwheel.gateway.console import ConsoleProxy
from openwheel.gateway.drain import Drain
from openwheel.gateway.snapshots import SnapshotFolder
from openwheel.gateway.tracing import make_tracer
from openwheel.job import when_alone
from openwheel.logs import set_up_logs
from openwheel.loop.feedback.desk import FeedbackDesk
from openwheel.loop.registry import Registry
from openwheel.loop.resources import Resources, adapters_of
from openwheel.loop.serving import RegistryServing
from openwheel.processes.order import DRAIN, Order, end_as_wrong, read_order, say_ready
from openwheel.processes.teachers import make_pool
from openwheel.store import Store
from openwheel.students.onnx_encoder import Encoders
from openwheel.trust import Policy

if TYPE_CHECKING:
    from openwheel.loop.audit.status import TaskAudit

_ENGINE_RESTS_S = 5.0

REFRESH_EVERY = 0.5
"""Seconds between looks for promotions and demotions, which must be known within two, also on a
machine whose processors are all busy."""


def run_worker(order: Order, ready: Callable[[], None], drain: Drain) -> None:
    """Answer requests until told to stop; ``ready`` is called when they are accepted.

    Raises:
        OperatorError: The settings, the store or a recording cannot be used.
    """
    settings = order.settings
    captured = settings.capture
    runtime = Path(order.runtime)
    with Store.open(settings.store.path) as store, contextlib.ExitStack() as stack:
        access = Access(store, runtime / "limits", required=settings.access.require_keys)
        check_public(settings, access)
        pool = make_pool(
            settings.teachers,
            keep_credentials=not access.in_force,
            policy=Policy.of(settings),
        )
        lm = settings.lm
        engine = (
            adapters_of(lm, settings.engine, stack, timeout=lm.answer_timeout, rest=_ENGINE_RESTS_S)
            if lm.server
            else None
        )
        resources = Resources(adapters=engine, encoders=Encoders())
        registry = Registry(store)
        serving = RegistryServing(registry, resources, at_once=False)
        linger = 0.001 if captured.mode == "strict" else 0.02
        capture = CaptureWriter(store, settings=captured, linger=linger)
        console = ConsoleProxy(order.console.port, order.console.secret) if order.console else None
        app = create_app(
            pool,
            serving,
            capture,
            settings=settings,
            access=access,
            students=serving.students,
            broken=serving.broken,
            teachers=pool.health,
            refresh_every=REFRESH_EVERY,
            wait_for_change=store.wait if store.shared else None,
            audit_status=partial(_audit_status, registry),
            left_out=registry.beyond,
            feedback=None if captured.mode == "off" else FeedbackDesk(store),
            snapshots=SnapshotFolder(runtime / "snapshots"),
            slot=order.slot,
            tracer=make_tracer(settings.telemetry),
            routes=[
                *_routes(console),
                *edge_routes(registry, access, settings.edge.bundle, keeps=captured.mode != "off"),
            ],
            stop=console.stop if console else lambda: None,
            drain=drain,
        )
        sock = socket.socket(fileno=order.descriptor)

        def begin() -> None:
            # The server has its own, which it closes as soon as it stops. One more would keep the
            # port from the next process, and connections waiting that nobody takes any more.
            sock.close()
            ready()

        server = Server(app, sock, settings=settings.gateway, ready=begin, drain=drain)
        when_alone(server.stop)
        spare_collector()
        try:
            server.run()
        finally:
            capture.close(1.0)  # the app has waited for it already
            access.close()


def _routes(console: ConsoleProxy | None) -> list[Route]:
    if console is None:
        return []
    return [Route(path, console) for path in ("/console", "/console/{path:path}")]


def _audit_status(registry: Registry) -> "Sequence[TaskAudit]":
    if not any(promotion.certificate for promotion in registry.promotions().values()):
        return ()
    # Here, so that only gateways that are scraped load it.
    from openwheel.loop.audit.status import audit_status  # noqa: PLC0415

    return audit_status(registry.store)


def main() -> None:
    """Run a worker as its supervisor says."""
    order = read_order()
    log = order.settings.log
    set_up_logs(log.level, log.format)
    drain = Drain()
    signal.signal(DRAIN, lambda *_: drain.begin())
    try:
        run_worker(order, say_ready, drain)
    except OpenwheelError as error:
        end_as_wrong(error)


if __name__ == "__main__":
    main()
