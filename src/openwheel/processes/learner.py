"""Runs the learner as a process: turns, audits and keeping the store within its limits."""

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NoReturn

import msgspec

from openwheel.errors import OpenwheelError, PolicyError, SettingError
from openwheel.job import when_alone
from openwheel.logs import escaped, set_up_logs
from openwheel.loop.turn.limits import Limits, apply_limits
from openwheel.machine import process_name
from openwheel.processes.order import read_order
from openwheel.progress import Lines, steps_alone
from openwheel.settings import Settings

if TYPE_CHECKING:
    from openwheel.loop.leases import Leases

logger = logging.getLogger(__name__)

_LOCKED_S = 1.0
_RELEASING_S = 1.0
_LINE_S = 60.0
"""Seconds between lines in the log about steps that take longer."""


def run(settings: Settings, holder: str, learning: threading.Event) -> None:
    """Learn, and keep the store within its limits, for ever.

    Without turns, promoted students are audited all the same. That takes no lock, so a turn may be
    taken by hand meanwhile. ``learning`` is set once this process may take turns, and holds leases
    by the name of ``holder``. Raises `OperatorError` if the settings, the store or the encoder
    cannot be used.
    """
    from openwheel.loop.learner.learner import run_learner  # noqa: PLC0415 - a second of imports
    from openwheel.loop.leases import RETENTION, leases_of  # noqa: PLC0415
    from openwheel.loop.records import Event  # noqa: PLC0415
    from openwheel.loop.resources import open_resources  # noqa: PLC0415
    from openwheel.loop.settings import LoopSettings  # noqa: PLC0415
    from openwheel.processes.teachers import connect_again, connect_teachers  # noqa: PLC0415
    from openwheel.store import Store, retention  # noqa: PLC0415

    def tell(event: Event) -> None:
        line = escaped(f"[turn] {event.task}: {event.kind}. {event.reason}")
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    turns = settings.loop.turns
    loop = LoopSettings.of(settings if turns else _without_turns(settings)).beside_gateway()
    captured = settings.capture
    # The workers have made the file: making it again would hide that it was lost.
    opened = Store.open(settings.store.path, create=False, objects=settings.store.objects)
    with opened as store, contextlib.ExitStack() as stack:
        leases = leases_of(store, seconds=settings.loop.lease, holder=holder)
        housekeeping = retention(
            store,
            days=captured.keep_days,
            most_bytes=captured.max_store,
            held=lambda: leases.held(RETENTION),
        )
        if turns:
            stack.enter_context(_once_free(leases))
            learning.set()
        run_learner(
            store,
            loop,
            tell=tell,
            leases=leases if turns or not leases.alone else None,
            resources=stack.enter_context(
                open_resources(loop, connect_teachers(settings), connect_again(settings))
            ),
            turns=turns,
            housekeeping=housekeeping,
            progress=steps_alone(
                Lines(lambda line: logger.info("%s", line), every=_LINE_S, brief=_LINE_S)
            ),
        )


def _without_turns(settings: Settings) -> Settings:
    """Return the settings for audits alone: without an encoder to train with or a base."""
    rungs: tuple[str, ...] = ("exact", "linear")
    if any(task.compare.startswith("embedding") for task in settings.tasks.values()):
        rungs = (*rungs, "encoder")
    loop = msgspec.structs.replace(settings.loop, rungs=rungs)
    return msgspec.structs.replace(settings, loop=loop)


@contextlib.contextmanager
def _once_free(leases: "Leases") -> Iterator[None]:
    """Be a learner; while another process is, and there can be one, that one does the work.

    Raises:
        StoreError: No process can be.
    """
    from openwheel.loop.leases import OtherLearnerError  # noqa: PLC0415

    reported = False
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(leases.learning())
            except OtherLearnerError as error:
                if not reported:
                    logger.warning("The learner waits: %s", error)
                    reported = True
                time.sleep(_LOCKED_S)
            else:
                break
        yield


def _end_when_stopped(
    release: Callable[[], None], signals: Iterable[signal.Signals]
) -> Callable[[], None]:
    """End the process on these signals, during any computation; return what does the same.

    A turn may take minutes, and leaves the last good state wherever it ends. A stopped turn does
    not count as one that died: ``release`` gives its leases back.
    """

    def end() -> None:
        thread = threading.Thread(target=release, daemon=True)
        thread.start()
        thread.join(_RELEASING_S)  # the store may be locked, and the supervisor waits
        os._exit(0)

    # Python calls handlers between two steps of its main thread, and training has long ones. What
    # it writes to this descriptor is written at once.
    receiver, sender = socket.socketpair()
    sender.setblocking(False)

    def wait() -> None:
        with receiver, sender:
            receiver.recv(1)
            end()

    signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    for number in signals:
        signal.signal(number, lambda *_: None)
    threading.Thread(target=wait, name="openwheel-stop", daemon=True).start()
    return end


def learn_alone(settings: Settings) -> NoReturn:
    """Learn in this process, without a gateway beside it, until SIGTERM, SIGINT or SIGHUP.

    It ends with code 0 then, 2 if the settings are wrong, and 1 if the store cannot be used.
    """
    set_up_logs(settings.log.level, settings.log.format)
    _learn(settings, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))


def main() -> None:
    """Run the learner as its supervisor says."""
    order = read_order()
    log = order.settings.log
    set_up_logs(log.level, log.format)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor stops it
    _learn(order.settings, (signal.SIGTERM,), ends_it=when_alone)


def _learn(
    settings: Settings,
    signals: Iterable[signal.Signals],
    ends_it: Callable[[Callable[[], None]], None] = lambda _: None,
) -> NoReturn:
    """Learn until one of these signals, or until ``ends_it`` calls what it is given."""
    # Before NumPy is imported: it takes its number of threads from the environment.
    for problem in apply_limits(Limits.of(settings)):
        logger.warning("%s", problem)
    holder, learning = process_name(), threading.Event()

    def release() -> None:
        if learning.is_set():  # else another learns
            from openwheel.loop.leases import leases_of  # noqa: PLC0415 - a second of imports
            from openwheel.store import Store  # noqa: PLC0415

            with Store.open(settings.store.path, create=False, busy_seconds=_RELEASING_S) as store:
                leases_of(store, seconds=settings.loop.lease, holder=holder).release_all()

    ends_it(_end_when_stopped(release, signals))
    code = 1
    try:
        run(settings, holder, learning)
    except OpenwheelError as error:
        sys.stderr.write(f"openwheel: {escaped(str(error))}\n")
        sys.stderr.flush()
        # An error in the settings stays; a store that is locked, full or used by another learner
        # does not, and whoever keeps this process running starts it again.
        if isinstance(error, SettingError | PolicyError):
            code = 2
    os._exit(code)


if __name__ == "__main__":
    main()
