"""Chat completions: reading a request and a teacher's answer, streamed or not.

Source: the OpenAI API reference, "The chat completion object" and "The chat completion chunk
object".
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from openwheel.errors import TeacherError
from openwheel.wire.answer import Answer, Reply, ToolCall, Usage, ended
from openwheel.wire.api import Api
from openwheel.wire.chat_writing import completion_body, completion_stream
from openwheel.wire.content import Content, add_parts, arguments_text, check_error
from openwheel.wire.logprobs import read_logprobs
from openwheel.wire.prompt import read_request
from openwheel.wire.request import Request, settings_of
from openwheel.wire.sse import is_done
from openwheel.wire.usage import MOST_TOKENS

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


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: Any = None


class _ToolCall(msgspec.Struct):
    index: int | None = None
    function: _Function | None = None


class _Message(msgspec.Struct):
    content: Content = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None
    function_call: _Function | None = None


class _Choice(msgspec.Struct):
    index: int | None = None
    message: _Message | None = None
    delta: _Message | None = None
    finish_reason: Any = None
    logprobs: Any = None


class _Completion(msgspec.Struct):
    choices: list[_Choice] | None = None
    error: Any = None
    usage: Any = None
    model: str | None = None
    system_fingerprint: Any = None


LONGEST_FINGERPRINT: Final = 200
"""Characters of a fingerprint that are kept; those that are known have 13."""

_decoder = msgspec.json.Decoder(_Completion)


def read_chat_request(body: bytes) -> Request:
    """Read a request; see `Api`."""
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


def read_reply(body: bytes) -> Reply:
    """Read the first choice of a chat completion, its model and its usage.

    Raises:
        TeacherError: The body is not a chat completion with at least one choice.
    """
    try:
        completion = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TeacherError(f"The answer is not a chat completion: {error}") from None
    if completion.error is not None:
        check_error(completion.error, "The answer is")
    if not completion.choices or completion.choices[0].message is None:
        raise TeacherError("The answer is not a chat completion: it has no message")
    choice = completion.choices[0]
    message = choice.message or _Message()
    texts: list[str] = []
    refused = _add_text(message, texts)
    calls = [call.function for call in message.tool_calls or [] if call.function]
    if message.function_call:
        calls.append(message.function_call)
    text = "".join(texts)
    answer = Answer(
        text,
        tuple(ToolCall(call.name or "", arguments_text(call.arguments)) for call in calls),
        "refusal" if refused else ended(choice.finish_reason),
        read_logprobs(text, tokens_of(choice.logprobs)),
    )
    return Reply(
        answer,
        completion.model or "",
        _read_usage(completion.usage),
        read_fingerprint(completion.system_fingerprint),
    )


def read_reply_stream(events: Iterable[bytes]) -> Reply:
    """Join the ``data:`` payloads of one streamed completion into the reply they spell.

    Raises:
        TeacherError: A payload is not a chunk, or the stream ended without a finish reason, so
            that what came cannot be taken for a whole answer.
    """
    texts: list[str] = []
    tokens: list[Any] = []
    calls: dict[int, _Call] = {}
    finish: Any = None
    model, fingerprint, refused = "", "", False
    usage: Usage | None = None
    for event in events:
        if event.strip() == b"[DONE]":
            break
        try:
            chunk = _decoder.decode(event)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise TeacherError(f"The stream has an event that is not a chunk: {error}") from None
        if chunk.error is not None:
            check_error(chunk.error, "The stream ended with")
        if chunk.usage is not None:
            usage = _read_usage(chunk.usage) or usage
        model = chunk.model or model
        if chunk.system_fingerprint is not None:
            fingerprint = read_fingerprint(chunk.system_fingerprint) or fingerprint
        for choice in chunk.choices or ():
            if choice.index:
                continue
            if (delta := choice.delta) is not None:
                refused = _add_text(delta, texts) or refused
                if delta.tool_calls or delta.function_call:
                    _add_calls(delta, calls)
            if choice.logprobs is not None:
                tokens += tokens_of(choice.logprobs)
            finish = choice.finish_reason or finish
    if not finish:
        raise TeacherError("The stream ended before the answer was finished")
    joined = tuple(call.joined() for _, call in sorted(calls.items()))
    finish = "refusal" if refused else ended(finish)
    text = "".join(texts)
    answer = Answer(text, joined, finish, read_logprobs(text, tokens))
    return Reply(answer, model, usage, fingerprint)


def tokens_of(logprobs: Any) -> list[Any]:
    """Return the tokens of a choice's ``logprobs``; none for what is none."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    return content if isinstance(content, list) else []


def read_fingerprint(value: Any) -> str:
    """Return a ``system_fingerprint``, ``""`` for what is none.

    >>> read_fingerprint("fp_44709d6fcb"), read_fingerprint(None), read_fingerprint(7)
    ('fp_44709d6fcb', '', '')
    """
    return value[:LONGEST_FINGERPRINT] if isinstance(value, str) else ""


def _add_text(message: _Message, texts: list[str]) -> bool:
    """Add what a message or a piece of it says; return whether it refuses to answer."""
    refused = False
    if isinstance(message.content, str):
        texts.append(message.content)
    elif message.content:
        refused = add_parts(message.content, texts)
    if message.refusal:
        texts.append(message.refusal)
        refused = True
    return refused


class _Call:
    """A tool call of which pieces come."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.pieces: list[str] = []
        self.whole: Any = None

    def joined(self) -> ToolCall:
        # An empty object may come before pieces of text.
        arguments = "".join(self.pieces) or arguments_text(self.whole)
        return ToolCall("".join(self.names), arguments)


def _add_calls(delta: _Message, calls: dict[int, _Call]) -> None:
    """Add the pieces of tool calls that a delta has, each to its call."""
    if delta.tool_calls:
        for place, piece in enumerate(delta.tool_calls):
            if piece.function is not None:
                _add_call(place if piece.index is None else piece.index, piece.function, calls)
    # The older form streams one call, without an index; no answer has both.
    if delta.function_call is not None:
        _add_call(0, delta.function_call, calls)


def _add_call(index: int, function: _Function, calls: dict[int, _Call]) -> None:
    call = calls.get(index)
    if call is None:
        call = calls[index] = _Call()
    if function.name:
        call.names.append(function.name)
    if isinstance(function.arguments, str):
        call.pieces.append(function.arguments)
    elif function.arguments is not None:
        call.whole = function.arguments


def _read_usage(usage: Any) -> Usage | None:
    """Return the usage, None if it is not one: an answer is worth more than its token count."""
    if usage is None:
        return None
    try:
        read = msgspec.convert(usage, Usage)
    except msgspec.ValidationError:
        return None
    tokens = (read.prompt_tokens, read.completion_tokens)
    return read if all(0 <= count < MOST_TOKENS for count in tokens) else None


CHAT: Final = Api(
    name="chat",
    path="/v1/chat/completions",
    read_request=read_chat_request,
    read_reply=read_reply,
    read_stream=read_reply_stream,
    ends=is_done,
    body=completion_body,
    events=completion_stream,
)
