"""Anthropic's ``POST /v1/messages`` as an `Api`."""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from openwheel.wire.answer import Answer, Usage, as_answer
from openwheel.wire.api import ApiName
from openwheel.wire.chat import Reply
from openwheel.wire.messages import read_message, read_message_stream, read_messages_request
from openwheel.wire.messages_writing import message_body, message_error, message_events
from openwheel.wire.prompt import task_of
from openwheel.wire.request import Request, settings_of

# What is read elsewhere (the prompt and whether it is plain), and what does not shape an answer.
_NEUTRAL = frozenset(
    {
        "messages",
        "system",
        "tools",
        "tool_choice",
        "container",
        "mcp_servers",
        "stream",
        "metadata",
        "cache_control",
        "service_tier",
    }
)
_IN_PROMPT: Final[Mapping[str, str]] = MappingProxyType({"output_config": "format"})
# JSON escapes quotation marks, so no text of an answer can hold this.
_END = re.compile(rb'"type" *: *"message_stop"|event: ?error\r?\ndata:.+[\r\n]')


class MessagesApi:
    """Anthropic messages; see `Api`.

    Only a teacher answers what text does not say whole: images, documents, tool calls and their
    results, thinking, containers, and tools other than the client's own.
    """

    name: Final[ApiName] = "messages"
    path: Final = "/v1/messages"
    id_header: Final = b"request-id"

    def read_request(self, body: bytes) -> Request:
        """Read a request; see `Api.read_request`."""
        request = read_messages_request(body)
        return Request(
            prompt=request.prompt(),
            model=request.model,
            stream=bool(request.stream),
            task=task_of(request.metadata),
            settings=settings_of(body, _NEUTRAL, _IN_PROMPT),
        )

    def read_reply(self, body: bytes) -> Reply:
        """Read a whole answer; see `Api.read_reply`."""
        return read_message(body)

    def read_stream(self, events: Iterable[bytes]) -> Reply:
        """Read a stream; see `Api.read_stream`."""
        return read_message_stream(events)

    def ends(self, tail: bytes) -> bool:
        """Return whether the stream has ended; see `Api.ends`."""
        return _END.search(tail) is not None

    def body(
        self,
        answer: str | Answer,
        request: Request,
        usage: Usage | None = None,
        *,
        identity: str = "",
    ) -> bytes:
        """Write a whole answer; see `Api.body`."""
        return message_body(as_answer(answer), request, usage, identity)

    def events(
        self,
        answer: str | Answer,
        request: Request,
        usage: Usage | None = None,
        *,
        identity: str = "",
    ) -> Iterable[bytes]:
        """Write a stream; see `Api.events`."""
        return message_events(as_answer(answer), request, usage, identity)

    def error(self, message: str, *, type: str, code: str | None = None) -> bytes:
        """Write an error, in Anthropic's shape; see `Api.error`."""
        return message_error(message, type=type, code=code)
