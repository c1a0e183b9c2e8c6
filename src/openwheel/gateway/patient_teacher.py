"""Retries the teacher while it is unavailable, and reports outages."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Final

import msgspec

from openwheel.errors import TeacherError
from openwheel.gateway.meter import Meter
from openwheel.teachers import (
    Teacher,
    TeacherNotReachedError,
    TeacherRequest,
    TeacherResponse,
    retry_after,
)

DOWN: Final = frozenset({502, 503, 504, 529})
"""Statuses that mean the teacher is unavailable, not that the request is bad (RFC 9110, sections
15.6.3 to 15.6.5; 529 is Anthropic's "overloaded")."""

# Of these the one that means that the request was not taken, so it may be sent again. A server
# behind a 502 or a 504 may have begun to work on it; 529 and 429 ask for less traffic.
_NOT_TAKEN: Final = 503
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 1.0
_TRIES_A_SECOND: Final = 100
_REMEMBERED_S: Final = 60.0
_MOST_MODELS: Final = 100


class Outage(msgspec.Struct, frozen=True):
    """The models whose requests failed in the last minute, with no answer since.

    Attributes:
        models: As requests name them, ``""`` for those that name none.
        seconds: Since the first request that failed.
        error: The last error.
    """

    models: tuple[str, ...]
    seconds: float
    error: str


class _Failing(msgspec.Struct):
    since: float
    last: float
    error: str


class PatientTeacher:
    """Sends requests to the teacher, and retries while it is unavailable, if the settings want it.

    Audits use it as a `Teacher`, which does not wait.

    A request waits only if no teacher can have begun to work on it: there was no connection, or
    the answer was 503 (and none of several teachers broke off or failed otherwise). A
    ``retry-after`` beyond the wait ends it at once. Requests that wait try on their own, 100 times
    a second in all at most, and at once when another request for their model was answered.

    Args:
        meter: Counts.
        wait: Seconds that a request may wait, from its first failure; 0 for not at all. A try
            that has begun by then is not broken off.
        most, most_bytes: The most requests that wait, and the most bytes that their bodies have;
            others fail at once.
        clock: Seconds, from any start.

    Attributes:
        wait: As given.
        waiting: Requests that wait now.
    """

    def __init__(
        self,
        teacher: Teacher,
        meter: Meter,
        *,
        wait: float = 0.0,
        most: int = 1_000,
        most_bytes: int = 256 << 20,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._teacher = teacher
        self._meter = meter
        self.wait = wait
        self.waiting = 0
        self._bytes = 0
        self._most = most
        self._most_bytes = most_bytes
        self._clock = clock
        self._failing: dict[str, _Failing] = {}
        self._back: dict[str, asyncio.Event] = {}
        self._stopping = False

    async def close(self) -> None:
        """Close the teacher."""
        await self._teacher.close()

    def stop(self) -> None:
        """End all waits, now and from now on."""
        self._stopping = True
        for event in self._back.values():
            event.set()

    def outage(self) -> Outage | None:
        """Return the current outage, None if there is none."""
        now = self._clock()
        self._failing = {
            model: failure
            for model, failure in self._failing.items()
            if now - failure.last < _REMEMBERED_S
        }
        if not self._failing:
            return None
        latest = max(self._failing.values(), key=lambda failure: failure.last)
        since = min(failure.since for failure in self._failing.values())
        return Outage(tuple(sorted(self._failing)), now - since, latest.error)

    async def send(self, request: TeacherRequest) -> TeacherResponse:
        """Send one request, once; see `Teacher.send`."""
        try:
            response = await self._teacher.send(request)
        except TeacherError as error:
            self._failed(request.model, str(error))
            raise
        if response.status in DOWN:
            self._failed(request.model, f"status {response.status}")
        elif self._failing or self._back:
            self._failing.pop(request.model, None)
            if (back := self._back.pop(request.model, None)) is not None:
                back.set()
        return response

    async def send_patiently(self, request: TeacherRequest) -> TeacherResponse:
        """Send one request, and retry while no teacher can be reached; see the class."""
        until: float | None = None
        pause = _FIRST_PAUSE_S
        try:
            while True:
                response, failure, asked_to = None, None, 0.0
                try:
                    response = await self.send(request)
                    if response.status != _NOT_TAKEN or response.begun:
                        return response
                    asked_to = retry_after(response.headers)
                except TeacherNotReachedError as error:
                    failure = error
                now = self._clock()
                if until is None and self._may_wait(len(request.body)):
                    until = now + self.wait
                if until is None or self._stopping or now + asked_to >= until:
                    if response is not None:
                        return response
                    raise failure or AssertionError("Neither a response nor a failure")
                if response is not None:
                    response.close()
                least = max(pause, self.waiting / _TRIES_A_SECOND)
                await self._rest(request.model, max(min(least, until - now), asked_to))
                pause = min(2 * pause, _LONGEST_PAUSE_S)
        finally:
            if until is not None:
                self._leave(len(request.body))

    async def _rest(self, model: str, seconds: float) -> None:
        back = self._back.setdefault(model, asyncio.Event())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await back.wait()

    def _may_wait(self, size: int) -> bool:
        if self.wait <= 0 or self._stopping:
            return False
        if self.waiting >= self._most or self._bytes + size > self._most_bytes:
            self._meter.not_waited += 1
            return False
        self.waiting += 1
        self._bytes += size
        self._meter.waited += 1
        return True

    def _leave(self, size: int) -> None:
        self.waiting -= 1
        self._bytes -= size
        if not self.waiting:
            self._back.clear()

    def _failed(self, model: str, error: str) -> None:
        now = self._clock()
        failure = self._failing.get(model)
        if failure is not None and now - failure.last < _REMEMBERED_S:
            failure.last, failure.error = now, error
        elif failure is not None or len(self._failing) < _MOST_MODELS:
            self._failing[model] = _Failing(now, now, error)
