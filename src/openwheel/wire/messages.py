"""Anthropic messages: reading a request and a teacher's answer.

Only a teacher answers what text does not say whole: images, documents, thinking, containers,
threads (the server keeps these, and later requests go on from them), and tools other than the
client's own.

Source: the Anthropic API reference, "Create a Message", and its guide "Streaming messages".
"""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from openwheel.errors import RequestError, TeacherError
from openwheel.wire.answer import Answer, Reply, ToolCall, ended
from openwheel.wire.api import Api
from openwheel.wire.messages_writing import message_body, message_error, message_events
from openwheel.wire.prompt import Prompt, canonical_json, task_of
from openwheel.wire.request import Request, settings_of
from openwheel.wire.tools import Turns, canonical_tools
from openwheel.wire.usage import read_counts

# What is read elsewhere (the prompt and whether it is plain), and what does not shape an answer.
_NEUTRAL = frozenset(
    {
        "messages",
        "system",
        "tools",
        "tool_choice",
        "container",
        "mcp_servers",
        "thread",
        "stream",
        "metadata",
        "cache_control",
        "service_tier",
    }
)
_IN_PROMPT: Final[Mapping[str, str]] = MappingProxyType({"output_config": "format"})
# JSON escapes quotation marks, so no text of an answer can hold this.
_END = re.compile(rb'"type" *: *"message_stop"|event: ?error\r?\ndata:.+[\r\n]')
_OF_TOOLS: Final = frozenset({"tool_use", "tool_result"})
_PROMPT_COUNTS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


class _Block(msgspec.Struct):
    type: str = ""
    text: Any = None
    id: Any = None
    name: Any = None
    input: Any = None
    tool_use_id: Any = None
    content: Any = None
    is_error: Any = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Block]


class MessagesRequest(msgspec.Struct):
    """The fields of ``POST /v1/messages`` that Openwheel looks at; unknown ones are ignored."""

    messages: list[_Message]
    system: str | list[_Block] | None = None
    model: str = ""
    stream: bool | None = None
    thinking: dict[str, Any] | None = None
    container: Any = None
    mcp_servers: list[Any] | None = None
    thread: Any = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None
    output_config: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None

    def prompt(self) -> Prompt:
        """Return the canonical form of what is asked."""
        plain = (
            (self.thinking is None or self.thinking.get("type") == "disabled")
            and self.container is None
            and not self.thread
            and not self.mcp_servers
        )
        turns = Turns()
        if self.system:
            text, is_text = _text(self.system)
            plain = plain and is_text
            turns.say("system", text)
        for message in self.messages:
            plain = _add(message, turns) and plain
        # Others, such as web search, are run by the server or are of a form of their own.
        plain = plain and all(tool.get("type") in {None, "custom"} for tool in self.tools or ())
        tools = canonical_tools([_uncached(tool) for tool in self.tools or ()], self.tool_choice)
        output_format = (self.output_config or {}).get("format")
        return Prompt(
            turns.messages,
            tools,
            canonical_json(output_format) if output_format else "",
            plain and turns.plain,
        )


class _AnswerBlock(msgspec.Struct):
    type: str = ""
    text: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw(b"{}")


class _Answer(msgspec.Struct):
    content: list[_AnswerBlock]
    role: str
    model: str | None = None
    stop_reason: Any = None
    usage: Any = None


# A block, and the pieces of its text and of its input, in order.
_Pieces = tuple[_AnswerBlock, list[str], list[str]]


class _Kind(msgspec.Struct):
    type: str = ""


class _Opening(msgspec.Struct):
    model: str | None = None
    usage: Any = None


class _Start(msgspec.Struct):
    message: _Opening


class _BlockStart(msgspec.Struct):
    index: int
    content_block: _AnswerBlock


class _Delta(msgspec.Struct):
    text: str | None = None
    partial_json: str | None = None


class _BlockDelta(msgspec.Struct):
    index: int
    delta: _Delta


class _Stop(msgspec.Struct):
    stop_reason: Any = None


class _MessageDelta(msgspec.Struct):
    delta: _Stop | None = None
    usage: Any = None


class _Error(msgspec.Struct):
    message: str | None = None


class _Failure(msgspec.Struct):
    error: _Error | None = None


_request_decoder = msgspec.json.Decoder(MessagesRequest)
_answer_decoder = msgspec.json.Decoder(_Answer)
_kind_decoder = msgspec.json.Decoder(_Kind)
_start_decoder = msgspec.json.Decoder(_Start)
_block_start_decoder = msgspec.json.Decoder(_BlockStart)
_block_delta_decoder = msgspec.json.Decoder(_BlockDelta)
_message_delta_decoder = msgspec.json.Decoder(_MessageDelta)
_text_decoder = msgspec.json.Decoder(str)
_failure_decoder = msgspec.json.Decoder(_Failure)


def read_messages_request(body: bytes) -> Request:
    """Read a request; see `Api`."""
    try:
        request = _request_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"The request body is not a Messages request: {error}") from None
    if not request.messages:
        raise RequestError("The request body has no messages: at least one is needed")
    return Request(
        prompt=request.prompt(),
        model=request.model,
        stream=bool(request.stream),
        task=task_of(request.metadata),
        settings=settings_of(body, _NEUTRAL, _IN_PROMPT),
    )


