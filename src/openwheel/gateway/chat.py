"""``POST /v1/chat/completions``: decide who answers, answer, and hand on the exchange."""

import logging
import time
from collections.abc import Callable

from starlette.types import Receive, Scope, Send

from openwheel.endpoints import Teacher, TeacherResponse
from openwheel.errors import OpenwheelError, RequestError, TeacherError
from openwheel.gateway.asgi import (
    JSON,
    BodyTooLargeError,
    ClientGoneError,
    Pairs,
    header,
    header_text,
    method_not_allowed,
    read_body,
    send_body,
    send_too_large,
    while_connected,
)
from openwheel.gateway.audit import Audits
from openwheel.gateway.exchanges import (
    Asked,
    is_stream,
    parse_reply,
    student_exchange,
    teacher_exchange,
)
from openwheel.gateway.forward import Tap, forward, target
from openwheel.gateway.health import Counts
from openwheel.loop.serving import Decision, Serving
from openwheel.traffic.exchange import Exchange
from openwheel.wire import Api

logger = logging.getLogger(__name__)

_EVENT_STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
]
_UNDECIDED = Decision(audit_probability=0.0, reason="student failed")
_LARGEST_CAPTURED = 8 << 20


class ChatCompletions:
    """The one endpoint where students may answer."""

    def __init__(
        self,
        *,
        teacher: Teacher,
        serving: Serving,
        counts: Counts,
        audits: Audits,
        deliver: Callable[[Exchange], None],
        rng: Callable[[], float],
        max_body: int,
        api: Api,
    ) -> None:
        self._api = api
        self._teacher = teacher
        self._serving = serving
        self._counts = counts
        self._audits = audits
        self._deliver = deliver
        self._rng = rng
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["method"] != "POST":
            await method_not_allowed(scope, send, "POST")
            return
        try:
            body = await read_body(scope, receive, self._max_body)
        except BodyTooLargeError as error:
            await send_too_large(send, error)
            return
        except ClientGoneError:
            return
        asked = self._decide(scope, body)
        if asked is not None and asked.decision.answer is not None:
            await self._answer(asked, asked.decision.answer, send)
            if asked.audited:
                self._audits.start(asked, target(scope), scope["headers"])
            return
        self._counts.teacher += 1
        work = forward(
            self._teacher,
            scope,
            send,
            body,
            self._counts,
            headers=_headers("teacher", asked),
            tap=None if asked is None else self._tap(asked),
        )
        if not await while_connected(receive, work):
            self._counts.cancelled += 1

    def _decide(self, scope: Scope, body: bytes) -> Asked | None:
        """Decide who answers; None if the body cannot be read, so that only the teacher may."""
        arrived, started = time.time(), time.perf_counter()
        try:
            request = self._api.read_request(body)
        except RequestError:
            return None
        task = _header_text(header(scope, b"x-openwheel-task")) or request.task
        try:
            decision = self._serving.decide(request, task)
        except OpenwheelError as error:
            self._counts.student_errors += 1
            logger.error("No student could be asked, the teacher answers: %s", error)
            decision = _UNDECIDED
        if decision.answer is not None and not request.prompt.plain:
            decision = _deferred(decision)
        audited = bool(decision.student) and self._rng() < decision.audit_probability
        # Where no decision could be made, what students would have done is not known to be
        # out of the matter, so the answer may not calibrate.
        unbiased = audited or (not decision.student and decision is not _UNDECIDED)
        return Asked(
            time=arrived,
            started=started,
            body=body,
            api=self._api,
            request=request,
            task=task,
            decision=decision,
            audited=audited,
            unbiased=unbiased,
        )

    async def _answer(self, asked: Asked, answer: str, send: Send) -> None:
        """Answer as the teacher would have: the model asked for, a stream if one was."""
        request = asked.request
        headers = [*_headers("student", asked), (b"x-request-id", asked.id.encode())]
        if request.stream:
            events = self._api.events(answer, request)
            headers += _EVENT_STREAM
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"".join(events)})
        else:
            body = self._api.body(answer, request)
            await send_body(send, 200, body, [JSON, *headers])
        self._counts.student += 1
        self._deliver(student_exchange(asked, answer, _ms_since(asked.started)))

    def _tap(self, asked: Asked) -> Callable[[TeacherResponse], Tap | None]:
        def tap(response: TeacherResponse) -> Tap | None:
            if response.status != 200:
                return None
            return _ExchangeTap(asked, response, self._counts, self._deliver)

        return tap


class _ExchangeTap(Tap):
    """Keeps a teacher's answer as it passes, and makes an exchange of it at its end."""

    def __init__(
        self,
        asked: Asked,
        response: TeacherResponse,
        counts: Counts,
        deliver: Callable[[Exchange], None],
    ) -> None:
        self._asked = asked
        self._headers = response.headers
        self._delimited = response.delimited
        self._counts = counts
        self._deliver = deliver
        self._chunks: list[bytes] = []
        self._size = 0

    def chunk(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size <= _LARGEST_CAPTURED:
            self._chunks.append(chunk)

    def before_end(self) -> None:
        """Break a stream that just stopped, where HTTP itself cannot tell that it broke."""
        if self._delimited or not is_stream(self._headers) or self._size > _LARGEST_CAPTURED:
            return
        body = b"".join(self._chunks)
        if not self._asked.api.ends(body[-1024:]):
            parse_reply(self._asked.api, self._headers, body)

    def after_end(self) -> None:
        latency_ms = _ms_since(self._asked.started)
        try:
            if self._size > _LARGEST_CAPTURED:
                raise TeacherError(f"The answer has more than {_LARGEST_CAPTURED} bytes")
            reply = parse_reply(self._asked.api, self._headers, b"".join(self._chunks))
        except TeacherError as error:
            self._counts.uncaptured += 1
            logger.warning("An answer was passed on but not captured: %s", error)
            return
        self._deliver(teacher_exchange(self._asked, reply, latency_ms))


def _headers(source: str, asked: Asked | None) -> Pairs:
    headers = [(b"x-openwheel-source", source.encode())]
    if asked is not None:
        decision = asked.decision
        if decision.task:
            headers.append((b"x-openwheel-task", header_text(decision.task)))
        if decision.confidence is not None:
            headers.append((b"x-openwheel-confidence", b"%.4f" % decision.confidence))
    return headers


def _header_text(value: bytes) -> str:
    """Decode a header value as clients send it: UTF-8 nowadays, Latin-1 by the old standard."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _deferred(decision: Decision) -> Decision:
    return Decision(
        task=decision.task,
        student=decision.student,
        confidence=decision.confidence,
        audit_probability=decision.audit_probability,
        reason="not plain",
    )


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
