"""Anthropic messages: writing an answer, streamed or not, and errors.

Source: the Anthropic API reference, "Create a Message" and "Errors", and its guide "Streaming
messages".
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from openwheel.wire.answer import Answer, ToolCall, Usage, as_answer, ended
from openwheel.wire.ids import random_id
from openwheel.wire.request import Request

_encoder = msgspec.json.Encoder()
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])

_STOP_REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "stop": "end_turn",
        "length": "max_tokens",
        "tool_calls": "tool_use",
        "function_call": "tool_use",
        "content_filter": "refusal",
    }
)
_ERRORS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "insufficient_quota": "rate_limit_error",
        "invalid_api_key": "authentication_error",
        "method_not_allowed": "invalid_request_error",
        "model_not_allowed": "permission_error",
        "model_not_found": "not_found_error",
        "not_in_recording": "not_found_error",
        "overloaded": "overloaded_error",
        "rate_limit_exceeded": "rate_limit_error",
        "request_timeout": "timeout_error",
        "request_too_large": "request_too_large",
        "task_not_allowed": "permission_error",
        "teacher_timeout": "timeout_error",
        "teacher_unreachable": "api_error",
        "unknown_url": "not_found_error",
    }
)
_OWN_TYPES = frozenset(
    {*_ERRORS.values(), "invalid_request_error", "billing_error", "overloaded_error"}
)


def message_body(
    answer: str | Answer, request: Request, usage: Usage | None = None, *, identity: str = ""
) -> bytes:
    """Write a whole message."""
    answer, message = as_answer(answer), _message(request, usage, identity)
    if answer.text:
        message["content"].append({"type": "text", "text": answer.text})
    for call in answer.tool_calls:
        message["content"].append({**_tool_use(call), "input": msgspec.Raw(_arguments(call))})
    message.update(_stop(answer))
    return _encoder.encode(message)


def message_events(
    answer: str | Answer, request: Request, usage: Usage | None = None, *, identity: str = ""
) -> Iterator[bytes]:
    """Write the events of a message's stream, ``message_stop`` included."""
    for event in _events(as_answer(answer), request, usage, identity):
        yield b"event: %s\ndata: %s\n\n" % (event["type"].encode(), _encoder.encode(event))


def message_error(message: str, *, type: str, code: str | None = None) -> bytes:
    """Write an error, its type that of Anthropic's for a code of ours, or a type of OpenAI's."""
    error_type = _ERRORS.get(code or "") or (type if type in _OWN_TYPES else "api_error")
    error = {"type": error_type, "message": message}
    return _encoder.encode({"type": "error", "error": error, "request_id": None})


def _events(
    answer: Answer, request: Request, usage: Usage | None, identity: str
) -> Iterator[dict[str, Any]]:
    # The counts in message_delta are of the whole message; a stream starts with no output yet.
    started = _message(request, usage, identity)
    counts = started["usage"]
    started["usage"] = {**counts, "output_tokens": 0}
    yield {"type": "message_start", "message": started}
    blocks: list[tuple[dict[str, Any], dict[str, Any]]] = []
    if answer.text:
        delta = {"type": "text_delta", "text": answer.text}
        blocks.append(({"type": "text", "text": ""}, delta))
    for call in answer.tool_calls:
        tool_use: dict[str, Any] = {**_tool_use(call), "input": {}}
        delta = {"type": "input_json_delta", "partial_json": _arguments(call).decode()}
        blocks.append((tool_use, delta))
    for index, (block, delta) in enumerate(blocks):
        yield {"type": "content_block_start", "index": index, "content_block": block}
        yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    yield {"type": "message_delta", "delta": _stop(answer), "usage": counts}
    yield {"type": "message_stop"}


def _message(request: Request, usage: Usage | None, identity: str) -> dict[str, Any]:
    """Return the message before there is an answer."""
    usage = usage or Usage()
    return {
        "id": f"msg_{identity or random_id()}",
        "type": "message",
        "role": "assistant",
        "model": request.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": usage.prompt_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": usage.completion_tokens,
        },
    }


def _stop(answer: Answer) -> dict[str, Any]:
    reason = ended(answer.finish_reason)
    return {"stop_reason": _STOP_REASONS.get(reason, reason), "stop_sequence": None}


def _tool_use(call: ToolCall) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{random_id()}", "name": call.name}


def _arguments(call: ToolCall) -> bytes:
    """Return the arguments as a JSON object, which this API needs, as it was sent if it is one.

    Models write broken JSON at times; it is kept as the text it is.
    """
    arguments = call.arguments.encode()
    try:
        _object.decode(arguments)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _encoder.encode({"arguments": call.arguments}) if arguments.strip() else b"{}"
    return arguments
