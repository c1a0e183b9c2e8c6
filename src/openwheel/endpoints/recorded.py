"""A teacher that answers from a recording: for demonstrations, replays and tests."""

import asyncio
import functools
from collections.abc import Hashable, Iterable

import msgspec

from openwheel.endpoints.teacher import Headers, TeacherResponse, error_body, whole_response
from openwheel.errors import RequestError
from openwheel.traffic.exchange import Exchange
from openwheel.wire import (
    Answer,
    ChatRequest,
    Usage,
    completion_body,
    completion_stream,
    read_request,
)
from openwheel.wire.prompt import canonical_json

_NAME = "recording"
_respond = functools.partial(whole_response, teacher=_NAME)


class _Recorded(msgspec.Struct, frozen=True):
    answer: Answer
    model: str
    usage: Usage | None
    latency_ms: float


class RecordedTeacher:
    """Answers a request as the recording did, in chat completion shape, streamed if asked.

    A request matches when its canonical form is that of a recorded one; several answers recorded
    for one request are given in turn, in the order of recording, and then from the start again.
    A request the recording does not have gets status 404. What students answered is left out: a
    recording's right answers are its teacher's.

    Args:
        exchanges: The recording; read once.
        pace: Times the recorded latency is how long an answer takes; 0 answers at once.

    Raises:
        RequestError: The request of an exchange cannot be read.
    """

    def __init__(self, exchanges: Iterable[Exchange], *, pace: float = 0.0) -> None:
        self._pace = pace
        self._answers: dict[Hashable, list[_Recorded]] = {}
        self._given: dict[Hashable, int] = {}
        models: dict[str, None] = {}
        for exchange in exchanges:
            if exchange.source == "student":
                continue
            recorded = _Recorded(
                exchange.answer, exchange.model, exchange.usage, exchange.latency_ms or 0.0
            )
            key = _key(read_request(exchange.request))
            self._answers.setdefault(key, []).append(recorded)
            if exchange.model:
                models[exchange.model] = None
        self.models = tuple(models)

    async def close(self) -> None:
        """Do nothing: there are no connections."""

    async def send(
        self,
        method: str,
        path: str,
        headers: Headers,  # noqa: ARG002 - the protocol's
        body: bytes,
        *,
        model: str = "",
    ) -> TeacherResponse:
        """Answer from the recording; see `Teacher.send`."""
        path = path.partition("?")[0]
        if path == "/v1/models" and method in {"GET", "HEAD"}:
            return _respond(200, self._model_list() if method == "GET" else b"")
        if path != "/v1/chat/completions" or method != "POST":
            return _not_found(f"The recording answers no {method} {path}: chat completions only")
        try:
            request = read_request(body)
        except RequestError as error:
            return _respond(400, error_body(str(error), type="invalid_request_error"))
        recorded = self._next(_key(request))
        if recorded is None:
            return _not_found("The recording has no answer for this request")
        if self._pace:
            await asyncio.sleep(self._pace * recorded.latency_ms / 1000)
        model = recorded.model or request.model
        if not request.stream:
            return _respond(
                200, completion_body(recorded.answer, model=model, usage=recorded.usage)
            )
        options = request.stream_options
        events = completion_stream(
            recorded.answer,
            model=model,
            include_usage=bool(options and options.include_usage),
            usage=recorded.usage,
        )
        return _respond(200, *events, content_type=b"text/event-stream; charset=utf-8")

    def _next(self, key: Hashable) -> _Recorded | None:
        answers = self._answers.get(key)
        if answers is None:
            return None
        turn = self._given.get(key, 0)
        self._given[key] = turn + 1
        return answers[turn % len(answers)]

    def _model_list(self) -> bytes:
        models = [
            {"id": name, "object": "model", "created": 0, "owned_by": _NAME} for name in self.models
        ]
        return msgspec.json.encode({"object": "list", "data": models})


def _key(request: ChatRequest) -> Hashable:
    """Return what two requests must have in common to be answered alike."""
    prompt = request.prompt()
    if prompt.plain:
        return prompt
    # The text does not say it all, so take everything that shapes the answer.
    whole = [
        request.messages,
        prompt.tools,
        prompt.response_format,
        request.n,
        request.logprobs,
        request.top_logprobs,
        request.modalities,
    ]
    return canonical_json(whole)


def _not_found(message: str) -> TeacherResponse:
    body = error_body(message, type="invalid_request_error", code="not_in_recording")
    return _respond(404, body)
