"""Answers in the shapes of the OpenAI API, written from its reference.

Source: https://platform.openai.com/docs/api-reference (chat, completions, responses, embeddings).
"""

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]

WORDS = ["The ", "parcel ", "is ", "on ", "its ", "way."]
RECORD = ['{"queue"', ':"deliv', 'ery"}']
CALL = ("find_parcel", ['{"id"', ": ", "7}"])
VECTOR = [0.5, -0.25, 0.125]
CREATED = 1_760_000_000


def models(name: str) -> Json | None:
    """List the models, or return one."""
    listed = [
        {"id": model, "object": "model", "created": CREATED, "owned_by": "us"}
        for model in ("big", "big-embedding")
    ]
    if name:
        return next((model for model in listed if model["id"] == name), None)
    return {"object": "list", "data": listed}


def chat(request: Json) -> Json | Iterator[str]:
    """Answer a chat completion."""
    _messages(request["messages"])
    words = RECORD if request.get("response_format") else WORDS
    call = _tool_name(request.get("tools"), ("function", "name"))
    if request.get("stream") is True:
        usage = (request.get("stream_options") or {}).get("include_usage") is True
        return _chat_stream(request["model"], words, call, usage)
    message: Json = {"role": "assistant", "content": "".join(words), "refusal": None}
    if call:
        message |= {"content": None, "tool_calls": [_tool_call(call)]}
    choice = {"index": 0, "message": message, "logprobs": None}
    choice["finish_reason"] = "tool_calls" if call else "stop"
    return _chat_head("chat.completion", request["model"], [choice]) | {"usage": _chat_usage()}


def completions(request: Json) -> Json | Iterator[str]:
    """Answer a legacy completion."""
    prompt = request["prompt"]
    _text(prompt[0] if isinstance(prompt, list) and prompt else prompt)
    head = {"id": "cmpl-1", "object": "text_completion", "created": CREATED}
    head["model"] = request["model"]

    def choice(text: str, finish: str | None) -> Json:
        return {"text": text, "index": 0, "logprobs": None, "finish_reason": finish}

    if request.get("stream") is not True:
        return head | {"choices": [choice("".join(WORDS), "stop")], "usage": _chat_usage()}
    usage = (request.get("stream_options") or {}).get("include_usage") is True

    def events() -> Iterator[str]:
        for word in WORDS:
            yield _data(head | {"choices": [choice(word, None)]})
        yield _data(head | {"choices": [choice("", "stop")]})
        if usage:
            yield _data(head | {"choices": [], "usage": _chat_usage()})
        yield "data: [DONE]\n\n"

    return events()


def embeddings(request: Json) -> Json:
    """Embed each input as the same vector, as base64 if that was asked for."""
    given = request["input"]
    inputs = given if isinstance(given, list) and not isinstance(given[0], int) else [given]
    vector: Any = VECTOR
    if request.get("encoding_format") == "base64":
        vector = base64.b64encode(struct.pack(f"<{len(VECTOR)}f", *VECTOR)).decode()
    data = [
        {"object": "embedding", "index": index, "embedding": vector} for index in range(len(inputs))
    ]
    usage = {"prompt_tokens": 12, "total_tokens": 12}
    return {"object": "list", "model": request["model"], "data": data, "usage": usage}


