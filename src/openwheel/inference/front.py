"""The HTTP API of llama.cpp with adapters by name, which are loaded while it runs.

llama.cpp takes adapters only when it starts, and by number. So a new one starts another llama.cpp
with all of them; it takes over once it answers, and the old one ends when its last answer has. One
that died is started again, and requests wait for it.
"""

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from openwheel.errors import EngineError, ModelError, RequestError
from openwheel.inference.child import BrokenOffError, DiedError, Llama, Reply
from openwheel.inference.llama_cpp import Run
from openwheel.inference.needs import GGUF, NEEDS, Needs
from openwheel.inference.slots import Slots

logger = logging.getLogger(__name__)

LEAST_CONTEXT = 512
"""Tokens of a prompt with its answer, where adapters alone say how many are needed."""

_MOST_DEATHS = 3
"""Starts in a row that may be cut short before what is started is held to be at fault."""

_FIRST_WAIT_S = 0.2
_LONGEST_WAIT_S = 10.0
_BEGINNING = 256


class UnknownModelError(RequestError):
    """A request is for a model or adapter that is not served here."""


class EngineNotReadyError(EngineError):
    """llama.cpp does not answer, and cannot be started."""


class _Adapter(NamedTuple):
    file: str
    context: int


class _Running(NamedTuple):
    """One llama.cpp: the adapters it has, by their number, and its slots."""

    llama: Llama
    adapters: dict[str, int]
    slots: Slots


class Front:
    """Has requests answered by llama.cpp. To be entered and used in one event loop.

    Args:
        run: What llama.cpp runs, without adapters.
        max_queue: The most requests that may wait for a slot.

    Attributes:
        name: What the base is served as.
        fingerprint: Hash of what decides the base's answers: its file, and how llama.cpp keeps
            what it has read. ``""`` before it was started.
    """

    def __init__(self, run: Run, *, max_queue: int = 512) -> None:
        self.name = run.name
        self.fingerprint = ""
        self._base = run
        self._max_queue = max_queue
        self._adapters: dict[str, _Adapter] = {}
        self._running: _Running | None = None
        self._problem: ModelError | None = None
        self._refused: dict[str, ModelError] = {}
        self._served: frozenset[str] = frozenset()
        self._deaths = 0
        self._changed = asyncio.Condition()
        self._wake = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start llama.cpp, and wait until it answers.

        Raises:
            ModelError: It cannot run the base, or an adapter.
        """
        self.fingerprint = await asyncio.to_thread(_fingerprint, self._base)
        await self._switch()
        self._keeper = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """End llama.cpp."""
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        for task in self._ending:
            task.cancel()
        if self._running is not None:
            await self._running.llama.stop()
        await asyncio.gather(*self._ending, return_exceptions=True)

    def models(self) -> list[str]:
        """Return the names that are served."""
        return [self.name, *(name for name in self._adapters if name in self._served)]

    def health(self) -> dict[str, Any]:
        """Return how it is."""
        running = self._running
        alive = running is not None and not running.llama.ended.is_set()
        return {
            "status": "ok" if alive else "starting",
            "models": self.models(),
            "context": running.llama.run.context if running else 0,
            "slots": self._base.slots,
            "busy": running.slots.busy if running else 0,
            "process": running.llama.pid if running and alive else None,
        }

    def add(self, name: str, folder: Path) -> None:
        """Have an adapter loaded at the next start.

        Raises:
            RequestError: The name is taken.
            ModelError: The folder holds no adapter for llama.cpp.
        """
        if name == self.name or name in self._adapters:
            raise RequestError(f"The name {name!r} is taken")
        self._adapters[name] = read_adapter(folder)

    async def load_adapter(self, name: str, folder: Path) -> None:
        """Load an adapter, and wait until it answers; one that is loaded already is left as it is.

        Several clients may ask for the same one at once: all wait for it.

        Raises:
            RequestError: The name is another adapter's.
            ModelError: The folder holds no adapter for llama.cpp, or none for this base.
            EngineNotReadyError: llama.cpp cannot be started.
        """
        if self._adapters.get(name) != read_adapter(folder):
            self._refused.pop(name, None)
            self.add(name, folder)
            self._wake.set()
        await self._until(lambda: name in self.models() or name not in self._adapters)
        if name not in self._adapters and name in self._refused:
            raise self._refused[name]

    def unload_adapter(self, name: str) -> None:
        """Serve an adapter no longer; its memory is freed at the next start.

        Raises:
            UnknownModelError: It is not served.
        """
        if name not in self._adapters:
            raise UnknownModelError(f"The adapter {name!r} is not served here")
        del self._adapters[name]

    @contextlib.asynccontextmanager
    async def ask(self, method: str, target: str, body: bytes) -> AsyncIterator[Reply]:
        """Have a request answered, for as long as the block lasts.

        One whose llama.cpp dies before its answer begins is asked anew.

        Raises:
            RequestError: It is no request, or for a model that is not served.
            SlotsFullError: Too many requests wait.
            EngineNotReadyError: llama.cpp cannot be started.
            BrokenOffError: llama.cpp died at it again and again.
        """
        asked = _object(body) if method == "POST" else None
        for last in (False, True):
            running = await self._ready()
            async with contextlib.AsyncExitStack() as stack:
                sent = body
                if asked is not None:
                    sent = await self._addressed(asked, running, stack)
                try:
                    reply = await running.llama.ask(method, target, sent)
                except BrokenOffError:
                    if last:
                        raise
                    await self._gone(running)
                    continue
                stack.callback(reply.close)
                yield reply
                return

    async def _addressed(
        self, asked: dict[str, Any], running: _Running, stack: contextlib.AsyncExitStack
    ) -> bytes:
        """Return a request's body with its adapter and its slot by number."""
        name = asked.get("model") or self.name
        if name == self.name:
            # Without a word of adapters it would go on from what a slot remembers of one of them.
            lora = [{"id": number, "scale": 0.0} for number in running.adapters.values()]
        elif name in self._adapters and name in running.adapters:
            lora = [{"id": running.adapters[name], "scale": 1.0}]
        else:
            raise UnknownModelError(f"The model {name!r} is not served here")
        parts = (asked.get(part) for part in ("prompt", "messages"))
        said = next((part for part in parts if part), None)
        if said is None:
            return msgspec.json.encode(asked)
        key = (name, msgspec.json.encode(said)[:_BEGINNING])
        slot = await stack.enter_async_context(running.slots.take(key))
        return msgspec.json.encode({**asked, "lora": lora, "id_slot": slot})

    async def _ready(self) -> _Running:
        """Return the llama.cpp that answers, once there is one."""
        await self._until(lambda: self._running is not None or self._problem is not None)
        if self._running is None:
            raise EngineNotReadyError(str(self._problem))
        return self._running

    async def _gone(self, running: _Running) -> None:
        """Have the one that does not answer taken away, if that was not done yet."""
        with contextlib.suppress(TimeoutError):
            # It may be about to end, or have closed one connection only.
            await asyncio.wait_for(running.llama.ended.wait(), 1.0)
        if running is self._running and running.llama.ended.is_set():
            self._running = None
            self._wake.set()

    async def _until(self, true: Callable[[], bool]) -> None:
        async with self._changed:
            await self._changed.wait_for(true)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _keep(self) -> None:
        """Start llama.cpp again when it has ended, and another when an adapter has come."""
        wait = _FIRST_WAIT_S
        while True:
            await self._needed()
            try:
                await self._switch()
                wait = _FIRST_WAIT_S
            except ModelError as error:
                logger.error("%s; it starts again in %.1f s", error, wait)
                await asyncio.sleep(wait)
                wait = min(2 * wait, _LONGEST_WAIT_S)

    async def _needed(self) -> None:
        """Wait until llama.cpp has ended, or lacks an adapter."""
        while (running := self._running) is not None:
            if set(self._adapters) - set(running.adapters):
                return
            self._wake.clear()
            events = (running.llama.ended, self._wake)
            waits = [asyncio.create_task(event.wait()) for event in events]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for one in waits:
                one.cancel()
            if running.llama.ended.is_set():
                logger.error("llama.cpp has ended; it starts again")
                self._running = None

    async def _switch(self) -> None:
        """Start a llama.cpp with all adapters, and have it take over.

        Raises:
            ModelError: It cannot be started. Adapters that may be at fault are let go, and whoever
                wants them loaded is told.
        """
        before = self._running
        adapters = dict(self._adapters)
        run = msgspec.structs.replace(
            self._base,
            adapters=tuple(adapter.file for adapter in adapters.values()),
            context=max([self._base.context, *(one.context for one in adapters.values())]),
        )
        llama = Llama(run)
        try:
            await llama.start()
        except ModelError as error:
            self._deaths += 1
            if not isinstance(error, DiedError) or self._deaths >= _MOST_DEATHS:
                await self._failed(error, set(adapters) - set(before.adapters if before else ()))
            raise
        except BaseException:
            await llama.stop()
            raise
        slots = Slots(run.slots, self._max_queue)
        self._running = _Running(llama, {name: at for at, name in enumerate(adapters)}, slots)
        self._served, self._problem, self._deaths = frozenset(adapters), None, 0
        await self._tell()
        if before is not None:
            task = asyncio.create_task(_end(before))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _failed(self, error: ModelError, new: set[str]) -> None:
        for name in new:
            if self._adapters.pop(name, None) is not None:
                self._refused[name] = error
        if self._running is None and not new:
            self._problem = error
        await self._tell()


