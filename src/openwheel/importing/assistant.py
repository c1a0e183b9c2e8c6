"""Reads an assistant's message, and the tokens and the reason of ending beside it."""

from typing import Any, Final

from openwheel.importing.messages import (
    as_message,
    call_of_part,
    is_thought,
    text_of_part,
    tool_call,
)
from openwheel.importing.values import JsonObject, SkippedRecordError, UnreadableRecordError, one_of
from openwheel.wire import Answer, ToolCall, Usage, ended

_FINISH_KEYS: Final = (
    "finish_reason",
    "stop_reason",
    "stopReason",
    "finishReason",
    "done_reason",
    "completionReason",
)
_PLAIN: Final = frozenset({"role", "content", "tool_calls"})
_USAGE: Final = (
    ("usage", "prompt_tokens", "completion_tokens"),
    ("usage", "input_tokens", "output_tokens"),
    ("usage", "inputTokens", "outputTokens"),
    ("usageMetadata", "promptTokenCount", "candidatesTokenCount"),
    ("", "prompt_tokens", "completion_tokens"),
    ("", "prompt_eval_count", "eval_count"),
)
_USAGE_KEYS: Final = frozenset(key or prompt for key, prompt, _ in _USAGE) | {
    completion for key, _, completion in _USAGE if not key
}


def not_empty(answer: Answer) -> Answer:
    """Return an answer; an empty one that is complete raises `SkippedRecordError`."""
    if answer.complete and not answer.tool_calls and not answer.text.strip():
        raise SkippedRecordError("the answer is empty")
    return answer


def message_answer(message: JsonObject, finish: Any = None) -> Answer:
    """Read an assistant's message.

    Args:
        message: The message; its role may be missing.
        finish: Why it ended, where that stands beside it.

    Raises:
        UnreadableRecordError: Its content or tool calls have no known shape.
    """
    content = message.get("content")
    if message.keys() <= _PLAIN and isinstance(content, str) and not message.get("tool_calls"):
        return Answer(content, (), ended(finish))  # what nearly all are
    if "role" not in message and "lc" not in message:
        message = {"role": "assistant", **message}
    finish = finish or finish_of(message)
    message = as_message(message)
    content = message.get("content")
    refusal = message.get("refusal")
    if not content and isinstance(refusal, str) and refusal:
        return Answer(refusal, (), "refusal")
    texts: list[str] = []
    calls: list[ToolCall] = []
    if isinstance(content, str):
        texts.append(content)
    elif isinstance(content, list):
        finish = "refusal" if add_parts(content, texts, calls) else finish
    elif content is not None:
        raise UnreadableRecordError("the answer's content must be text or a list of parts")
    sent = message.get("tool_calls") or []
    if not isinstance(sent, list):
        raise UnreadableRecordError("the answer's tool_calls must be a list")
    calls += map(_call, sent)
    if message.get("function_call"):
        calls.append(_call(message["function_call"]))
    return Answer("".join(texts), tuple(calls), ended(finish))


def response_answer(items: list[JsonObject], holder: JsonObject) -> Answer:
    """Read the output items of the Responses API.

    Raises:
        SkippedRecordError: The response failed.
        UnreadableRecordError: An item is of a type that is not known.
    """
    texts: list[str] = []
    calls: list[ToolCall] = []
    refused = False
    for item in items:
        kind = item.get("type", "message")
        content = item.get("content") if kind == "message" else item.get("text")
        if isinstance(content, list):
            refused |= add_parts(content, texts, calls)
        elif one_of(kind, ("message", "output_text", "text")) and isinstance(content, str):
            texts.append(content)
        elif kind == "function_call":
            calls.append(_call(item))
        elif kind != "reasoning":
            raise UnreadableRecordError("the response has an output item of an unknown type")
    status = holder.get("status")
    if one_of(status, ("failed", "cancelled")):
        raise SkippedRecordError("the answer is an error")
    finish = finish_of(holder)
    if status == "incomplete":
        details = holder.get("incomplete_details")
        finish = (details.get("reason") if isinstance(details, dict) else None) or "incomplete"
    return Answer("".join(texts), tuple(calls), "refusal" if refused else ended(finish))


def add_parts(content: list[Any], texts: list[str], calls: list[ToolCall]) -> bool:
    """Add the parts of an answer to its texts and calls; return whether one is a refusal.

    Raises:
        UnreadableRecordError: A part is neither text nor a call of a tool nor a thought.
    """
    refused = False
    for part in content:
        text = text_of_part(part)
        if text is not None:
            texts.append(text)
        elif isinstance(part, dict) and part.get("type") == "refusal":
            refused = True
            texts.append(str(part.get("refusal") or ""))
        elif isinstance(part, dict) and (call := call_of_part(part)) is not None:
            calls.append(_call(call))
        elif not is_thought(part):
            raise UnreadableRecordError("the answer has a part that is neither text nor tool call")
    return refused


def finish_of(place: JsonObject) -> Any:
    """Return why an answer ended, as its envelope says under any API's name; else ``None``."""
    for key in _FINISH_KEYS:
        if key in place and isinstance(place[key], str):
            return place[key]
    return None


def read_usage(holder: JsonObject) -> Usage | None:
    """Return the tokens counted, if they are there, under any API's names."""
    if _USAGE_KEYS.isdisjoint(holder):
        return None
    for key, prompt, completion in _USAGE:
        place = holder.get(key) if key else holder
        if isinstance(place, dict) and place:
            counts = _tokens(place.get(prompt)), _tokens(place.get(completion))
            if counts != (None, None):
                return Usage(counts[0] or 0, counts[1] or 0)
    return None


def _tokens(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 2**53 else None


def _call(call: Any) -> ToolCall:
    function = tool_call(call)["function"]
    return ToolCall(function["name"], function["arguments"])
