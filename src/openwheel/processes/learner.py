"""The learner as a process: turns, audits and keeping the store within its limits."""

import os
import signal
import sys
import threading
from pathlib import Path

from openwheel.errors import OpenwheelError, PolicyError, SettingError
from openwheel.logs import set_up_logs
from openwheel.processes.order import read_order, when_alone
from openwheel.settings import Settings


def run(settings: Settings, stop: threading.Event) -> None:
    """Learn, and keep the store within its limits, until ``stop``.

    Raises:
        OperatorError: The settings, the store or the encoder cannot be used.
    """
    from openwheel.loop.learner import run_learner  # noqa: PLC0415 - a second of imports
    from openwheel.loop.lock import learner_lock  # noqa: PLC0415
    from openwheel.loop.registry import Event  # noqa: PLC0415
    from openwheel.loop.settings import LoopSettings  # noqa: PLC0415
    from openwheel.loop.tools import open_tools  # noqa: PLC0415
    from openwheel.processes.teachers import connect_teachers  # noqa: PLC0415
    from openwheel.traffic import Store, retention  # noqa: PLC0415

    def tell(event: Event) -> None:
        sys.stderr.write(f"[turn] {event.task}: {event.kind}. {event.reason}\n")
        sys.stderr.flush()

    loop = LoopSettings.of(settings)
    path = Path(settings.store.path)
    captured = settings.capture
    with Store.open(path) as store, learner_lock(path):
        housekeeping = retention(store, days=captured.keep_days, most_bytes=captured.max_store)
        if not settings.loop.turns:
            while not stop.wait(1.0):
                housekeeping()
            return
        with open_tools(loop, connect_teachers(settings)) as tools:
            run_learner(
                store, loop, tell=tell, tools=tools, stop=stop.is_set, housekeeping=housekeeping
            )


def main() -> None:
    """Run the learner as its supervisor says."""
    order = read_order()
    log = order.settings.log
    set_up_logs(log.level, log.format)
    # Students are trained on what is left of the processor; requests come first.
    os.nice(10)
    stop = threading.Event()

    def alone() -> None:
        os._exit(0)  # a turn may take minutes, and leaves the last good state wherever it ends

    when_alone(alone)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor stops it
    try:
        run(order.settings, stop)
    except OpenwheelError as error:
        sys.stderr.write(f"openwheel: {error}\n")
        sys.stderr.flush()
        # What is wrong with the settings stays so; a store that is locked, full or learned from
        # by another process does not, and the supervisor starts this one again.
        os._exit(2 if isinstance(error, SettingError | PolicyError) else 1)


if __name__ == "__main__":
    main()
