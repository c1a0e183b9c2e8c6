"""Keeps an edge in touch with its upstream gateway: news, bundles, exchanges, requests that wait.

Runs on a thread with an event loop of its own. What it does is kept before it is acknowledged, so
that it may be killed at any moment: everything is sent at least once, and stored once by its id.
"""

import asyncio
import contextlib
import logging
import os
import random
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from openwheel.edge.bundle import MOST_BYTES
from openwheel.edge.messages import (
    BUNDLE_PATH,
    EXCHANGES_PATH,
    STATE_PATH,
    Batch,
    Taken,
)
from openwheel.edge.spool import Spool
from openwheel.edge.standing import State
from openwheel.edge.waiting import Waiting, exchanges_of
from openwheel.errors import OpenwheelError, StoreError, TeacherError
from openwheel.store import Exchange
from openwheel.teachers import HttpTeacher, TeacherRequest

logger = logging.getLogger(__name__)

_BATCH: Final = 100
_BATCH_BYTES: Final = 4 << 20
_ASKED_AT_ONCE: Final = 8
_IDLE_S: Final = 0.5
_FIRST_BACKOFF_S: Final = 0.5
_LONGEST_BACKOFF_S: Final = 60.0
_MOST_TRIES: Final = 20
_LARGEST_STATE: Final = 4 << 20
# About the moment or the key, not about the request: it is sent again.
_AGAIN: Final = frozenset({401, 408, 409, 425, 429})


