"""Watches the health of one member of a pool, by its answers.

No request is sent only to see whether a member is well: some teachers bill every request.
"""

import email.utils
import math
import time
from collections.abc import AsyncIterator, Callable
from typing import Self

import msgspec

from openwheel.errors import TeacherError
from openwheel.teachers.teacher import ApiFamily, Headers, Teacher, TeacherRequest, TeacherResponse

_FAILURES_IN_A_ROW = 3
_FIRST_REST_S = 5.0
_LONGEST_REST_S = 60.0
_DOUBLINGS = math.ceil(math.log2(_LONGEST_REST_S / _FIRST_REST_S))
# Those whose retry-after says when the teacher is ready again (RFC 9110, section 10.2.3; RFC 6585,
# section 4; 529 is Anthropic's "overloaded").
_SAYS_WHEN = frozenset({429, 503, 529})


class Member(msgspec.Struct, frozen=True):
    """A teacher in a pool.

    Attributes:
        teacher: Closed with the pool.
        name: Its name in responses, health and messages; unique in its pool.
        api: The API it speaks.
        models: The names of the models it takes, as clients write them; ``*`` and ``?`` stand
            for any characters and any one. Empty means any.
        weight: How often it is asked first, relative to the others that take a model; above 0.
        retries: How many more times it may be asked for one request once every candidate has
            failed.
        refuses: Returns why it may not be sent a request for a model, ``""`` if it may; the model
            is ``""`` if the request names none. None allows all.
    """

    teacher: Teacher
    name: str
    api: ApiFamily = "openai"
    models: tuple[str, ...] = ()
    weight: float = 1.0
    retries: int = 0
    refuses: Callable[[str], str] | None = None


class MemberHealth(msgspec.Struct, frozen=True):
    """The health of a member since the start.

    Attributes:
        name: The member's.
        resting_s: Seconds until it is asked again before others; 0.0 if it is not at rest.
        failures: Failures in a row.
        requests: Requests sent to it, retries included.
        errors: Of these, those that failed: no connection, too slow, status 429 or 500 and above,
            broken off.
        last_error: The last failure's text, ``""`` if there was none.
    """

    name: str
    resting_s: float
    failures: int
    requests: int
    errors: int
    last_error: str


class Watch:
    """Sends requests to one member and counts how they end.

    After three failures in a row the member is at rest, for 5 s at first, twice as long each time
    it fails again, 60 s at most. A rest forbids nothing: the pool asks others first. Once it is
    over, one request at a time is let through before others, until one is answered.

    Args:
        clock: Seconds, from any start.
    """

    def __init__(self, member: Member, clock: Callable[[], float]) -> None:
        self.member = member
        self._clock = clock
        self._failures = 0
        self._requests = 0
        self._errors = 0
        self._last_error = ""
        self._rests = 0
        self._rested_at = -math.inf
        self._rests_until = -math.inf
        self._unproven = False
        self._probing = False

    def busy_until(self) -> float:
        """Return the time from which to ask this member before others again; past means now."""
        if self._unproven and self._probing:
            return max(self._rests_until, self._clock() + _FIRST_REST_S)
        return self._rests_until

    def is_ready(self) -> bool:
        """Return whether to ask this member before those at rest."""
        return self.busy_until() <= self._clock()

    def health(self) -> MemberHealth:
        """Return the member's health so far."""
        return MemberHealth(
            name=self.member.name,
            resting_s=max(0.0, self._rests_until - self._clock()),
            failures=self._failures,
            requests=self._requests,
            errors=self._errors,
            last_error=self._last_error,
        )

    async def send(self, request: TeacherRequest) -> TeacherResponse:
        """Send one request to the member; see `Teacher.send`."""
        sent_at = self._clock()
        self._requests += 1
        probes = self._unproven and not self._probing
        self._probing |= probes
        try:
            response = await self.member.teacher.send(request)
        except TeacherError as error:
            self._failed(sent_at, str(error))
            raise
        finally:
            if probes:
                self._probing = False
        status = response.status
        chunks = response.chunks
        if status == 429 or status >= 500:
            self._turned_down(sent_at, response)
        else:
            self._rests_until = -math.inf
            self._unproven = False
            chunks = _WatchedChunks(self, sent_at, chunks)
        return msgspec.structs.replace(response, chunks=chunks, teacher=self.member.name)

    def _turned_down(self, sent_at: float, response: TeacherResponse) -> None:
        reason = f"status {response.status}"
        if response.status == 429:
            # It is healthy but overloaded, which does not predict the next request.
            self._errors += 1
            self._last_error = reason
        else:
            self._failed(sent_at, reason)
        if response.status in _SAYS_WHEN:
            seconds = min(retry_after(response.headers), _LONGEST_REST_S)
            self._rests_until = max(self._rests_until, self._clock() + seconds)

    def _failed(self, sent_at: float, reason: str) -> None:
        self._errors += 1
        self._failures += 1
        self._last_error = reason
        now = self._clock()
        # When a teacher dies, everything under way fails with it: that is one reason to rest.
        if now < self._rests_until or sent_at < self._rested_at:
            return
        if self._failures >= _FAILURES_IN_A_ROW:
            rest = _FIRST_REST_S * 2 ** min(self._rests, _DOUBLINGS)
            self._rests += 1
            self._rested_at = now
            self._rests_until = now + min(rest, _LONGEST_REST_S)
            self._unproven = True

    def _completed(self) -> None:
        """Count a whole answer: a head alone is no proof that the body will come."""
        self._failures = 0
        self._rests = 0


class _WatchedChunks:
    """A body as it arrives, which reports its end or failure to its member's account."""

    def __init__(self, watch: Watch, sent_at: float, chunks: AsyncIterator[bytes]) -> None:
        self._watch = watch
        self._sent_at = sent_at
        self._next = chunks.__anext__
        self._over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._next()
        except StopAsyncIteration:
            if not self._over:
                self._over = True
                self._watch._completed()
            raise
        except TeacherError as error:
            if not self._over:
                self._over = True
                self._watch._failed(self._sent_at, str(error))
            raise


def retry_after(headers: Headers) -> float:
    """Return the seconds that a response asks to wait; 0.0 without a readable value.

    ``retry-after-ms``, which OpenAI sends, is finer and goes first. A date is taken relative to the
    response's own ``date``, since the teacher's clock may be off.

    Source: RFC 9110, section 10.2.3.

    >>> retry_after([(b"retry-after", b"7"), (b"retry-after-ms", b"250")])
    0.25
    """
    fields = {name: value.decode("latin-1").strip() for name, value in headers}
    for name, unit in ((b"retry-after-ms", 1e-3), (b"retry-after", 1.0)):
        seconds = _number(fields.get(name, "")) * unit
        if seconds > 0:
            return seconds
    until = _seconds_since_1970(fields.get(b"retry-after", ""))
    if until is None:
        return 0.0
    now = _seconds_since_1970(fields.get(b"date", ""))
    return max(0.0, until - (time.time() if now is None else now))


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) else 0.0


def _seconds_since_1970(text: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
