"""Chat completions: reading a teacher's answer, writing a student's, streamed or not.

Source: the OpenAI API reference, "The chat completion object" and "The chat completion chunk
object".
"""

import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from openwheel.errors import TeacherError
from openwheel.wire.answer import Answer, ToolCall, Usage, as_answer
from openwheel.wire.ids import random_id
from openwheel.wire.usage import MOST_TOKENS, token_counts


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    index: int | None = None
    function: _Function | None = None


class _Message(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None
    function_call: _Function | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    message: _Message | None = None
    delta: _Message | None = None
    finish_reason: str | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    usage: Any = None
    model: str | None = None
    system_fingerprint: Any = None


class Reply(msgspec.Struct, frozen=True):
    """One completion as an endpoint sent it.

    Attributes:
        answer: The answer.
        model: The model that it names, ``""`` if it names none.
        usage: Tokens counted, if it says.
        fingerprint: Of the system that answered (``system_fingerprint``), ``""`` if it has none.
    """

    answer: Answer
    model: str = ""
    usage: Usage | None = None
    fingerprint: str = ""


LONGEST_FINGERPRINT: Final = 200
"""Characters of a fingerprint that are kept; those that are known have 13."""

_decoder = msgspec.json.Decoder(_Completion)
_encoder = msgspec.json.Encoder()


def read_reply(body: bytes) -> Reply:
    """Read the first choice of a chat completion, its model and its usage.

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
        (message.content or "") + (message.refusal or ""),
        tuple(ToolCall(call.name or "", call.arguments or "") for call in calls),
        "refusal" if message.refusal else choice.finish_reason or "stop",
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
    calls: dict[int, tuple[list[str], list[str]]] = {}
    finish, model, fingerprint, refused = "", "", "", False
    usage: Usage | None = None
    for event in events:
        if event.strip() == b"[DONE]":
            break
        try:
            chunk = _decoder.decode(event)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise TeacherError(f"The stream has an event that is not a chunk: {error}") from None
        usage = _read_usage(chunk.usage) or usage
        model = chunk.model or model
        fingerprint = read_fingerprint(chunk.system_fingerprint) or fingerprint
        for choice in chunk.choices:
            if choice.index != 0:
                continue
            delta = choice.delta or _Message()
            if delta.content:
                texts.append(delta.content)
            if delta.refusal:
                texts.append(delta.refusal)
                refused = True
            for call in delta.tool_calls or []:
                _add_call(calls, call.index or 0, call.function)
            # The older form streams one call, without an index; no answer has both.
            _add_call(calls, 0, delta.function_call)
            finish = choice.finish_reason or finish
    if not finish:
        raise TeacherError("The stream ended before the answer was finished")
    joined = tuple(
        ToolCall("".join(names), "".join(arguments))
        for _, (names, arguments) in sorted(calls.items())
    )
    finish = "refusal" if refused else finish
    return Reply(Answer("".join(texts), joined, finish), model, usage, fingerprint)


def read_fingerprint(value: Any) -> str:
    """Return a ``system_fingerprint``, ``""`` for what is none.

    >>> read_fingerprint("fp_44709d6fcb"), read_fingerprint(None), read_fingerprint(7)
    ('fp_44709d6fcb', '', '')
    """
    return value[:LONGEST_FINGERPRINT] if isinstance(value, str) else ""


def _add_call(
    calls: dict[int, tuple[list[str], list[str]]], index: int, function: _Function | None
) -> None:
    if function is None:
        return
    names, arguments = calls.setdefault(index, ([], []))
    names.append(function.name or "")
    arguments.append(function.arguments or "")


def read_completion(body: bytes) -> tuple[Answer, Usage]:
    """Read the first choice of a chat completion; usage is zero where none was given.

    Raises:
        TeacherError: The body is not a chat completion with at least one choice.
    """
    reply = read_reply(body)
    return reply.answer, reply.usage or Usage()


def assemble_stream(events: Iterable[bytes]) -> tuple[Answer, Usage]:
    """Join the ``data:`` payloads of one streamed completion into the answer they spell.

    Raises:
        TeacherError: A payload is not a chunk, or the stream ended without a finish reason.
    """
    reply = read_reply_stream(events)
    return reply.answer, reply.usage or Usage()


def completion_body(
    answer: str | Answer, *, model: str, usage: Usage | None = None, identity: str = ""
) -> bytes:
    """Write a chat completion whose only choice is ``answer``.

    Without ``usage`` it is zero: no teacher's tokens were spent. Without ``identity`` its id is
    random.
    """
    answer = as_answer(answer)
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.tool_calls:
        message["content"] = answer.text or None
        message["tool_calls"] = _tool_calls(answer)
    if answer.finish_reason == "refusal":
        message["content"], message["refusal"] = None, answer.text
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": _finish_reason(answer),
    }
    body = _head("chat.completion", model, identity)
    body["choices"] = [choice]
    body["usage"] = token_counts(usage)
    return _encoder.encode(body)


def completion_stream(
    answer: str | Answer,
    *,
    model: str,
    include_usage: bool,
    usage: Usage | None = None,
    identity: str = "",
) -> Iterator[bytes]:
    """Write ``answer`` as the server-sent events of a streamed completion, ``[DONE]`` included.

    With ``include_usage`` every chunk carries a null ``usage`` and one more chunk gives it, as
    the API does.
    """
    answer = as_answer(answer)
    head = _head("chat.completion.chunk", model, identity)
    first = {"role": "assistant", "content": "", "refusal": None}
    if answer.tool_calls:
        first["content"] = None
    deltas: list[dict[str, Any]] = [first]
    if answer.text:
        refused = answer.finish_reason == "refusal"
        deltas.append({"refusal" if refused else "content": answer.text})
    for index, call in enumerate(_tool_calls(answer)):
        deltas.append({"tool_calls": [{"index": index, **call}]})
    deltas.append({})
    for delta in deltas:
        finish = None if delta else _finish_reason(answer)
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        chunk = {**head, "choices": [choice]}
        if include_usage:
            chunk["usage"] = None
        yield b"data: " + _encoder.encode(chunk) + b"\n\n"
    if include_usage:
        yield (
            b"data: "
            + _encoder.encode({**head, "choices": [], "usage": token_counts(usage)})
            + b"\n\n"
        )
    yield b"data: [DONE]\n\n"


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


def _finish_reason(answer: Answer) -> str:
    """Return the finish reason as chat completions have it: a refusal ends by itself.

    One that no API documents is written as its server sent it, to say nothing that it did not.
    """
    return "stop" if answer.finish_reason in {"refusal", "end_turn"} else answer.finish_reason


def _tool_calls(answer: Answer) -> list[dict[str, Any]]:
    return [
        {
            "id": f"call_{random_id()}",
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in answer.tool_calls
    ]


def _head(kind: str, model: str, identity: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{identity or random_id()}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
    }
