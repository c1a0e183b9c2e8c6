"""Chat completions: writing an answer, streamed or not.

Source: the OpenAI API reference, "The chat completion object" and "The chat completion chunk
object".
"""

import time
from collections.abc import Iterator
from typing import Any

import msgspec

from openwheel.wire.answer import Answer, Usage, as_answer, ended
from openwheel.wire.ids import random_id
from openwheel.wire.request import Request
from openwheel.wire.usage import token_counts

_encoder = msgspec.json.Encoder()


def completion_body(
    answer: str | Answer, request: Request, usage: Usage | None = None, *, identity: str = ""
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
    body = _head("chat.completion", request.model, identity)
    body["choices"] = [choice]
    body["usage"] = token_counts(usage)
    return _encoder.encode(body)


def completion_stream(
    answer: str | Answer, request: Request, usage: Usage | None = None, *, identity: str = ""
) -> Iterator[bytes]:
    """Write ``answer`` as the server-sent events of a streamed completion, ``[DONE]`` included.

    Where the request wants the usage, every chunk carries a null ``usage`` and one more chunk gives
    it, as the API does.
    """
    answer = as_answer(answer)
    head = _head("chat.completion.chunk", request.model, identity)
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
        if request.include_usage:
            chunk["usage"] = None
        yield b"data: " + _encoder.encode(chunk) + b"\n\n"
    if request.include_usage:
        yield (
            b"data: "
            + _encoder.encode({**head, "choices": [], "usage": token_counts(usage)})
            + b"\n\n"
        )
    yield b"data: [DONE]\n\n"


def _finish_reason(answer: Answer) -> str:
    """Return the finish reason as chat completions have it: a refusal ends by itself.

    One that no API documents is written as its server sent it, to say nothing that it did not.
    """
    return "stop" if answer.finish_reason == "refusal" else ended(answer.finish_reason)


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