def read_message(body: bytes) -> Reply:
    """Read a message: its text, tool calls, model and usage; raises `TeacherError`."""
    try:
        message = _answer_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TeacherError(f"The answer is not a message: {error}") from None
    blocks: list[_Pieces] = [(block, [block.text or ""], []) for block in message.content]
    return _reply(blocks, message.stop_reason, message.model, message.usage)


def read_message_stream(events: Iterable[bytes]) -> Reply:
    """Join the events of a stream into the message they spell.

    Raises:
        TeacherError: A payload is not an event, the stream holds an error, or it ended before
            ``message_stop``.
    """
    blocks: dict[int, _Pieces] = {}
    usage: dict[str, Any] = {}
    stop: Any = None
    model: str | None = None
    try:
        for event in events:
            kind = _kind_decoder.decode(event).type
            if kind == "content_block_delta":
                change = _block_delta_decoder.decode(event)
                if change.index not in blocks:
                    raise TeacherError("The stream goes on with a block that it did not start")
                _, texts, inputs = blocks[change.index]
                texts.append(change.delta.text or "")
                inputs.append(change.delta.partial_json or "")
            elif kind == "content_block_start":
                start = _block_start_decoder.decode(event)
                blocks[start.index] = (start.content_block, [start.content_block.text or ""], [])
            elif kind == "message_start":
                message = _start_decoder.decode(event).message
                model = message.model
                _count(usage, message.usage)
            elif kind == "message_delta":
                end = _message_delta_decoder.decode(event)
                stop = (end.delta and end.delta.stop_reason) or stop
                _count(usage, end.usage)
            elif kind == "message_stop":
                if not stop:
                    raise TeacherError("The message is not finished: it has no stop_reason")
                return _reply([block for _, block in sorted(blocks.items())], stop, model, usage)
            elif kind == "error":
                failure = _failure_decoder.decode(event).error
                why = failure.message if failure else None
                raise TeacherError(f"The stream ended with an error: {why}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TeacherError(f"The stream has an event that cannot be read: {error}") from None
    raise TeacherError("The stream ended before the message was finished")


def _count(usage: dict[str, Any], more: Any) -> None:
    """Take over counts: those of a later event are of the whole message so far."""
    if isinstance(more, dict):
        usage.update({name: count for name, count in more.items() if count is not None})


def _reply(
    blocks: Iterable[_Pieces],
    stop: Any,
    model: str | None,
    usage: Any,
) -> Reply:
    texts: list[str] = []
    calls: list[ToolCall] = []
    for block, pieces, inputs in blocks:
        if block.type == "text":
            texts += pieces
        elif block.type == "tool_use":
            # Some servers send the whole input at the start.
            arguments = "".join(inputs) or _text_of(block.input)
            calls.append(ToolCall(block.name or "", arguments))
    answer = Answer("".join(texts), tuple(calls), ended(stop))
    counts = read_counts(usage, _PROMPT_COUNTS, "output_tokens") if usage else None
    return Reply(answer, model or "", counts)


def _text_of(value: msgspec.Raw) -> str:
    """Return the JSON text of an object that was sent as such, or as its JSON text."""
    try:
        text = bytes(value).decode()
        return _text_decoder.decode(value) if text.startswith('"') else text
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TeacherError(f"The arguments of a tool call cannot be read: {error}") from None


def _uncached(tool: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in tool.items() if name != "cache_control"}


def _add(message: _Message, turns: Turns) -> bool:
    """Add a message; return whether text is all that it has beside calls and results of tools."""
    if isinstance(message.content, str):
        turns.say(message.role, message.content)
        return True
    own = [block for block in message.content if block.type not in _OF_TOOLS]
    text, is_text = _text(own)
    for block in message.content:
        if block.type == "tool_result":
            turns.result(block.tool_use_id, _result(block))
    if own or len(own) == len(message.content):
        turns.say(message.role, text)
    for block in message.content:
        if block.type == "tool_use":
            turns.call(block.id, block.name, block.input)
    return is_text


def _result(block: _Block) -> str | None:
    """Return the text that a tool returned, None if it is another content."""
    content = "" if block.content is None else block.content
    if isinstance(content, list):
        texts = [part.get("text", 0) for part in content if isinstance(part, dict)]
        texts = [text for text in texts if isinstance(text, str)]
        if len(texts) < len(content):
            return None
        content = "\n".join(texts)
    if not isinstance(content, str):
        return None
    return f"error {content}" if block.is_error else content


def _text(content: str | list[_Block]) -> tuple[str, bool]:
    """Return the text of a message's content, and whether text was all there was."""
    if isinstance(content, str):
        return content, True
    texts, is_text = [], True
    for block in content:
        if block.type == "text" and isinstance(block.text, str):
            texts.append(block.text)
        else:
            is_text = False
    return "\n".join(texts), is_text


def _ends(tail: bytes) -> bool:
    return _END.search(tail) is not None


MESSAGES: Final = Api(
    name="messages",
    path="/v1/messages",
    id_header=b"request-id",
    read_request=read_messages_request,
    read_reply=read_message,
    read_stream=read_message_stream,
    ends=_ends,
    body=message_body,
    events=message_events,
    error=message_error,
)
