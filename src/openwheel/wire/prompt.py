"""Reading a chat completion request, and its canonical form, the prompt."""

from collections.abc import Mapping
from typing import Any

import msgspec

from openwheel.errors import RequestError
from openwheel.wire.tools import RESULT, PromptMessage, Turns, canonical_tools

_canonical = msgspec.json.Encoder(order="sorted")


class Prompt(msgspec.Struct, frozen=True):
    """What a request asks, free of how it is sent.

    Attributes:
        messages: All messages in order; calls of tools and their results are messages of their own.
        tools: Canonical JSON of the tools and tool choice, ``""`` when none were given.
        response_format: Canonical JSON of the response format, ``""`` when none was given.
        plain: Whether text says it all. False when there are images, audio, calls of tools or
            results that cannot be read, or settings that ask for more than one plain answer (``n``
            above 1); only a teacher may answer those.
        scored: Whether log-probabilities are asked for as well. Only a teacher has them; its answer
            is learned from like any other.
    """

    messages: tuple[PromptMessage, ...]
    tools: str = ""
    response_format: str = ""
    plain: bool = True
    scored: bool = False

    @property
    def answerable(self) -> bool:
        """Whether a student may answer it."""
        return self.plain and not self.scored


class _Message(msgspec.Struct):
    role: str
    content: str | list[Any] | None = None
    tool_calls: list[Any] | None = None
    tool_call_id: Any = None
    function_call: Any = None


class StreamOptions(msgspec.Struct):
    """The part of ``stream_options`` that changes the stream's form."""

    include_usage: bool | None = None


class ChatRequest(msgspec.Struct):
    """The fields of ``POST /v1/chat/completions`` that Openwheel looks at.

    Unknown fields are ignored here and forwarded untouched: the body itself goes to the teacher,
    never a re-encoding of this struct. Source: the OpenAI API reference, "Create chat completion".
    """

    messages: list[_Message]
    model: str = ""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    functions: list[Any] | None = None
    function_call: Any = None
    response_format: Any = None
    modalities: list[str] | None = None
    metadata: dict[str, Any] | None = None

    def prompt(self) -> Prompt:
        """Return the canonical form of what is asked."""
        plain = (self.n is None or self.n == 1) and (
            self.modalities is None or self.modalities == ["text"]
        )
        turns = Turns()
        for message in self.messages:
            text, is_text = _text(message.content)
            plain = plain and is_text and message.role != "function" and not message.function_call
            if message.role == RESULT:
                turns.result(message.tool_call_id, text)
                continue
            if text or not message.tool_calls:
                turns.say(message.role, text)
            for call in message.tool_calls or ():
                identity, function = (_get(call, name) for name in ("id", "function"))
                turns.call(identity, _get(function, "name"), _get(function, "arguments"))
        older = [self.functions, self.function_call] if self.functions else None
        return Prompt(
            messages=turns.messages,
            tools=canonical_tools(self.tools, self.tool_choice, older),
            response_format=(
                ""
                if self.response_format in (None, {"type": "text"})
                else canonical_json(self.response_format)
            ),
            plain=plain and turns.plain,
            scored=bool(self.logprobs or self.top_logprobs),
        )

    @property
    def task(self) -> str:
        """The task named in ``metadata`` (key ``openwheel_task`` or ``task``), else ``""``."""
        return task_of(self.metadata)


_request_decoder = msgspec.json.Decoder(ChatRequest)


def read_request(body: bytes) -> ChatRequest:
    """Read a chat completion request, or raise `RequestError` with the field that is wrong."""
    try:
        request = _request_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"The request body is not a chat completion request: {error}") from None
    if not request.messages:
        raise RequestError("The request body has no messages: at least one is needed")
    return request


def _get(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def canonical_json(value: Any) -> str:
    """Return JSON with sorted keys and no spaces, so that equal values give equal text."""
    return _canonical.encode(value).decode()


def task_of(metadata: Mapping[str, Any] | None) -> str:
    """Return the task named in a request's metadata (key ``openwheel_task`` or ``task``)."""
    if metadata:
        for key in ("openwheel_task", "task"):
            value = metadata.get(key)
            if isinstance(value, str) and value:
                return value
    return ""


def _text(content: str | list[Any] | None) -> tuple[str, bool]:
    """Return the text of a message's content, and whether text was all there was."""
    if content is None:
        return "", True
    if isinstance(content, str):
        return content, True
    texts, is_text = [], True
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict) and isinstance(part.get("text"), str):
            texts.append(part["text"])
        else:
            is_text = False
    return "\n".join(texts), is_text
