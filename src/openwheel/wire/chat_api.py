"""``POST /v1/chat/completions`` as an `Api`."""

from collections.abc import Iterable
from typing import Final

from openwheel.wire.answer import Answer, Usage
from openwheel.wire.api import ApiName
from openwheel.wire.chat import Reply, read_reply, read_reply_stream
from openwheel.wire.chat_writing import completion_body, completion_stream
from openwheel.wire.error import error_body
from openwheel.wire.prompt import read_request
from openwheel.wire.request import Request, settings_of

# What is read elsewhere (the prompt and whether it is plain), and what does not shape an answer.
_NEUTRAL = frozenset(
    {
        "messages",
        "tools",
        "tool_choice",
        "functions",
        "function_call",
        "response_format",
        "n",
        "logprobs",
        "top_logprobs",
        "modalities",
        "stream",
        "stream_options",
        "user",
        "safety_identifier",
        "metadata",
        "store",
        "seed",
        "service_tier",
        "prompt_cache_key",
        "prompt_cache_retention",
    }
)


class ChatApi:
    """Chat completions; see `Api`."""

    name: Final[ApiName] = "chat"
    path: Final = "/v1/chat/completions"
    id_header: Final = b"x-request-id"

    def read_request(self, body: bytes) -> Request:
        """Read a request; see `Api.read_request`."""
        request = read_request(body)
        options = request.stream_options
        return Request(
            prompt=request.prompt(),
            model=request.model,
            stream=bool(request.stream),
            include_usage=bool(options and options.include_usage),
            task=request.task,
            settings=settings_of(body, _NEUTRAL),
        )

    def read_reply(self, body: bytes) -> Reply:
        """Read a whole answer; see `Api.read_reply`."""
        return read_reply(body)

    def read_stream(self, events: Iterable[bytes]) -> Reply:
        """Read a stream; see `Api.read_stream`."""
        return read_reply_stream(events)

    def ends(self, tail: bytes) -> bool:
        """Return whether the stream has ended; see `Api.ends`."""
        return b"[DONE]" in tail[-64:]

    def body(
        self,
        answer: str | Answer,
        request: Request,
        usage: Usage | None = None,
        *,
        identity: str = "",
    ) -> bytes:
        """Write a whole answer; see `Api.body`."""
        return completion_body(answer, model=request.model, usage=usage, identity=identity)

    def events(
        self,
        answer: str | Answer,
        request: Request,
        usage: Usage | None = None,
        *,
        identity: str = "",
    ) -> Iterable[bytes]:
        """Write a stream; see `Api.events`."""
        return completion_stream(
            answer,
            model=request.model,
            include_usage=request.include_usage,
            usage=usage,
            identity=identity,
        )

    def error(self, message: str, *, type: str, code: str | None = None) -> bytes:
        """Write an error; see `Api.error`."""
        return error_body(message, type=type, code=code)
