"""Starts workers, engines and the learner, and restarts those that end."""

import asyncio
import contextlib
import logging
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from openwheel.errors import OpenwheelError, SettingError
from openwheel.logs import escaped
from openwheel.loop.turn.limits import Limits
from openwheel.processes.child import Child
from openwheel.processes.local import (
    STUDENTS,
    LocalEngine,
    is_same,
    local_models,
    make_local,
    with_local,
)
from openwheel.processes.order import ConsoleAddress, Order
from openwheel.processes.runtime import runtime_folder
from openwheel.settings import Settings
from openwheel.sockets import listen

logger = logging.getLogger(__name__)

_PATIENCE_S = 15.0


class Processes(Protocol):
    """The processes of one gateway: engines, workers and a learner, on any machine."""

    async def start_local(self, settings: Settings) -> Settings:
        """Start an engine for each local model that has none; return settings with addresses."""

    async def stop_local(self, settings: Settings | None = None) -> None:
        """Stop the engines that these settings do not need; without settings, all."""

    async def start_workers(self, settings: Settings) -> list[Child]:
        """Start the workers, and return them once all are ready."""

    def start_learner(self, settings: Settings) -> list[Child]:
        """Start the learner, unless the settings say that it runs elsewhere."""

    def start_console(self, settings: Settings) -> list[Child]:
        """Start the console, unless the settings want neither pages nor alerts."""

    async def stop(self, children: Iterable[Child], *, patience: float) -> None:
        """Stop processes: gracefully, and after ``patience`` seconds at once."""

    def drain(self) -> None:
        """Have workers want no more requests, though they still take them."""

    async def stop_all(self, *, patience: float) -> None:
        """Stop all processes."""

    def all(self) -> list[Child]:
        """Return all processes."""


class Supervisor:
    """Keeps the processes of one gateway on this machine; see `Processes`.

    Args:
        sock: Listening already.
        runtime: The folder that the processes share.
        config: The settings file.
    """

    def __init__(self, sock: socket.socket, runtime: Path, config: Path) -> None:
        self._sock = sock
        self._runtime = runtime
        self._config = config
        self._children: dict[Child, asyncio.Task[None]] = {}
        self._workers: set[Child] = set()
        self._locals: list[LocalEngine] = []
        # One for as long as the gateway runs, so that open pages outlive a change of settings.
        self._console_sock = listen("127.0.0.1", 0)
        self._console = ConsoleAddress(
            self._console_sock.getsockname()[1], secrets.token_urlsafe(32)
        )

    async def start_local(self, settings: Settings) -> Settings:
        """Start an engine for each local model that has none, and wait until teachers answer.

        The base of students is not waited for: while it loads, the teacher answers.

        Returns:
            The settings with the addresses of the engines.

        Raises:
            SettingError: A teacher cannot be run; what was started for these settings is stopped.
        """
        engines: dict[str, LocalEngine] = {}
        started: dict[str, asyncio.Task[None]] = {}
        for url, model in local_models(settings).items():
            same = [engine for engine in self._locals if is_same(engine, model, settings)]
            engines[url] = same[0] if same else make_local(model, settings, self._runtime)
            if not same:
                self._locals.append(engines[url])
                started[url] = self._start(engines[url].child)
        for url, task in started.items():
            child = engines[url].child
            if url == STUDENTS:
                self._watch(child, task)
                continue
            ready = asyncio.ensure_future(child.ready.wait())
            try:
                await asyncio.wait([ready, task], return_when=asyncio.FIRST_COMPLETED)
            finally:
                ready.cancel()
            if not child.ready.is_set():
                await self._stop_locals([engines[address] for address in started])
                reason = child.wrong or "its process ended before it was ready"
                raise SettingError(f"The teacher {url!r} cannot be run: {reason}")
        return with_local(settings, engines)

    async def stop_local(self, settings: Settings | None = None) -> None:
        """Stop the engines that these settings do not need; without settings, all."""
        models = local_models(settings).values() if settings is not None else ()
        needed = [
            engine
            for engine in self._locals
            if settings is not None and any(is_same(engine, model, settings) for model in models)
        ]
        await self._stop_locals([engine for engine in self._locals if engine not in needed])

    @staticmethod
    def _watch(child: Child, task: asyncio.Task[None]) -> None:
        """Log if the engine of students gives up, and all their requests go to the teacher."""

        def ended(_: asyncio.Task[None]) -> None:
            if not child.ready.is_set() and child.wrong:
                logger.error("Students of the rung lm cannot answer: %s", child.wrong)

        task.add_done_callback(ended)

    async def _stop_locals(self, engines: Iterable[LocalEngine]) -> None:
        stopping = list(engines)
        await self.stop([engine.child for engine in stopping], patience=_PATIENCE_S)
        for engine in stopping:
            self._locals.remove(engine)
            engine.sock.close()

    async def start_workers(self, settings: Settings) -> list[Child]:
        """Start the workers, and return them once all are ready.

        Raises:
            SettingError: One of them cannot work with these settings; all are stopped again.
        """
        children = [self._worker(settings, slot) for slot in range(settings.gateway.workers)]
        tasks = [self._start(child) for child in children]
        all_ready = asyncio.ensure_future(_all(child.ready for child in children))
        try:
            await asyncio.wait([all_ready, *tasks], return_when=asyncio.FIRST_COMPLETED)
            if all_ready.done():
                self._workers.update(children)
                return children
        finally:
            all_ready.cancel()
        await self.stop(children, patience=1.0)
        # Each worker finds the same.
        wrong = {child.wrong for child in children if child.wrong}
        raise SettingError("; ".join(sorted(wrong)) or "A worker ended before it was ready")

    def start_learner(self, settings: Settings) -> list[Child]:
        """Start the learner, which audits promoted students with or without turns.

        None is started if the settings say that it runs elsewhere.
        """
        if not settings.gateway.learner:
            return []
        order = Order(settings=settings, runtime=str(self._runtime))
        threads = Limits.of(settings).threads
        learner = Child("openwheel.processes.learner", order, "The learner", threads=threads)
        self._start(learner)
        return [learner]

    def start_console(self, settings: Settings) -> list[Child]:
        """Start the console, unless the settings want neither pages nor alerts."""
        if not (settings.console.enabled or settings.alerts):
            return []
        order = Order(
            settings=settings,
            runtime=str(self._runtime),
            descriptor=self._console_sock.fileno(),
            config=str(self._config),
            console=self._console,
        )
        child = Child("openwheel.processes.console", order, "The console")
        self._start(child)
        return [child]

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
            self._children.pop(child, None)
            self._workers.discard(child)

    def drain(self) -> None:
        """Have workers want no more requests, though they still take them."""
        for worker in self._workers:
            worker.drain()

    async def stop_all(self, *, patience: float) -> None:
        """Stop all processes, engines when no worker asks them any more."""
        # Else the system would go on taking connections that no worker takes any more.
        self._sock.close()
        engines = {engine.child for engine in self._locals}
        children = [child for child in self._children if child not in engines]
        await self.stop(children, patience=patience)
        await self.stop_local()
        self._console_sock.close()

    def all(self) -> list[Child]:
        """Return all processes."""
        return list(self._children)

    def _start(self, child: Child) -> asyncio.Task[None]:
        task = asyncio.ensure_future(child.keep())
        self._children[child] = task
        return task

    def _worker(self, settings: Settings, slot: int) -> Child:
        order = Order(
            settings=settings,
            runtime=str(self._runtime),
            descriptor=self._sock.fileno(),
            slot=slot,
            console=self._console if settings.console.enabled else None,
        )
        return Child("openwheel.processes.worker", order, f"Gateway worker {slot}")