def responses(request: Json) -> Json | Iterator[str]:
    """Answer a response."""
    given = request["input"]
    if not isinstance(given, str):
        _messages(given)
    form = ((request.get("text") or {}).get("format") or {}).get("type", "text")
    parts = WORDS if form == "text" else RECORD
    call = _tool_name(request.get("tools"), ("name",))
    if call:
        parts = CALL[1]
        done: Json = {"id": "fc_1", "type": "function_call", "status": "completed"}
        done |= {"call_id": "call_1", "name": call, "arguments": "".join(parts)}
    else:
        content = {"type": "output_text", "text": "".join(parts), "annotations": []}
        done = {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant"}
        done["content"] = [content]
    if request.get("stream") is not True:
        return _response(request, "completed", [done])
    return _response_stream(request, parts, done)


def _response(request: Json, status: str, output: list[Json]) -> Json:
    usage = {
        "input_tokens": 12,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 6,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 18,
    }
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": request["model"],
        "output": output,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "text": request.get("text") or {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": request.get("tools") or [],
        "top_p": 1.0,
        "usage": usage if status == "completed" else None,
    }


def _response_stream(request: Json, parts: list[str], done: Json) -> Iterator[str]:
    number = 0

    def event(kind: str, **fields: Any) -> str:
        nonlocal number
        data = {"type": kind, "sequence_number": number, **fields}
        number += 1
        return f"event: {kind}\ndata: {json.dumps(data)}\n\n"

    begun = _response(request, "in_progress", [])
    at = {"item_id": done["id"], "output_index": 0}
    yield event("response.created", response=begun)
    yield event("response.in_progress", response=begun)
    if done["type"] == "function_call":
        item = done | {"status": "in_progress", "arguments": ""}
        yield event("response.output_item.added", output_index=0, item=item)
        for part in parts:
            yield event("response.function_call_arguments.delta", delta=part, **at)
        kind = "response.function_call_arguments.done"
        yield event(kind, arguments=done["arguments"], name=done["name"], **at)
    else:
        at["content_index"] = 0
        [content] = done["content"]
        item = done | {"status": "in_progress", "content": []}
        yield event("response.output_item.added", output_index=0, item=item)
        yield event("response.content_part.added", part=content | {"text": ""}, **at)
        for part in parts:
            yield event("response.output_text.delta", delta=part, logprobs=[], **at)
        yield event("response.output_text.done", text=content["text"], logprobs=[], **at)
        yield event("response.content_part.done", part=content, **at)
    yield event("response.output_item.done", output_index=0, item=done)
    yield event("response.completed", response=_response(request, "completed", [done]))


def _chat_stream(model: str, words: list[str], call: str, usage: bool) -> Iterator[str]:
    deltas: list[Json] = [{"role": "assistant", "content": None if call else "", "refusal": None}]
    if call:
        begun = _tool_call(call) | {"index": 0}
        begun["function"] = {"name": call, "arguments": ""}
        deltas.append({"tool_calls": [begun]})
        deltas += [
            {"tool_calls": [{"index": 0, "function": {"arguments": part}}]} for part in CALL[1]
        ]
    else:
        deltas += [{"content": word} for word in words]
    deltas.append({})
    null_usage = {"usage": None} if usage else {}
    for delta in deltas:
        finish = None if delta else ("tool_calls" if call else "stop")
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        yield _data(_chat_head("chat.completion.chunk", model, [choice]) | null_usage)
    if usage:
        yield _data(_chat_head("chat.completion.chunk", model, []) | {"usage": _chat_usage()})
    yield "data: [DONE]\n\n"


def _chat_head(kind: str, model: str, choices: list[Json]) -> Json:
    head = {"id": "chatcmpl-1", "object": kind, "created": CREATED, "model": model}
    return head | {"choices": choices}


def _chat_usage() -> Json:
    return {"prompt_tokens": 12, "completion_tokens": 6, "total_tokens": 18}


def _tool_call(name: str) -> Json:
    function = {"name": name, "arguments": "".join(CALL[1])}
    return {"id": "call_1", "type": "function", "function": function}


def _tool_name(tools: Any, path: tuple[str, ...]) -> str:
    """Return the name of the first tool that is offered, "" if none is."""
    if not tools:
        return ""
    found = tools[0]
    for key in path:
        found = found[key]
    if not isinstance(found, str):
        raise TypeError("the name of a tool must be text")
    return found


def _messages(messages: Any) -> None:
    if not messages:
        raise ValueError("messages must not be empty")
    for message in messages:
        _text(message["role"])


def _text(value: Any) -> None:
    if not isinstance(value, str):
        raise TypeError("this must be text")


def _data(value: Json) -> str:
    return f"data: {json.dumps(value)}\n\n"
