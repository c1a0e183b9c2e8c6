"""Chat completions: reading a teacher's answer, writing a student's, streamed or not.

Source: the OpenAI API reference, "The chat completion object" and "The chat completion chunk
object".
"""

import time
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from openwheel.errors import TeacherError
from openwheel.wire.answer import Answer, ToolCall, Usage


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    index: int | None = None
    function: _Function | None = None


class _Message(msgspec.Struct):
    content: str | None = None
    tool_calls: list[_ToolCall] | None = None
    function_call: _Function | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    message: _Message | None = None
    delta: _Message | None = None
    finish_reason: str | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    usage: Usage | None = None


_decoder = msgspec.json.Decoder(_Completion)
_encoder = msgspec.json.Encoder()


def read_completion(body: bytes) -> tuple[Answer, Usage]:
    """Read the first choice of a chat completion.

    Raises:
        TeacherError: The body is not a chat completion with at least one choice.
    """
    try:
        completion = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TeacherError(f"The answer is not a chat completion: {error}") from None
    if not completion.choices or completion.choices[0].message is None:
        raise TeacherError("The answer is not a chat completion: it has no message")
    choice = completion.choices[0]
    message = choice.message or _Message()
    calls = [call.function for call in message.tool_calls or [] if call.function]
    if message.function_call:
        calls.append(message.function_call)
    answer = Answer(
        message.content or "",
        tuple(ToolCall(call.name or "", call.arguments or "") for call in calls),
        choice.finish_reason or "stop",
    )
    return answer, completion.usage or Usage()


def assemble_stream(events: Iterable[bytes]) -> tuple[Answer, Usage]:
    """Join the ``data:`` payloads of one streamed completion into the answer they spell.

    Raises:
        TeacherError: A payload is not a chunk, or the stream ended without a finish reason, so
            that what came cannot be taken for a whole answer.
    """
    texts: list[str] = []
    calls: dict[int, tuple[list[str], list[str]]] = {}
    finish, usage = "", Usage()
    for event in events:
        if event.strip() == b"[DONE]":
            break
        try:
            chunk = _decoder.decode(event)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise TeacherError(f"The stream has an event that is not a chunk: {error}") from None
        usage = chunk.usage or usage
        for choice in chunk.choices:
            if choice.index != 0:
                continue
            delta = choice.delta or _Message()
            if delta.content:
                texts.append(delta.content)
            for call in delta.tool_calls or []:
                names, arguments = calls.setdefault(call.index or 0, ([], []))
                if call.function:
                    names.append(call.function.name or "")
                    arguments.append(call.function.arguments or "")
            finish = choice.finish_reason or finish
    if not finish:
        raise TeacherError("The stream ended before the answer was finished")
    joined = tuple(
        ToolCall("".join(names), "".join(arguments)) for _, (names, arguments) in sorted(calls.items())
    )
    return Answer("".join(texts), joined, finish), usage


def completion_body(text: str, *, model: str) -> bytes:
    """Write a chat completion whose only message is ``text``.

    Usage is zero: no teacher's tokens were spent.
    """
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, "refusal": None},
        "logprobs": None,
        "finish_reason": "stop",
    }
    body = _head("chat.completion", model)
    body["choices"] = [choice]
    body["usage"] = _no_usage()
    return _encoder.encode(body)


def completion_stream(text: str, *, model: str, include_usage: bool) -> Iterator[bytes]:
    """Write ``text`` as the server-sent events of a streamed completion, ``[DONE]`` included.

    With ``include_usage`` every chunk carries a null ``usage`` and one more chunk gives it, as
    the API does.
    """
    head = _head("chat.completion.chunk", model)
    steps: list[tuple[dict[str, Any], str | None]] = [
        ({"role": "assistant", "content": "", "refusal": None}, None),
        ({"content": text}, None),
        ({}, "stop"),
    ]
    for delta, finish in steps:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        chunk = {**head, "choices": [choice]}
        if include_usage:
            chunk["usage"] = None
        yield b"data: " + _encoder.encode(chunk) + b"\n\n"
    if include_usage:
        yield b"data: " + _encoder.encode({**head, "choices": [], "usage": _no_usage()}) + b"\n\n"
    yield b"data: [DONE]\n\n"


def _head(kind: str, model: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
    }


def _no_usage() -> dict[str, int]:
    return {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
