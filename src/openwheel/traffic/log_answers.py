"""Reading an answer, as logs hold them: completions, responses, messages, or plain text."""

from typing import Any

import msgspec

from openwheel.traffic.log_values import (
    JsonObject,
    SkippedRecordError,
    UnreadableRecordError,
    embedded,
    json_text,
)
from openwheel.wire import Answer, ToolCall, Usage

_FINISH = {
    "eos": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "completed": "stop",
    "complete": "stop",
    "tool_use": "tool_calls",
}
_CUT_OFF = {"length", "max_tokens", "max_output_tokens", "content_filter", "incomplete"}


def read_answer(value: Any) -> tuple[Answer, JsonObject]:
    """Read what was answered, and the object that held it (for its model, usage and time).

    Raises:
        SkippedRecordError: There is no whole answer: it is missing, empty, cut off or an error.
        UnreadableRecordError: It has none of the known shapes.
    """
    holder = _unwrap(value)
    if holder is None:
        raise SkippedRecordError("no answer")
    if not isinstance(holder, dict):
        return _whole(Answer(json_text(holder))), {}
    if holder.get("error"):
        raise SkippedRecordError("the answer is an error")
    choices = holder.get("choices")
    if isinstance(choices, list):
        if not choices or not isinstance(choices[0], dict):
            raise SkippedRecordError("no answer")
        return _whole(_choice(choices[0])), holder
    output = holder.get("output")
    if isinstance(output, list):
        return _whole(_response_items(output, holder)), holder
    if holder.get("role") == "assistant":
        finish = holder.get("finish_reason") or holder.get("stop_reason")
        return _whole(_message(holder, finish)), holder
    raise UnreadableRecordError(
        "the response is not one: it has no choices, no output and is no assistant message"
    )


def read_output(value: Any) -> tuple[Answer, JsonObject]:
    """Read the output of a plain pair: a text, or any JSON value written as its JSON text.

    Raises:
        SkippedRecordError: There is no whole answer.
        UnreadableRecordError: It looks like a completion and cannot be read as one.
    """
    if isinstance(value, dict) and isinstance(value.get("choices"), list):
        return read_answer(value)
    if value is None:
        raise SkippedRecordError("no answer")
    return _whole(Answer(json_text(value))), {}


def read_usage(holder: JsonObject) -> Usage | None:
    """Return the tokens counted in ``usage``, if they are there, under either API's names."""
    usage = holder.get("usage")
    if not isinstance(usage, dict):
        return None
    prompt = _tokens(usage.get("prompt_tokens", usage.get("input_tokens")))
    completion = _tokens(usage.get("completion_tokens", usage.get("output_tokens")))
    return None if prompt is completion is None else Usage(prompt or 0, completion or 0)


def message_answer(message: JsonObject) -> Answer:
    """Read the assistant message that ends a chat.

    Raises:
        SkippedRecordError: It is empty, cut off, or a refusal.
        UnreadableRecordError: Its content or tool calls have no known shape.
    """
    return _whole(_message(message, message.get("finish_reason")))


def _tokens(value: Any) -> int | None:
    return value if isinstance(value, int) and 0 <= value < 2**63 else None


def _unwrap(value: Any) -> Any:
    """Take the response out of JSON text, and out of the batch API's envelope."""
    value = embedded(value)
    if isinstance(value, dict):
        status = value.get("status_code")
        if isinstance(status, int) and status >= 400:
            raise SkippedRecordError("the answer is an error")
        if "choices" not in value and "body" in value:
            return embedded(value["body"])
    return value


def _choice(choice: JsonObject) -> Answer:
    finish = choice.get("finish_reason")
    message = choice.get("message")
    if isinstance(message, dict):
        return _message(message, finish)
    if isinstance(choice.get("text"), str):
        return Answer(choice["text"], (), _finish(finish))
    raise UnreadableRecordError("the first choice of the response has no message and no text")


def _message(message: JsonObject, finish: Any) -> Answer:
    content = message.get("content")
    refusal = message.get("refusal")
    if not content and isinstance(refusal, str) and refusal:
        raise SkippedRecordError("the answer is a refusal")
    texts: list[str] = []
    calls: list[ToolCall] = []
    if isinstance(content, str):
        texts.append(content)
    elif isinstance(content, list):
        _parts(content, texts, calls)
    elif content is not None:
        raise UnreadableRecordError("the answer's content must be text or a list of parts")
    sent = message.get("tool_calls") or []
    if not isinstance(sent, list):
        raise UnreadableRecordError("the answer's tool_calls must be a list")
    for call in sent:
        calls.append(_tool_call(call.get("function", call) if isinstance(call, dict) else call))
    if message.get("function_call"):
        calls.append(_tool_call(message["function_call"]))
    return Answer("".join(texts), tuple(calls), _finish(finish))


def _parts(content: list[Any], texts: list[str], calls: list[ToolCall]) -> None:
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict) and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif isinstance(part, dict) and part.get("type") == "tool_use":
            calls.append(_tool_call({"name": part.get("name"), "arguments": part.get("input")}))
        elif isinstance(part, dict) and part.get("type") == "refusal":
            raise SkippedRecordError("the answer is a refusal")
        elif not (isinstance(part, dict) and part.get("type") in {"thinking", "reasoning"}):
            raise UnreadableRecordError("the answer has a part that is neither text nor tool call")


def _response_items(items: list[Any], holder: JsonObject) -> Answer:
    texts: list[str] = []
    calls: list[ToolCall] = []
    for item in items:
        kind = item.get("type", "message") if isinstance(item, dict) else None
        if kind == "message" and isinstance(item.get("content"), list):
            _parts(item["content"], texts, calls)
        elif kind == "function_call":
            calls.append(_tool_call(item))
        elif kind != "reasoning":
            raise UnreadableRecordError("the response has an output item of an unknown type")
    return Answer("".join(texts), tuple(calls), _finish(holder.get("status")))


def _tool_call(call: Any) -> ToolCall:
    name = call.get("name") if isinstance(call, dict) else None
    if not isinstance(name, str) or not name:
        raise UnreadableRecordError("the answer has a tool call without a name")
    arguments = call.get("arguments")
    if not isinstance(arguments, str):
        arguments = "" if arguments is None else msgspec.json.encode(arguments).decode()
    return ToolCall(name, arguments)


def _finish(value: Any) -> str:
    reason = value.lower() if isinstance(value, str) and value else "stop"
    return _FINISH.get(reason, reason)


def _whole(answer: Answer) -> Answer:
    if not answer.complete:
        cut = answer.finish_reason in _CUT_OFF
        how = answer.finish_reason if cut else "an unknown one"
        raise SkippedRecordError(f"the answer did not end by itself (finish reason: {how})")
    if not answer.tool_calls and not answer.text.strip():
        raise SkippedRecordError("the answer is empty")
    return answer
