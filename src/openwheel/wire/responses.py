"""Responses: reading a request and a teacher's answer.

Source: the OpenAI API reference, "Create a model response", "The response object" and "Streaming
events".

A response is kept by the server unless ``store`` is false, which is `Request.kept`. Only a teacher
answers what text does not say whole (images, files, reasoning items), what builds on something kept
(``previous_response_id``, ``conversation``, ``prompt``), what asks for more than an answer
(``include``, ``background``, ``moderation``, ``top_logprobs``), and tools other than functions. Of
those, log-probabilities alone leave the answer one that students learn from.
"""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from openwheel.errors import RequestError, TeacherError
from openwheel.wire.answer import Answer, Reply, ToolCall, ended
from openwheel.wire.api import Api
from openwheel.wire.content import arguments_text
from openwheel.wire.logprobs import read_logprobs
from openwheel.wire.prompt import Prompt, canonical_json, task_of
from openwheel.wire.request import Request, settings_of
from openwheel.wire.responses_writing import response_body, response_events
from openwheel.wire.tools import Turns, canonical_tools
from openwheel.wire.usage import read_counts

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
_LOGPROBS = "message.output_text.logprobs"
"""What ``include`` has where log-probabilities are asked for."""

_TEXT_PARTS = frozenset({"input_text", "output_text", "text"})
_ANSWERED = frozenset({"response.completed", "response.incomplete", "response.failed"})


class _Part(msgspec.Struct):
    type: str = ""
    text: Any = None
    refusal: Any = None
    logprobs: Any = None


class _Item(msgspec.Struct):
    type: str = "message"
    role: str = ""
    content: str | list[_Part] | None = None
    name: Any = None
    arguments: Any = None
    call_id: Any = None
    output: Any = None


class ResponsesRequest(msgspec.Struct):
    """The fields of ``POST /v1/responses`` that Openwheel looks at; unknown ones are ignored."""

    input: str | list[_Item] | None = None
    instructions: str | None = None
    model: str = ""
    stream: bool | None = None
    store: bool | None = None
    background: bool | None = None
    include: list[str] | None = None
    previous_response_id: str | None = None
    conversation: Any = None
    prompt: Any = None
    moderation: Any = None
    top_logprobs: int | None = None
    text: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    metadata: dict[str, Any] | None = None
    # These are only repeated in the answer.
    max_output_tokens: Any = None
    max_tool_calls: Any = None
    parallel_tool_calls: Any = None
    prompt_cache_key: Any = None
    reasoning: dict[str, Any] | None = None
    safety_identifier: Any = None
    temperature: Any = None
    top_p: Any = None
    truncation: Any = None
    user: Any = None

    def canonical(self) -> Prompt:
        """Return the canonical form of what is asked."""
        plain = (
            not self.background
            and set(self.include or ()) <= {_LOGPROBS}
            and not self.previous_response_id
            and self.conversation is None
            and self.prompt is None
            and self.moderation is None
        )
        scored = bool(self.top_logprobs or self.include)
        turns = Turns()
        if self.instructions:
            turns.say("system", self.instructions)
        if isinstance(self.input, str):
            turns.say("user", self.input)
        for item in self.input if isinstance(self.input, list) else ():
            if item.type == "function_call":
                turns.call(item.call_id, item.name, item.arguments)
            elif item.type == "function_call_output":
                turns.result(item.call_id, _output_text(item.output))
            else:
                text, is_text = _text(item)
                plain = plain and is_text
                turns.say(item.role or item.type, text)
        # Other tools are run by the server.
        plain = plain and all(tool.get("type") == "function" for tool in self.tools or ())
        tools = canonical_tools(self.tools, self.tool_choice)
        return Prompt(turns.messages, tools, self._response_format(), plain and turns.plain, scored)

    def _response_format(self) -> str:
        """Return the format as an equal chat completion request has it."""
        text_format = (self.text or {}).get("format")
        if text_format is None or text_format == {"type": "text"}:
            return ""
        if isinstance(text_format, dict) and text_format.get("type") == "json_schema":
            schema = {name: value for name, value in text_format.items() if name != "type"}
            text_format = {"type": "json_schema", "json_schema": schema}
        return canonical_json(text_format)


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _Error(msgspec.Struct):
    message: str | None = None


class _Response(msgspec.Struct):
    output: list[_Item] | None = None
    status: str | None = None
    incomplete_details: _Incomplete | None = None
    error: _Error | None = None
    usage: Any = None
    model: str | None = None


class _Kind(msgspec.Struct):
    type: str = ""


class _End(msgspec.Struct):
    response: _Response


class _ItemDone(msgspec.Struct):
    item: _Item
    output_index: int | None = None


class _TextDelta(msgspec.Struct):
    delta: str | None = None


class _Failure(msgspec.Struct):
    message: str | None = None
    error: _Error | None = None


_request_decoder = msgspec.json.Decoder(ResponsesRequest)
_response_decoder = msgspec.json.Decoder(_Response)
_kind_decoder = msgspec.json.Decoder(_Kind)
_end_decoder = msgspec.json.Decoder(_End)
_item_decoder = msgspec.json.Decoder(_ItemDone)
_text_delta_decoder = msgspec.json.Decoder(_TextDelta)
_failure_decoder = msgspec.json.Decoder(_Failure)


