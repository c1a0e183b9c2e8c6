"""Answers in the shapes of the Anthropic API, written from its reference.

Source: https://docs.anthropic.com/en/api/messages and /en/api/messages-streaming.
"""

import json
from collections.abc import Iterator
from typing import Any

from clients.answers.openai import CALL, WORDS

Json = dict[str, Any]


def models(name: str) -> Json | None:
    """List the models, or return one."""
    model = {
        "type": "model",
        "id": "big",
        "display_name": "Big",
        "created_at": "2026-01-01T00:00:00Z",
    }
    if name:
        return model if name == "big" else None
    return {"data": [model], "first_id": "big", "last_id": "big", "has_more": False}


def count_tokens(request: Json) -> Json:
    """Count a request's tokens."""
    _messages(request["messages"])
    return {"input_tokens": 12}


def messages(request: Json) -> Json | Iterator[str]:
    """Answer a message."""
    _messages(request["messages"])
    if not isinstance(request["max_tokens"], int):
        raise TypeError("max_tokens must be a number")
    tools = request.get("tools")
    content: list[Json] = [{"type": "text", "text": "".join(WORDS)}]
    if tools:
        use = {"type": "tool_use", "id": "toolu_1", "name": str(tools[0]["name"])}
        content.append(use | {"input": json.loads("".join(CALL[1]))})
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": request["model"],
        "content": content,
        "stop_reason": "tool_use" if tools else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 12, "output_tokens": 6},
    }
    return _stream(message) if request.get("stream") is True else message


def _stream(message: Json) -> Iterator[str]:
    begun = message | {"content": [], "stop_reason": None}
    begun["usage"] = {"input_tokens": 12, "output_tokens": 1}
    yield _event("message_start", message=begun)
    for index, block in enumerate(message["content"]):
        if block["type"] == "text":
            empty = block | {"text": ""}
            deltas = [{"type": "text_delta", "text": word} for word in WORDS]
        else:
            empty = block | {"input": {}}
            deltas = [{"type": "input_json_delta", "partial_json": part} for part in CALL[1]]
        yield _event("content_block_start", index=index, content_block=empty)
        yield _event("ping")
        for delta in deltas:
            yield _event("content_block_delta", index=index, delta=delta)
        yield _event("content_block_stop", index=index)
    ended = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield _event("message_delta", delta=ended, usage={"output_tokens": 6})
    yield _event("message_stop")


def _event(kind: str, **fields: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n"


def _messages(messages: Any) -> None:
    if not messages:
        raise ValueError("messages must not be empty")
    for message in messages:
        if not isinstance(message["role"], str):
            raise TypeError("a role must be text")
