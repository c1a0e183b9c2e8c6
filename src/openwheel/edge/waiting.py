"""Keeps a request until it can be asked upstream, and makes exchanges of its answer then."""

from collections.abc import Sequence
from typing import Final

import msgspec

from openwheel.gateway.call import Call
from openwheel.gateway.exchanges import REJECTS, parse_replies
from openwheel.loop.route import as_audit, by_teacher
from openwheel.store import Exchange
from openwheel.teachers import Headers, TeacherResponse
from openwheel.wire import APIS, Answer, Reply, without_stream

_KEPT_HEADERS: Final = ("content-type", "anthropic-version", "anthropic-beta", "x-openwheel-task")


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A request that is still to be asked upstream.

    Attributes:
        api: The API that it was sent to.
        path: As `TeacherRequest` has it, with its query.
        headers: Those that matter to its answer.
        marks: Those for the upstream gateway.
        body: Asks for no stream.
        model: That it asks for.
        exchanges: The exchanges to make of the answer, one for each question; the answer is
            missing, and a request that is the whole body is left out. Empty if the upstream
            keeps them.
    """

    api: str
    path: str
    headers: tuple[tuple[str, str], ...]
    marks: tuple[tuple[str, str], ...]
    body: bytes
    model: str
    exchanges: tuple[Exchange, ...] = ()


def part_of(call: Call, parts: Sequence[Call]) -> Call:
    """Return the call that has some of the questions of another."""
    if len(parts) == len(call.parts) or not call.parts or call.api.questions is None:
        return call
    places = [call.parts.index(part) for part in parts]
    return msgspec.structs.replace(
        call, body=call.api.questions.only(call.body, places), parts=tuple(parts)
    )


def waiting_for(
    call: Call, path: str, headers: Headers, parts: Sequence[Call], *, audit: bool = False
) -> Waiting:
    """Return a request as it is kept until it can be asked."""
    body = without_stream(call.body) if call.stream else call.body
    exchanges: list[Exchange] = []
    if call.captured:
        for part in parts:
            exchange = Exchange(
                id=part.id,
                time=part.time,
                request=b"" if len(parts) == 1 else part.body,
                api=part.api.name,
                answer=Answer(""),
                source="teacher",
                task=part.task,
                key=part.key.name if part.key else "",
            )
            exchange = by_teacher(exchange, part.decision, part.route)
            exchanges.append(as_audit(exchange) if audit else exchange)
    return Waiting(
        api=call.api.name,
        path=path,
        headers=tuple(
            (name.decode(), value.decode("latin-1"))
            for name, value in headers
            if name.decode("latin-1") in _KEPT_HEADERS
        ),
        marks=tuple((name.decode(), value.decode()) for name, value in call.marks),
        body=body,
        model=call.model,
        exchanges=tuple(exchanges),
    )


def exchanges_of(
    waiting: Waiting, response: TeacherResponse, body: bytes, latency_ms: float
) -> list[Exchange] | None:
    """Return the exchanges that come of an answer; None if it is no answer.

    Raises:
        TeacherError: It is not whole, or cannot be read.
    """
    taken = response.status == 200 or response.status in REJECTS
    if not waiting.exchanges:
        return [] if taken else None
    if not taken:
        return None
    api = APIS[waiting.api]
    call = Call(api, body=waiting.body, model=waiting.model)
    if len(waiting.exchanges) > 1 and api.questions is not None:
        asked = api.questions.split(waiting.body)
        call.parts = tuple(Call(api, request=request) for request in asked)
    replies = parse_replies(call, response.status, response.headers, body)
    return [
        _answered(exchange, waiting, reply, response.teacher, latency_ms)
        for exchange, reply in zip(waiting.exchanges, replies, strict=True)
    ]


def _answered(
    exchange: Exchange, waiting: Waiting, reply: Reply, teacher: str, latency_ms: float
) -> Exchange:
    rejected = not reply.model and reply.answer.finish_reason == "rejected"
    return msgspec.structs.replace(
        exchange,
        request=exchange.request or waiting.body,
        answer=reply.answer,
        model=reply.model or ("" if rejected else waiting.model),
        fingerprint=reply.fingerprint,
        teacher=teacher,
        latency_ms=latency_ms,
        usage=reply.usage,
    )