def read_responses_request(body: bytes) -> Request:
    """Read a request; see `Api`."""
    try:
        request = _request_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"The request body is not a Responses request: {error}") from None
    if request.input in (None, []) and not request.instructions:
        raise RequestError("The request body has no input: at least a text or an item is needed")
    echoed = {name: value for name in _ECHOED if (value := getattr(request, name)) is not None}
    return Request(
        prompt=request.canonical(),
        model=request.model,
        stream=bool(request.stream),
        task=task_of(request.metadata),
        settings=settings_of(body, _NEUTRAL, _IN_PROMPT),
        kept=request.store is not False,
        echo=echoed,
    )


def read_response(body: bytes) -> Reply:
    """Read a response: its text, function calls, model and usage.

    Raises:
        TeacherError: The body is not a response, or one that failed or is not finished.
    """
    try:
        response = _response_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TeacherError(f"The answer is not a response: {error}") from None
    if response.output is None:
        raise TeacherError("The answer is not a response: it has no output")
    return _reply(response, response.output)


def read_response_stream(events: Iterable[bytes]) -> Reply:
    """Read the response that a stream ends with.

    What it leaves out is taken from the items that came before it, and else from their texts.

    Raises:
        TeacherError: A payload is not an event, the stream holds an error, or it ended before its
            response was finished.
    """
    items: dict[int, _Item] = {}
    pieces: list[bytes] = []
    try:
        for event in events:
            if event.strip() == b"[DONE]":
                break
            kind = _kind_decoder.decode(event).type
            if kind == "response.output_text.delta":
                pieces.append(event)
            elif kind == "response.output_item.done":
                done = _item_decoder.decode(event)
                place = len(items) if done.output_index is None else done.output_index
                items[place] = done.item
            elif kind in _ANSWERED:
                response = _end_decoder.decode(event).response
                output = response.output or [item for _, item in sorted(items.items())]
                return _reply(response, output or [_joined(pieces)])
            elif kind == "error":
                failure = _failure_decoder.decode(event)
                message = failure.message or (failure.error and failure.error.message)
                raise TeacherError(f"The stream ended with an error: {message}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TeacherError(f"The stream has an event that cannot be read: {error}") from None
    raise TeacherError("The stream ended before the response was finished")


def _joined(pieces: Iterable[bytes]) -> _Item:
    texts = (_text_delta_decoder.decode(piece).delta or "" for piece in pieces)
    return _Item(content="".join(texts))


def _reply(response: _Response, output: Iterable[_Item]) -> Reply:
    status = (response.status or "completed").lower()
    if status != "incomplete" and ended(status) != "stop":
        message = response.error.message if response.error else None
        raise TeacherError(
            f"The response is {response.status}" + (f": {message}" if message else "")
        )
    texts: list[str] = []
    tokens: list[Any] = []
    calls: list[ToolCall] = []
    refused = False
    for item in output:
        if item.type == "message":
            if isinstance(item.content, str):
                item.content = [_Part("text", item.content)]
            for part in item.content or []:
                if part.type == "refusal" and isinstance(part.refusal, str):
                    texts.append(part.refusal)
                    refused = True
                elif part.type in _TEXT_PARTS and isinstance(part.text, str):
                    texts.append(part.text)
                    tokens += part.logprobs if isinstance(part.logprobs, list) else []
        elif item.type == "function_call":
            if not isinstance(item.name, str) or item.arguments is None:
                raise TeacherError("The response has a function call without name or arguments")
            calls.append(ToolCall(item.name, arguments_text(item.arguments)))
    finish = "tool_calls" if calls else "stop"
    if status == "incomplete":
        reason = response.incomplete_details and response.incomplete_details.reason
        finish = "length" if reason == "max_output_tokens" else reason or "incomplete"
    elif refused:
        finish = "refusal"
    usage = read_counts(response.usage, ("input_tokens",), "output_tokens")
    text = "".join(texts)
    answer = Answer(text, tuple(calls), finish, read_logprobs(text, tokens))
    return Reply(answer, response.model or "", usage)


def _output_text(output: Any) -> str | None:
    """Return the text that a function returned, None if it is another content."""
    if isinstance(output, str):
        return output
    texts = [
        part["text"]
        for part in (output if isinstance(output, list) else [None])
        if isinstance(part, dict)
        and part.get("type") in _TEXT_PARTS
        and isinstance(part.get("text"), str)
    ]
    return "\n".join(texts) if isinstance(output, list) and len(texts) == len(output) else None


def _text(item: _Item) -> tuple[str, bool]:
    """Return the text of an input item, and whether it is a message and text is all it has."""
    is_text = item.type == "message" and bool(item.role)
    if isinstance(item.content, str):
        return item.content, is_text
    texts = []
    for part in item.content or []:
        if part.type in _TEXT_PARTS and isinstance(part.text, str):
            texts.append(part.text)
        else:
            is_text = False
    return "\n".join(texts), is_text


def _ends(tail: bytes) -> bool:
    """Return whether the stream has ended.

    The last event repeats the request, so that it may be longer than ``tail``: then this returns
    False, and only reading the stream tells.
    """
    return tail.endswith((b"\n", b"\r")) and _END.search(tail) is not None


RESPONSES: Final = Api(
    name="responses",
    path="/v1/responses",
    read_request=read_responses_request,
    read_reply=read_response,
    read_stream=read_response_stream,
    ends=_ends,
    body=response_body,
    events=response_events,
)
