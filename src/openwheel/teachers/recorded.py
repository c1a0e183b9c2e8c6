"""Answers requests from a recording, for demonstrations, replays and tests."""

import asyncio
import functools
from collections.abc import Hashable, Iterable
from typing import Any

import msgspec

from openwheel.errors import RequestError
from openwheel.store.exchange import BY_STUDENTS, Exchange
from openwheel.teachers.teacher import TeacherRequest, TeacherResponse, whole_response
from openwheel.wire import APIS, Answer, Api, ApiName, Questions, Request, Usage, error_body
from openwheel.wire.prompt import canonical_json

_NAME = "recording"
_WRONG = "invalid_request_error"
_NOT_RECORDED = "not_in_recording"
# The fields of a request, in any of the APIs, that change the question beyond its prompt.
_ASKS = (
    "messages",
    "input",
    "questions",
    "state",
    "assets",
    "prompt",
    "system",
    "instructions",
    "tools",
    "tool_choice",
    "functions",
    "function_call",
    "response_format",
    "text",
    "n",
    "logprobs",
    "top_logprobs",
    "modalities",
)
_fields = msgspec.json.Decoder(dict[str, Any])
_respond = functools.partial(whole_response, teacher=_NAME)


class _Recorded(msgspec.Struct, frozen=True):
    answer: Answer
    model: str
    usage: Usage | None
    latency_ms: float


class RecordedTeacher:
    """Answers a request with its recorded answer, in the shape of its API, streamed if asked.

    A request matches a recorded one of the same API with the same canonical form. Several answers
    to one request are given in turn, in the order of recording, and then from the start. A request
    that the recording does not have gets status 404. Students' answers are left out, since a
    teacher's answers define right.

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
            if exchange.source in BY_STUDENTS:
                continue
            recorded = _Recorded(
                exchange.answer, exchange.model, exchange.usage, exchange.latency_ms or 0.0
            )
            if exchange.api in APIS:
                key = _key(exchange.api, exchange.read(), exchange.request)
                self._answers.setdefault(key, []).append(recorded)
            if exchange.model:
                models[exchange.model] = None
        self.models = tuple(models)

    async def close(self) -> None:
        """Do nothing: there are no connections."""

    async def send(self, request: TeacherRequest) -> TeacherResponse:
        """Answer from the recording; see `Teacher.send`."""
        method, path = request.method, request.path.partition("?")[0]
        if path == "/v1/models" and method in {"GET", "HEAD"}:
            return _respond(200, self._model_list() if method == "GET" else b"")
        api = next((api for api in APIS.values() if api.path == path), None)
        if api is None or method != "POST":
            message = f"The recording answers no {method} {path}"
            return _respond(404, error_body(message, type=_WRONG, code=_NOT_RECORDED))
        if api.questions is not None:
            return self._decide(api, api.questions, request.body)
        return await self._complete(api, request.body)

    async def _complete(self, api: Api, body: bytes) -> TeacherResponse:
        """Answer a request for a text from the recording."""
        try:
            request = api.read_request(body)
        except RequestError as error:
            return _respond(400, api.error(str(error), type=_WRONG))
        recorded = self._next(_key(api.name, request, body))
        if recorded is None:
            message = "The recording has no answer for this request"
            return _respond(404, api.error(message, type=_WRONG, code=_NOT_RECORDED))
        if self._pace:
            await asyncio.sleep(self._pace * recorded.latency_ms / 1000)
        request = msgspec.structs.replace(request, model=recorded.model or request.model)
        if not request.stream:
            return _respond(200, api.body(recorded.answer, request, recorded.usage))
        events = api.events(recorded.answer, request, recorded.usage)
        return _respond(200, *events, content_type=b"text/event-stream; charset=utf-8")

    def _decide(self, api: Api, questions: Questions, body: bytes) -> TeacherResponse:
        """Answer each question of a request from the recording."""
        try:
            requests = questions.split(body)
        except RequestError as error:
            return _respond(400, api.error(str(error), type=_WRONG))
        bodies = questions.alone(body)
        recorded = [
            self._next(_key(api.name, request, alone))
            for request, alone in zip(requests, bodies, strict=True)
        ]
        found = [one for one in recorded if one is not None]
        if len(found) < len(requests):
            message = "The recording has no answer for a question of this request"
            return _respond(404, api.error(message, type=_WRONG, code=_NOT_RECORDED))
        used = [one.usage or Usage() for one in found]
        usage = Usage(
            sum(one.prompt_tokens for one in used), sum(one.completion_tokens for one in used)
        )
        named = msgspec.structs.replace(requests[0], model=found[0].model or requests[0].model)
        return _respond(
            200, questions.body([one.answer for one in found], [named, *requests[1:]], usage)
        )

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


def _key(api: ApiName, request: Request, body: bytes) -> Hashable:
    """Return the key of a request: equal keys get equal answers."""
    if request.prompt.answerable:
        return api, request.prompt
    # The text is not the whole request, so take every field that shapes the answer.
    fields = _fields.decode(body)
    return api, canonical_json([fields.get(name) for name in _ASKS])
