"""Responses: writing an answer, streamed or not.

Source: the OpenAI API reference, "The response object" and "Streaming events".
"""

import time
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from openwheel.wire.answer import Answer, Usage, as_answer
from openwheel.wire.ids import random_id
from openwheel.wire.request import Request

_encoder = msgspec.json.Encoder()
_REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {"length": "max_output_tokens", "content_filter": "content_filter"}
)
# What a response says where the request said nothing. No usage, user, safety_identifier and
# prompt_cache_key: the API description lets these be left out, but not be null.
_UNSAID: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "object": "response",
        "status": "in_progress",
        "background": False,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "metadata": {},
    }
)


def response_body(
    answer: str | Answer, request: Request, usage: Usage | None = None, *, identity: str = ""
) -> bytes:
    """Write a whole response."""
    answer, started = as_answer(answer), _started(request, identity)
    return _encoder.encode(_ended(started, _output(answer, started["id"]), answer, usage))


def response_events(
    answer: str | Answer, request: Request, usage: Usage | None = None, *, identity: str = ""
) -> Iterator[bytes]:
    """Write the events of a response's stream, numbered, up to the one that ends it."""
    for number, event in enumerate(_events(as_answer(answer), request, usage, identity)):
        event["sequence_number"] = number
        yield b"event: %s\ndata: %s\n\n" % (event["type"].encode(), _encoder.encode(event))


def _events(
    answer: Answer, request: Request, usage: Usage | None, identity: str
) -> Iterator[dict[str, Any]]:
    started = _started(request, identity)
    output = _output(answer, started["id"])
    encoded = msgspec.Raw(_encoder.encode(started))
    yield {"type": "response.created", "response": encoded}
    yield {"type": "response.in_progress", "response": encoded}
    for index, item in enumerate(output):
        place = {"output_index": index, "item_id": item["id"]}
        empty = "content" if item["type"] == "message" else "arguments"
        added = {**item, "status": "in_progress", empty: [] if empty == "content" else ""}
        yield {"type": "response.output_item.added", "output_index": index, "item": added}
        yield from _content_events(item, place) if empty == "content" else _call_events(item, place)
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    ended = _ended(started, output, answer, usage)
    yield {"type": f"response.{ended['status']}", "response": ended}


def _content_events(item: dict[str, Any], place: dict[str, Any]) -> Iterator[dict[str, Any]]:
    [part] = item["content"]
    place = {**place, "content_index": 0}
    name = "refusal" if part["type"] == "refusal" else "text"
    kind = "response.refusal" if name == "refusal" else "response.output_text"
    extra: dict[str, Any] = {} if name == "refusal" else {"logprobs": []}
    yield {"type": "response.content_part.added", **place, "part": {**part, name: ""}}
    if part[name]:
        yield {"type": f"{kind}.delta", **place, "delta": part[name], **extra}
    yield {"type": f"{kind}.done", **place, name: part[name], **extra}
    yield {"type": "response.content_part.done", **place, "part": part}


def _call_events(item: dict[str, Any], place: dict[str, Any]) -> Iterator[dict[str, Any]]:
    kind, arguments = "response.function_call_arguments", item["arguments"]
    if arguments:
        yield {"type": f"{kind}.delta", **place, "delta": arguments}
    yield {"type": f"{kind}.done", **place, "name": item["name"], "arguments": arguments}


def _output(answer: Answer, response_id: str) -> list[dict[str, Any]]:
    unique = response_id.removeprefix("resp_")
    status = "completed" if _completed(answer) else "incomplete"
    items: list[dict[str, Any]] = []
    if answer.text or not answer.tool_calls:
        part: dict[str, Any] = {
            "type": "output_text",
            "annotations": [],
            "logprobs": [],
            "text": answer.text,
        }
        if answer.finish_reason == "refusal":
            part = {"type": "refusal", "refusal": answer.text}
        items.append(
            {
                "id": f"msg_{unique}",
                "type": "message",
                "status": status,
                "content": [part],
                "role": "assistant",
            }
        )
    for index, call in enumerate(answer.tool_calls):
        items.append(
            {
                "id": f"fc_{unique}{index:02}",
                "type": "function_call",
                "status": status,
                "arguments": call.arguments,
                "call_id": f"call_{unique}{index:02}",
                "name": call.name,
            }
        )
    return items


def _started(request: Request, identity: str) -> dict[str, Any]:
    """Return the response before there is an answer, with what it repeats of the request."""
    started = {
        **_UNSAID,
        **request.echo,
        "id": f"resp_{identity or random_id()}",
        "created_at": int(time.time()),
        "model": request.model,
    }
    echo = request.echo
    if "text" in echo:
        asked_for = {name: value for name, value in echo["text"].items() if value is not None}
        started["text"] = {**_UNSAID["text"], **asked_for}
    if "reasoning" in echo:
        started["reasoning"] = {**_UNSAID["reasoning"], **echo["reasoning"]}
    if "tools" in echo:
        started["tools"] = [_tool(tool) for tool in echo["tools"]]
    return started


def _ended(
    started: dict[str, Any], output: list[dict[str, Any]], answer: Answer, usage: Usage | None
) -> dict[str, Any]:
    usage = usage or Usage()
    ended = {
        **started,
        "status": "completed",
        "output": output,
        "usage": {
            "input_tokens": usage.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": usage.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        },
    }
    if _completed(answer):
        ended["completed_at"] = int(time.time())
    else:
        ended["status"] = "incomplete"
        if reason := _REASONS.get(answer.finish_reason):
            ended["incomplete_details"] = {"reason": reason}
    return ended


def _completed(answer: Answer) -> bool:
    return answer.complete or answer.finish_reason == "refusal"


def _tool(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a tool as a response repeats it, its defaults filled in."""
    if tool.get("type") != "function":
        return tool
    return {"description": None, "parameters": None, "strict": True, **tool}
