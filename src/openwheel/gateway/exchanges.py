"""Making exchanges of what passed through the gateway."""

from typing import Final

import msgspec

from openwheel.errors import TeacherError
from openwheel.loop.captured import as_audit, by_student, by_teacher
from openwheel.loop.route import Route
from openwheel.loop.serving import Decision
from openwheel.store.exchange import REJECTED, Exchange, Source
from openwheel.wire import (
    Answer,
    Api,
    Reply,
    Request,
    Usage,
    ordered_id,
    read_reply_id,
    sse_data,
    usable_id,
)

REJECTS: Final = frozenset({400, 413, 414, 415, 422, 451})
"""Statuses by which a teacher rejects the request at hand, whoever sends it and whenever.

All others are of the teacher, the key or the moment, and say nothing of the request.
"""

# OpenAI's, and Anthropic's.
_ID_HEADERS = (b"x-request-id", b"request-id")


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request that is being answered.

    Attributes:
        time: When the request was whole, in seconds since 1970.
        started: The same moment on the clock of `time.perf_counter`.
        body: As the client sent it.
        task: The task the client named.
        key: Name of the gateway's key it was sent with, ``""`` if none was needed.
        again: Whether the client's SDK says that it has sent it before.
        way: Where it goes.
    """

    id: str = msgspec.field(default_factory=ordered_id)
    time: float
    started: float
    body: bytes
    api: Api
    request: Request
    task: str
    key: str
    again: bool
    decision: Decision
    way: Route


def student_exchange(
    asked: Asked, answer: str, latency_ms: float, *, source: Source = "student"
) -> Exchange:
    """Return the exchange of a request that a student answered; it calibrates nothing."""
    exchange = Exchange(
        id=asked.id,
        time=asked.time,
        request=asked.body,
        api=asked.api.name,
        answer=Answer(answer),
        source=source,
        task=asked.task,
        latency_ms=latency_ms,
        key=asked.key,
    )
    return by_student(exchange, asked.decision, answer, source=source)


def teacher_exchange(
    asked: Asked,
    reply: Reply,
    latency_ms: float,
    *,
    teacher: str,
    ids: tuple[str, str] = ("", ""),
) -> Exchange:
    """Return the exchange of a request that the teacher of this name answered for the client.

    The ``ids`` are those of `client_ids`, where a client has seen the answer. Who rejects a request
    names no model, and the one asked for would be taken for another teacher.
    """
    named = "" if reply.answer == REJECTED else asked.request.model
    exchange = Exchange(
        id=asked.id,
        time=asked.time,
        request=asked.body,
        api=asked.api.name,
        answer=reply.answer,
        source="teacher",
        model=reply.model or named,
        fingerprint=reply.fingerprint,
        teacher=teacher,
        task=asked.task,
        latency_ms=latency_ms,
        usage=reply.usage,
        key=asked.key,
        reply_id=ids[0],
        request_id=ids[1],
    )
    return by_teacher(exchange, asked.decision, asked.way)


def audit_exchange(asked: Asked, reply: Reply, latency_ms: float, *, teacher: str) -> Exchange:
    """Return the exchange of the teacher's answer to a request that a student answered."""
    return as_audit(teacher_exchange(asked, reply, latency_ms, teacher=teacher))


def is_stream(headers: list[tuple[bytes, bytes]]) -> bool:
    """Return whether a response is a stream of server-sent events."""
    return any(
        name == b"content-type" and value.lower().startswith(b"text/event-stream")
        for name, value in headers
    )


def is_coded(headers: list[tuple[bytes, bytes]]) -> bool:
    """Return whether a response's body is compressed, though identity was asked for."""
    return any(
        name == b"content-encoding" and value.lower() != b"identity" for name, value in headers
    )


def parse_reply(api: Api, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> Reply:
    """Read a whole response; one that rejects the request is `REJECTED`, and costs nothing.

    Raises:
        TeacherError: It is not a whole answer that can be read.
    """
    if status in REJECTS:
        return Reply(REJECTED, usage=Usage())
    if status != 200:
        raise TeacherError(f"the teacher answered with status {status}")
    if is_coded(headers):
        raise TeacherError("The answer is compressed, though identity was asked for")
    return api.read_stream(sse_data(body)) if is_stream(headers) else api.read_reply(body)


def client_ids(headers: list[tuple[bytes, bytes]], body: bytes) -> tuple[str, str]:
    """Return what a client knows a teacher's answer by: the id in its body, that in its headers.

    Either is ``""`` where the teacher gave none.
    """
    events = sse_data(body) if is_stream(headers) else (body,)
    named = {name: value for name, value in headers if name in _ID_HEADERS}
    header = next((named[name] for name in _ID_HEADERS if name in named), b"")
    text = header.decode("latin-1")
    return read_reply_id(events), text if usable_id(text) else ""
