"""``POST /v1/responses`` as an `Api`."""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from openwheel.wire.answer import Answer, Usage, as_answer
from openwheel.wire.api import ApiName
from openwheel.wire.chat import Reply
from openwheel.wire.error import error_body
from openwheel.wire.prompt import task_of
from openwheel.wire.request import Request, settings_of
from openwheel.wire.responses import (
    ResponsesRequest,
    read_response,
    read_response_stream,
    read_responses_request,
)
from openwheel.wire.responses_writing import response_body, response_events

# What is read elsewhere (the prompt and whether it is plain), and what does not shape an answer.
_NEUTRAL = frozenset(
    {
        "input",
        "instructions",
        "tools",
        "tool_choice",
        "include",
        "previous_response_id",
        "conversation",
        "background",
        "prompt",
        "moderation",
        "top_logprobs",
        "store",
        "stream",
        "stream_options",
        "metadata",
        "user",
        "safety_identifier",
        "service_tier",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
    }
)
_ECHOED = (
    "background",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt_cache_key",
    "reasoning",
    "safety_identifier",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
)
_IN_PROMPT: Final[Mapping[str, str]] = MappingProxyType({"text": "format"})
# JSON escapes line ends, so no text of an answer can hold this.
_END = re.compile(rb"event: ?(?:response\.(?:completed|incomplete|failed)|error)\r?\ndata:.+[\r\n]")


class ResponsesApi:
    """Responses; see `Api`.

    A response is kept by the server unless ``store`` is false, which is `Request.kept`. Only a
    teacher answers what text does not say whole (images, files, tool calls and their results,
    reasoning items), what builds on something kept (``previous_response_id``,
    ``conversation``, ``prompt``), what asks
    for more than an answer (``include``, ``background``, ``moderation``, ``top_logprobs``), and
    tools other than functions.
    """

    name: Final[ApiName] = "responses"
    path: Final = "/v1/responses"
    id_header: Final = b"x-request-id"

    def read_request(self, body: bytes) -> Request:
        """Read a request; see `Api.read_request`."""
        request = read_responses_request(body)
        prompt = request.canonical()
        return Request(
            prompt=prompt,
            model=request.model,
            stream=bool(request.stream),
            task=task_of(request.metadata),
            settings=settings_of(body, _NEUTRAL, _IN_PROMPT),
            kept=request.store is not False,
            echo=_echo(request),
        )

    def read_reply(self, body: bytes) -> Reply:
        """Read a whole answer; see `Api.read_reply`."""
        return read_response(body)

    def read_stream(self, events: Iterable[bytes]) -> Reply:
        """Read a stream; see `Api.read_stream`."""
        return read_response_stream(events)

    def ends(self, tail: bytes) -> bool:
        """Return whether the stream has ended; see `Api.ends`.

        The last event repeats the request, so that it may be longer than ``tail``: then this
        returns False, and only reading the stream tells.
        """
        return tail.endswith((b"\n", b"\r")) and _END.search(tail) is not None

    def body(
        self,
        answer: str | Answer,
        request: Request,
        usage: Usage | None = None,
        *,
        identity: str = "",
    ) -> bytes:
        """Write a whole answer; see `Api.body`."""
        return response_body(as_answer(answer), request, usage, identity)

    def events(
        self,
        answer: str | Answer,
        request: Request,
        usage: Usage | None = None,
        *,
        identity: str = "",
    ) -> Iterable[bytes]:
        """Write a stream; see `Api.events`."""
        return response_events(as_answer(answer), request, usage, identity)

    def error(self, message: str, *, type: str, code: str | None = None) -> bytes:
        """Write an error; see `Api.error`."""
        return error_body(message, type=type, code=code)


def _echo(request: ResponsesRequest) -> dict[str, Any]:
    return {name: value for name in _ECHOED if (value := getattr(request, name)) is not None}
