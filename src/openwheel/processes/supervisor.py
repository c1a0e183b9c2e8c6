"""The supervisor: starts workers and the learner, and starts again what ends by itself."""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from openwheel.errors import OpenwheelError
from openwheel.processes.order import Order, encode_order
from openwheel.settings import Settings

logger = logging.getLogger(__name__)

READY = b"ready\n"
_FIRST_WAIT_S = 0.2
_LONGEST_WAIT_S = 10.0
_LIVED_S = 10.0
_PATIENCE_S = 15.0

# One thread is what one request needs; more of them would wait for each other, spinning.
_THREADS = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
}


class Child:
    """A process that is kept running.

    Args:
        module: What it runs.
        order: What it is told.
        name: For messages.
    """

    def __init__(self, module: str, order: Order, name: str) -> None:
        self.name = name
        self._module = module
        self._order = order
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False
        self.ready = asyncio.Event()
        self.code: int | None = None

    @property
    def pid(self) -> int | None:
        """Its process id, None while it does not run."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def keep(self) -> None:
        """Run it; start it again when it ends, until `stop`, or if it never got ready."""
        wait = _FIRST_WAIT_S
        while True:
            started = time.monotonic()
            await self._run()
            if self._stopping:
                return
            if self.code == 2 and not self.ready.is_set():
                return  # it said what is wrong with its settings, and would only say so again
            if time.monotonic() - started > _LIVED_S:
                wait = _FIRST_WAIT_S
            logger.error(
                "%s ended with code %s; it starts again in %.1f s", self.name, self.code, wait
            )
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT_S)
            if self._stopping:
                return

    async def _run(self) -> None:
        descriptor = self._order.descriptor
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self._module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=() if descriptor < 0 else (descriptor,),
            env={**_THREADS, **os.environ},
        )
        self._process = process
        if self._stopping:  # told so while it started
            process.terminate()
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(ConnectionError):
            process.stdin.write(encode_order(self._order))
            await process.stdin.drain()
        if await process.stdout.readline() == READY:
            self.ready.set()
        await process.stdout.read()
        self.code = await process.wait()

    def stop(self) -> None:
        """Ask it to end, and do not start it again."""
        self._stopping = True
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self.pid is not None and self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


class Supervisor:
    """Keeps the processes of one gateway."""

    def __init__(self, settings: Settings, sock: socket.socket, runtime: Path) -> None:
        self._settings = settings
        self._sock = sock
        self._runtime = runtime
        self._children: dict[Child, asyncio.Task[None]] = {}

    async def start(self, settings: Settings) -> list[Child]:
        """Start all processes, and return them once they are ready.

        A process that ends before it is ready ends them all.

        Returns:
            The children; empty if one of them could not start.
        """
        children = [self._worker(settings, slot) for slot in range(settings.gateway.workers)]
        waiting = [child.ready for child in children]
        tasks = [asyncio.ensure_future(child.keep()) for child in children]
        self._children.update(zip(children, tasks, strict=True))
        all_ready = asyncio.ensure_future(_all(waiting))
        try:
            await asyncio.wait([all_ready, *tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            done = all_ready.done()
            all_ready.cancel()
        if not done:
            await self.stop(children, patience=1.0)
            return []
        if settings.loop.turns or settings.capture.keep_days or settings.capture.max_store:
            learner = self._learner(settings)
            self._children[learner] = asyncio.ensure_future(learner.keep())
            children.append(learner)
        return children

    async def stop(self, children: Iterable[Child], *, patience: float) -> None:
        """Stop processes: gracefully, and after ``patience`` seconds at once."""
        stopping = list(children)
        tasks = [self._children[child] for child in stopping]
        for child in stopping:
            child.stop()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=patience)
            if late:
                logger.error("%d processes did not stop in time and are killed", len(late))
                for child in stopping:
                    child.kill()
                await asyncio.wait(late)
        for child in stopping:
            del self._children[child]

    def all(self) -> list[Child]:
        """Return all processes."""
        return list(self._children)

    def _worker(self, settings: Settings, slot: int) -> Child:
        order = Order(
            settings=settings,
            runtime=str(self._runtime),
            descriptor=self._sock.fileno(),
            slot=slot,
        )
        return Child("openwheel.processes.worker", order, f"Gateway worker {slot}")

    def _learner(self, settings: Settings) -> Child:
        order = Order(settings=settings, runtime=str(self._runtime))
        return Child("openwheel.processes.learner", order, "The learner")


def supervise(
    settings: Settings,
    sock: socket.socket,
    *,
    ready: Callable[[], None],
    reload: Callable[[], Settings],
) -> int:
    """Run a gateway until SIGTERM or SIGINT; SIGHUP reads the settings anew.

    Args:
        settings: What to run.
        sock: Listening already. Every worker inherits it, so that a worker that ends takes no
            waiting connection with it.
        ready: Called when requests are accepted.
        reload: Reads the settings again.

    Returns:
        The exit code: 0, or 2 when it could not start.
    """
    runtime = Path(tempfile.mkdtemp(prefix="openwheel-"))
    try:
        return asyncio.run(_supervise(settings, sock, runtime, ready, reload))
    finally:
        shutil.rmtree(runtime, ignore_errors=True)


async def _supervise(
    settings: Settings,
    sock: socket.socket,
    runtime: Path,
    ready: Callable[[], None],
    reload: Callable[[], Settings],
) -> int:
    supervisor = Supervisor(settings, sock, runtime)
    events = _signals({signal.SIGTERM: "stop", signal.SIGINT: "stop", signal.SIGHUP: "reload"})
    starting = asyncio.ensure_future(supervisor.start(settings))
    event = asyncio.ensure_future(events.get())
    while not starting.done():
        await asyncio.wait([starting, event], return_when=asyncio.FIRST_COMPLETED)
        if event.done():
            if event.result() == "stop":
                starting.cancel()
                await supervisor.stop(supervisor.all(), patience=_PATIENCE_S)
                return 0
            event = asyncio.ensure_future(events.get())
    current: Sequence[Child] = starting.result()
    if not current:
        event.cancel()
        return 2
    ready()
    while await event != "stop":
        settings, current = await _reload(supervisor, settings, current, reload)
        event = asyncio.ensure_future(events.get())
    # A second signal ends what a first one only asked to end.
    force = asyncio.ensure_future(events.get())
    stopping = asyncio.ensure_future(
        supervisor.stop(supervisor.all(), patience=settings.gateway.stop_timeout + _PATIENCE_S)
    )
    await asyncio.wait([force, stopping], return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        for child in supervisor.all():
            child.kill()
        await stopping
    force.cancel()
    return 0


async def _reload(
    supervisor: Supervisor,
    settings: Settings,
    current: Sequence[Child],
    reload: Callable[[], Settings],
) -> tuple[Settings, Sequence[Child]]:
    """Put new workers beside the old ones, then let the old ones finish and end."""
    try:
        changed = reload()
    except OpenwheelError as error:
        logger.error("The settings stay as they were: %s", error)
        return settings, current
    learner = [child for child in current if child.name == "The learner"]
    await supervisor.stop(learner, patience=_PATIENCE_S)
    current = [child for child in current if child not in learner]
    started = await supervisor.start(changed)
    if not started:
        logger.error("The settings stay as they were: workers could not start with the new ones")
        return settings, current
    await supervisor.stop(current, patience=settings.gateway.stop_timeout + _PATIENCE_S)
    logger.info("The settings were read anew")
    return changed, started


async def _all(events: Iterable[asyncio.Event]) -> None:
    for event in events:
        await event.wait()


def _signals(names: Mapping[signal.Signals, str]) -> "asyncio.Queue[str]":
    events: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number, name in names.items():
        loop.add_signal_handler(number, events.put_nowait, name)
    return events
