"""Makes exchanges from calls and their answers."""

from typing import Final, NamedTuple

import msgspec

from openwheel.errors import TeacherError
from openwheel.gateway.call import Call
from openwheel.loop.route import by_student, by_teacher
from openwheel.store.exchange import REJECTED, Exchange, Source
from openwheel.tasks import answer_in
from openwheel.wire import (
    Api,
    Reply,
    Usage,
    read_reply_id,
    sse_data,
    usable_id,
)

REJECTS: Final = frozenset({400, 413, 414, 415, 422, 451})
"""Statuses by which a teacher rejects the request itself, for any client and at any time.

All others are about the teacher, the key or the moment, not about the request.
"""

# OpenAI's, Anthropic's and TypeSafe's.
_ID_HEADERS = (b"x-request-id", b"request-id", b"x-typesafe-request-id")
_CODED: Final = "The answer is compressed, though identity was asked for"


def student_exchange(call: Call, answer: str, *, source: Source = "student") -> Exchange:
    """Return the exchange of a request that a student answered; it calibrates nothing."""
    exchange = Exchange(
        id=call.id,
        time=call.time,
        request=call.body,
        api=call.api.name,
        answer=answer_in(answer, call.decision.form),
        source=source,
        task=call.task,
        latency_ms=call.latency_ms,
        key=call.key.name if call.key else "",
    )
    return by_student(exchange, call.decision, answer, source=source)


def teacher_exchange(
    call: Call,
    reply: Reply,
    latency_ms: float,
    *,
    teacher: str,
    ids: tuple[str, str] = ("", ""),
) -> Exchange:
    """Return the exchange of a request that the teacher of this name answered for the client.

    The ``ids`` are those of `client_ids`, if a client has seen the answer. A rejection names no
    model, and the model asked for would count as another teacher.
    """
    named = "" if reply.answer == REJECTED else call.model
    exchange = Exchange(
        id=call.id,
        time=call.time,
        request=call.body,
        api=call.api.name,
        answer=reply.answer,
        source="teacher",
        model=reply.model or named,
        fingerprint=reply.fingerprint,
        teacher=teacher,
        task=call.task,
        latency_ms=latency_ms,
        usage=reply.usage,
        key=call.key.name if call.key else "",
        reply_id=ids[0],
        request_id=ids[1],
    )
    return by_teacher(exchange, call.decision, call.route)


class Taken(NamedTuple):
    """What is kept of one response of a teacher.

    Attributes:
        exchanges: One for each question, with its call.
        reply: The answer, of several the first; its usage is of all.
    """

    exchanges: list[tuple[Call, Exchange]]
    reply: Reply

    @property
    def written(self) -> int:
        """Bytes of text in the answers, about."""
        return sum(len(exchange.answer.text) for _, exchange in self.exchanges)


def take_response(
    call: Call,
    status: int,
    headers: list[tuple[bytes, bytes]],
    body: bytes,
    latency_ms: float,
    *,
    teacher: str,
) -> Taken:
    """Return the exchanges of a whole response to a request, or to some of its questions.

    Raises:
        TeacherError: It is not a whole answer that can be read.
    """
    ids = client_ids(headers, body)
    replies = parse_replies(call, status, headers, body)
    exchanges = []
    for part, reply in zip(call.parts or (call,), replies, strict=True):
        # A client knows the answers to several questions by one id, so each has its own behind it.
        own = ids if len(replies) == 1 else ("", "")
        exchange = teacher_exchange(part, reply, latency_ms, teacher=teacher, ids=own)
        exchanges.append((part, exchange))
    counts = [reply.usage for reply in replies if reply.usage is not None]
    usage = Usage(
        sum(count.prompt_tokens for count in counts),
        sum(count.completion_tokens for count in counts),
    )
    return Taken(exchanges, msgspec.structs.replace(replies[0], usage=usage if counts else None))


def parse_replies(
    call: Call, status: int, headers: list[tuple[bytes, bytes]], body: bytes
) -> list[Reply]:
    """Read a whole response, the answer to each question; see `parse_reply`.

    Raises:
        TeacherError: It is not a whole answer that can be read.
    """
    if not call.parts or status != 200 or call.api.questions is None:
        return [parse_reply(call.api, status, headers, body)] * len(call.parts or (call,))
    if is_coded(headers):
        raise TeacherError(_CODED)
    asked = [part.request for part in call.parts if part.request is not None]
    return call.api.questions.read_replies(body, asked)


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
        raise TeacherError(_CODED)
    return api.read_stream(sse_data(body)) if is_stream(headers) else api.read_reply(body)


def client_ids(headers: list[tuple[bytes, bytes]], body: bytes) -> tuple[str, str]:
    """Return the ids by which a client knows a teacher's answer: of its body, of its headers."""
    events = sse_data(body) if is_stream(headers) else (body,)
    named = {name: value for name, value in headers if name in _ID_HEADERS}
    header = next((named[name] for name in _ID_HEADERS if name in named), b"")
    text = header.decode("latin-1")
    return read_reply_id(events), text if usable_id(text) else ""