def supervise(
    settings: Settings,
    sock: socket.socket,
    *,
    ready: Callable[[], None],
    reload: Callable[[], Settings],
    config: Path,
) -> int:
    """Run a gateway until SIGTERM or SIGINT, and return its exit code: 2 if it could not start.

    Workers inherit the listening socket, so that one that ends takes no waiting connection along.
    ``ready`` is called when requests are accepted; at SIGHUP ``reload`` reads the settings.
    """
    try:
        with runtime_folder() as runtime:
            asyncio.run(_supervise(settings, Supervisor(sock, runtime, config), ready, reload))
    except SettingError as error:
        sys.stderr.write(f"openwheel: {escaped(str(error))}\n")
        return 2
    return 0


async def _supervise(
    settings: Settings,
    supervisor: Processes,
    ready: Callable[[], None],
    reload: Callable[[], Settings],
) -> None:
    loop = asyncio.get_running_loop()
    stops: asyncio.Queue[None] = asyncio.Queue()
    reloads = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stops.put_nowait, None)
    loop.add_signal_handler(signal.SIGHUP, reloads.set)

    running = asyncio.ensure_future(_run(settings, supervisor, ready, reload, reloads))
    stop = asyncio.ensure_future(stops.get())
    await asyncio.wait([running, stop], return_when=asyncio.FIRST_COMPLETED)
    if not stop.done():
        stop.cancel()
        await running  # raises the error
        return
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError, SettingError):
        await running
    # A second signal ends what the first one only asked to end.
    force = asyncio.ensure_future(stops.get())
    if settings.gateway.drain:
        supervisor.drain()
        await asyncio.wait([force], timeout=settings.gateway.drain)
    stopping = asyncio.ensure_future(
        supervisor.stop_all(patience=settings.gateway.stop_timeout + _PATIENCE_S)
    )
    await asyncio.wait([force, stopping], return_when=asyncio.FIRST_COMPLETED)
    force.cancel()
    if not stopping.done():
        for child in supervisor.all():
            child.kill()
        await stopping


async def _run(
    settings: Settings,
    supervisor: Processes,
    ready: Callable[[], None],
    reload: Callable[[], Settings],
    reloads: asyncio.Event,
) -> None:
    """Start all processes, and replace them whenever the settings change.

    Raises:
        SettingError: The workers cannot work with the first settings, or a local model not run.
    """
    addressed = await supervisor.start_local(settings)
    try:
        workers = await supervisor.start_workers(addressed)
    except SettingError:
        await supervisor.stop_local()
        raise
    learner = supervisor.start_learner(addressed)
    console = supervisor.start_console(addressed)
    ready()
    while await reloads.wait():
        reloads.clear()
        try:
            changed = reload()
            # The new beside the old ones, which then finish and end.
            addressed = await supervisor.start_local(changed)
            started = await supervisor.start_workers(addressed)
        except OpenwheelError as error:
            logger.error("The settings stay as they were: %s", error)
            await supervisor.stop_local(settings)
            continue
        if _address(changed) != _address(settings):
            logger.warning("The address to listen on stays as it was; it changes with a restart")
        await supervisor.stop(learner, patience=_PATIENCE_S)  # there can be one at a time
        learner = supervisor.start_learner(addressed)
        await supervisor.stop(console, patience=_PATIENCE_S)
        console = supervisor.start_console(addressed)
        old, workers = workers, started
        await supervisor.stop(old, patience=settings.gateway.stop_timeout + _PATIENCE_S)
        settings = changed
        await supervisor.stop_local(settings)
        logger.info("The settings were read again")


def _address(settings: Settings) -> tuple[str, int]:
    return settings.gateway.host, settings.gateway.port


async def _all(events: Iterable[asyncio.Event]) -> None:
    for event in events:
        await event.wait()
