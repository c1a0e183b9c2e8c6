"""Runs the console and sends alerts, in a process of its own that costs no worker anything."""

import os
import signal
import socket
import time
from pathlib import Path

from openwheel.access import Access, KeyStore
from openwheel.alerts import Alerts
from openwheel.asgi_server import AsgiServer
from openwheel.console import STOP_S, Console
from openwheel.console.door import Door
from openwheel.errors import OpenwheelError, SettingError
from openwheel.gateway.snapshots import AGE, Merged, SnapshotFolder
from openwheel.job import when_alone
from openwheel.logs import set_up_logs
from openwheel.loop.settings import LoopSettings
from openwheel.processes.order import Order, end_as_wrong, read_order, say_ready
from openwheel.store import Store

_LATEST_S = 10.0
_REFRESH_S = 1.0
_RESTING = "openwheel_teacher_resting_seconds"
_DROPPED = "openwheel_capture_dropped_total"


def run_console(order: Order) -> None:
    """Serve the console until told to stop.

    Raises:
        OperatorError: The settings or the store cannot be used.
    """
    if order.console is None:
        raise SettingError("The console needs an address")
    settings, runtime = order.settings, Path(order.runtime)
    path = settings.store.path
    with Store.open(path) as actions, Store.open(path, read_only=True) as store:
        access = Access(actions, runtime / "limits", required=settings.access.require_keys)
        in_force = _InForce(access)
        snapshots = SnapshotFolder(runtime / "snapshots")

        def trouble() -> str:
            wrong = [said for well, said in state_of(snapshots.merged()) if not well]
            return " ".join(wrong)

        alerts = Alerts(actions, settings.alerts, trouble)
        alerts.start()
        app = Console(
            store,
            Door(KeyStore(store), in_force, kept=runtime / "console-sessions.json"),
            LoopSettings.of(settings),
            actions=actions,
            gateway=lambda: state_of(snapshots.merged()),
            hide_text=settings.console.hide_text,
            secret=order.console.secret,
            config=Path(order.config),
            reload=_reload,
            receivers=settings.alerts,
        ).app()
        with socket.socket(fileno=order.descriptor) as sock:
            server = AsgiServer(app, sock, ready=say_ready, stop_timeout=STOP_S)
            when_alone(server.stop)
            server.run()
        alerts.stop()
        access.close()


def _reload() -> None:
    """Have the supervisor read the settings again."""
    os.kill(os.getppid(), signal.SIGHUP)


class _InForce:
    """Whether the gateway needs keys, a second old at most."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._looked = time.monotonic()

    def __call__(self) -> bool:
        if time.monotonic() - self._looked > _REFRESH_S:
            self._access.refresh()
            self._looked = time.monotonic()
        return self._access.in_force


def state_of(merged: Merged) -> list[tuple[bool, str]]:
    """Return the state of a gateway's parts in sentences, each with whether it is well.

    Examples:
        >>> state_of(Merged(workers=2))
        [(True, '2 workers answer.'), (True, 'Every exchange is stored.')]
    """
    gauges: dict[str, dict[str, float]] = {}
    for sample in merged.gauges:
        labels = dict(sample.labels)
        worst = gauges.setdefault(sample.name, {})
        about = labels.get("teacher") or labels.get("worker", "")
        worst[about] = max(worst.get(about, 0.0), sample.value)
    late = [age for age in gauges.get(AGE.name, {}).values() if age > _LATEST_S]
    if late or not merged.workers:
        state = [(False, f"{len(late)} of {merged.workers} workers have not reported lately.")]
    else:
        state = [(True, f"{merged.workers} {_plural('worker', merged.workers)}.")]
    teachers = gauges.get(_RESTING, {})
    resting = sorted(name for name, seconds in teachers.items() if seconds > 0)
    if resting:
        state.append((False, f"These teachers rest after failures: {', '.join(resting)}."))
    elif teachers:
        state.append((True, f"{len(teachers)} {_plural('teacher', len(teachers))}."))
    dropped = sum(sample.value for sample in merged.counters if sample.name == _DROPPED)
    if dropped:
        state.append((False, f"{dropped:,.0f} exchanges were not stored since the start."))
    else:
        state.append((True, "Every exchange is stored."))
    return state


def _plural(noun: str, number: int) -> str:
    return f"{noun} answers" if number == 1 else f"{noun}s answer"


def main() -> None:
    """Run the console as its supervisor says."""
    order = read_order()
    log = order.settings.log
    set_up_logs(log.level, log.format)
    try:
        run_console(order)
    except OpenwheelError as error:
        end_as_wrong(error)


if __name__ == "__main__":
    main()