async def _end(running: _Running) -> None:
    """End a llama.cpp once it answers no more."""
    try:
        while running.slots.busy:
            await asyncio.sleep(0.05)
    finally:
        await running.llama.stop()


def read_adapter(folder: Path) -> _Adapter:
    """Return an adapter that lies in a folder.

    Raises:
        ModelError: There is none for llama.cpp.
    """
    file = folder / GGUF if folder.is_dir() else folder
    if not file.is_file():
        raise ModelError(
            f"The adapter at {folder} has no {GGUF}: its base is of a family that is not "
            "written for llama.cpp, or it was trained by an early version. Train it again, or "
            "serve it with vLLM or SGLang"
        )
    try:
        needs = msgspec.json.decode((file.parent / NEEDS).read_bytes(), type=Needs)
    except FileNotFoundError:
        needs = Needs(0)
    except (OSError, msgspec.DecodeError) as error:
        raise ModelError(f"The file {file.parent / NEEDS} cannot be read: {error}") from None
    return _Adapter(str(file.absolute()), needs.context)


def _object(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"The request body must be a JSON object: {error}") from None


def _fingerprint(run: Run) -> str:
    """Return the hash of a base's file, and of how exactly what was read is kept.

    Raises:
        ModelError: The file cannot be read.
    """
    try:
        with Path(run.model).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
    except OSError as error:
        raise ModelError(f"The GGUF file {run.model} cannot be read: {error}") from None
    digest.update(b"exact" if run.exact else b"")
    return digest.hexdigest()