class Link:
    """The link of an edge to its upstream gateway.

    Args:
        teacher: Makes a connection; called on the link's own thread.
        spool: What is to be sent.
        obey: Takes what the upstream says, and keeps it before it returns; called in a thread. Its
            second argument is the file of a newer bundle, None if there is none.
        heard: Called in a thread each time that the upstream was heard.
        tick: Called in a thread a few times a second.
        installed: Returns the sha256 of the bundle in use.
        state: What the upstream said last, None if it was never heard.
        scratch: A folder for a bundle while it comes.
        poll: Seconds between looks.
        timeout: Seconds after which a look counts as unanswered.
    """

    def __init__(
        self,
        teacher: Callable[[], HttpTeacher],
        spool: Spool,
        *,
        obey: Callable[[State, Path | None], None],
        heard: Callable[[], None],
        tick: Callable[[], None],
        installed: Callable[[], str],
        state: State | None,
        scratch: Path,
        poll: float,
        timeout: float,
    ) -> None:
        self._make = teacher
        self._spool = spool
        self._obey = obey
        self._heard = heard
        self._tick = tick
        self._installed = installed
        self._state = state
        self._scratch = scratch
        self._poll = poll
        self._timeout = timeout
        self._thread = threading.Thread(target=self._run, name="openwheel-link", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._look = asyncio.Event()
        self._up_again = asyncio.Event()
        self._tries: dict[int, int] = {}
        self._refused_bundle = ""
        self._problems: dict[str, str] = {}
        self.up = True
        self.down_since = 0.0
        self.error = ""

    def start(self) -> None:
        """Begin, on a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """End; what is under way is broken off, and sent again after the next start."""
        self._call(self._stop.set)
        self._thread.join(10.0)

    def lost(self, error: str) -> None:
        """Note, from any thread, that a request could not be sent, and look at the link at once."""
        self._down(error)
        self._call(self._look.set)

    def _call(self, function: Callable[[], object]) -> None:
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                loop.call_soon_threadsafe(function)

    def _run(self) -> None:
        asyncio.run(self._main())

    def problem(self) -> str:
        """Return what goes wrong beside the link itself, ``""`` if nothing does."""
        return "; ".join(self._problems.values())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        teacher = self._make()
        work = [
            asyncio.create_task(self._for_ever(part, teacher))
            for part in (self._listen, self._pull, self._send, self._ask, self._count)
        ]
        await self._stop.wait()
        for task in work:
            task.cancel()
        await asyncio.wait(work)
        await teacher.close()

    async def _for_ever(
        self, part: Callable[[HttpTeacher], Coroutine[Any, Any, float]], teacher: HttpTeacher
    ) -> None:
        """Do a part of the work again and again; it returns how long to rest."""
        backoff = _FIRST_BACKOFF_S
        while True:
            try:
                rest = await part(teacher)
                backoff = _FIRST_BACKOFF_S
                self._problems.pop(part.__name__, None)
            except TeacherError as error:
                logger.log(logging.WARNING if self.up else logging.INFO, "Upstream: %s", error)
                self._problems[part.__name__] = str(error)
                rest = backoff * random.uniform(0.5, 1.0)
                backoff = min(2 * backoff, _LONGEST_BACKOFF_S)
            except (OpenwheelError, OSError) as error:
                logger.error("The edge: %s", error)
                self._problems[part.__name__] = str(error)
                rest = backoff
                backoff = min(2 * backoff, _LONGEST_BACKOFF_S)
            except Exception:
                logger.critical("The edge goes on after a bug", exc_info=True)
                self._problems[part.__name__] = "a bug; the log has it"
                rest = _LONGEST_BACKOFF_S
            event = self._look if part == self._listen else self._up_again
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest):
                    await event.wait()
            event.clear()

    async def _count(self, _: HttpTeacher) -> float:
        await asyncio.to_thread(self._tick)
        return min(_IDLE_S, self._poll)

    async def _listen(self, teacher: HttpTeacher) -> float:
        """Ask what to do, and do it, before anything else is asked."""
        headers = [(b"if-none-match", self._state.etag.encode())] if self._state else []
        try:
            async with asyncio.timeout(self._timeout):
                response = await teacher.send(TeacherRequest("GET", STATE_PATH, headers, b""))
                body = await response.read()
        except (TeacherError, TimeoutError) as error:
            self._down(str(error) or f"no answer within {self._timeout:g} s")
            return self._poll
        if response.status not in {200, 304}:
            self._down(_status(response.status, body))
            return self._poll
        if response.status == 200:
            await self._do(body)
        await asyncio.to_thread(self._heard)
        self._up()
        return self._poll

    async def _do(self, body: bytes) -> None:
        try:
            if len(body) > _LARGEST_STATE:
                raise msgspec.DecodeError(f"it has {len(body):,} bytes")
            state = msgspec.json.decode(body, type=State)
        except msgspec.DecodeError as error:
            raise TeacherError(f"What the upstream gateway says cannot be read: {error}") from None
        await asyncio.to_thread(self._obey, state, None)
        self._state = state

    async def _pull(self, teacher: HttpTeacher) -> float:
        """Get a newer bundle, beside the looks, since it may take long over a slow link."""
        state = self._state
        if (
            state is not None
            and self.up
            and state.bundle not in {"", self._installed(), self._refused_bundle}
        ):
            await self._fetch(teacher, state)
        return _IDLE_S

    async def _fetch(self, teacher: HttpTeacher, state: State) -> None:
        """Get a newer bundle; one that does not hold is refused, and not asked for again."""
        response = await teacher.send(TeacherRequest("GET", BUNDLE_PATH, [], b""))
        descriptor, name = tempfile.mkstemp(prefix=".bundle-", dir=self._scratch)
        path, size = Path(name), 0
        try:
            with os.fdopen(descriptor, "wb") as file:
                async for chunk in response.chunks:
                    size += len(chunk)
                    if size > MOST_BYTES:
                        raise TeacherError(f"The bundle has more than {MOST_BYTES:,} bytes")
                    file.write(chunk)
            if response.status != 200:
                raise TeacherError(_status(response.status, b""))
            try:
                await asyncio.to_thread(self._obey, self._state or state, path)
            except StoreError:
                raise
            except OpenwheelError as error:
                self._refused_bundle = state.bundle
                logger.error("The newer bundle is not used: %s", error)
        finally:
            response.close()
            path.unlink(missing_ok=True)

    async def _send(self, teacher: HttpTeacher) -> float:
        """Send the oldest exchanges, and forget them once the upstream has them."""
        if not self.up:
            return _IDLE_S
        rows = await asyncio.to_thread(self._spool.unsent, limit=_BATCH)
        batch = _within(rows, _BATCH_BYTES)
        if not batch:
            return _IDLE_S
        packed = await asyncio.to_thread(_pack, [exchange for _, exchange in batch])
        headers = [(b"content-type", b"application/json"), (b"content-encoding", b"deflate")]
        request = TeacherRequest("POST", EXCHANGES_PATH, headers, packed)
        response = await teacher.send(request)
        body = await response.read()
        if response.status != 200:
            raise TeacherError(f"Exchanges were not taken: {_status(response.status, body)}")
        try:
            taken = msgspec.json.decode(body, type=Taken)
        except msgspec.DecodeError as error:
            raise TeacherError(f"What became of exchanges cannot be read: {error}") from None
        for refused in taken.refused:
            logger.error("The upstream does not take %s: %s", refused.id, refused.reason)
        await asyncio.to_thread(
            self._spool.sent, [seq for seq, _ in batch], refused=len(taken.refused)
        )
        return 0.0 if len(batch) == len(rows) == _BATCH or len(batch) < len(rows) else _IDLE_S

    async def _ask(self, teacher: HttpTeacher) -> float:
        """Ask the upstream what has waited for it, a few at a time.

        If none of a few is answered, the others would not be either, and all are left for later.
        """
        after = 0
        while self.up:
            found = await asyncio.to_thread(self._spool.waiting, after=after, limit=_ASKED_AT_ONCE)
            if not found:
                break
            errors = await asyncio.gather(*(self._ask_one(teacher, *row) for row in found))
            failed = [(row[0], why) for row, why in zip(found, errors, strict=True) if why]
            if len(failed) == len(found):
                raise TeacherError(f"Requests that waited were not answered: {failed[0][1]}")
            for number, why in failed:
                await self._failed(number, why)
            after = found[-1][0]
        return _IDLE_S

    async def _ask_one(self, teacher: HttpTeacher, number: int, waiting: Waiting) -> str:
        """Ask one, and settle it; return why that was not possible, ``""`` if it was."""
        request = TeacherRequest(
            "POST",
            waiting.path,
            [(name.encode(), value.encode()) for name, value in waiting.headers],
            waiting.body,
            waiting.model,
            marks=[(name.encode(), value.encode()) for name, value in waiting.marks],
        )
        started = time.perf_counter()
        try:
            response = await teacher.send(request)
            body = await response.read()
            if response.status in _AGAIN or response.status >= 500:
                raise TeacherError(_status(response.status, body))
            made = exchanges_of(waiting, response, body, (time.perf_counter() - started) * 1000)
        except TeacherError as error:
            return str(error) or "it was not answered"
        self._tries.pop(number, None)
        if made is None:
            logger.error(
                "The upstream does not answer a request that waited: %s",
                _status(response.status, body),
            )
            await asyncio.to_thread(self._spool.drop, number, refused=True)
        else:
            await asyncio.to_thread(self._spool.asked, number, made)
        return ""

    async def _failed(self, number: int, error: str) -> None:
        """Count a try, and give a request up that fails again and again where others do not."""
        tries = self._tries[number] = self._tries.get(number, 0) + 1
        if tries < _MOST_TRIES:
            return
        logger.error("A request that waited was given up after %d tries: %s", tries, error)
        del self._tries[number]
        await asyncio.to_thread(self._spool.drop, number, refused=False)

    def _down(self, error: str) -> None:
        if self.up:
            self.up, self.down_since = False, time.monotonic()
            logger.warning("The link is down: %s", error)
        self.error = error

    def _up(self) -> None:
        if not self.up:
            logger.warning("The link is up, after %.0f s", time.monotonic() - self.down_since)
            self.up, self.error = True, ""
            self._up_again.set()


def _pack(exchanges: Sequence[Exchange]) -> bytes:
    return zlib.compress(msgspec.json.encode(Batch(tuple(exchanges))), 6)


def _within(rows: list[tuple[int, Exchange]], most: int) -> list[tuple[int, Exchange]]:
    """Return the first rows whose requests have at most so many bytes; at least one."""
    size, taken = 0, 0
    for _, exchange in rows:
        size += len(exchange.request) + len(exchange.answer.text)
        if taken and size > most:
            break
        taken += 1
    return rows[:taken]


def _status(status: int, body: bytes) -> str:
    said = body[:200].decode("utf-8", "replace")
    return f"it answered with status {status}: {said}" if said else f"it answered {status}"
