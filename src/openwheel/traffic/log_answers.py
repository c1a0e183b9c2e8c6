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


def read_answer(value: Any) -> tuple[Answer, JsonObject]:
    """Read what was answered, and the object that held it (for its model, usage and time).

    Raises:
        SkippedRecordError: There is no answer: it is missing, empty or an error.
        UnreadableRecordError: It has none of the known shapes.
    """
    holder = _unwrap(value)
    if holder is None:
        raise SkippedRecordError("no answer")
    if not isinstance(holder, dict):
        return _given(Answer(json_text(holder))), {}
    if holder.get("error"):
        raise SkippedRecordError("the answer is an error")
    choices = holder.get("choices")
    if isinstance(choices, list):
        if not choices or not isinstance(choices[0], dict):
            raise SkippedRecordError("no answer")
        return _given(_choice(choices[0])), holder
    output = holder.get("output")
    if isinstance(output, list):
        return _given(_response_items(output, holder)), holder
    if holder.get("role") == "assistant":
        finish = holder.get("finish_reason") or holder.get("stop_reason")
        return _given(_message(holder, finish)), holder
    raise UnreadableRecordError(
        "the response is not one: it has no choices, no output and is no assistant message"
    )


def read_output(value: Any) -> tuple[Answer, JsonObject]:
    """Read the output of a plain pair: a text, or any JSON value written as its JSON text.

    Raises:
        SkippedRecordError: There is no answer.
        UnreadableRecordError: It looks like a completion and cannot be read as one.
    """
    if isinstance(value, dict) and isinstance(value.get("choices"), list):
        return read_answer(value)
    if value is None:
        raise SkippedRecordError("no answer")
    return _given(Answer(json_text(value))), {}


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
        SkippedRecordError: It is empty.
        UnreadableRecordError: Its content or tool calls have no known shape.
    """
    return _given(_message(message, message.get("finish_reason")))


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
        return Answer(refusal, (), "refusal")
    texts: list[str] = []
    calls: list[ToolCall] = []
    if isinstance(content, str):
        texts.append(content)
    elif isinstance(content, list):
        refused = _parts(content, texts, calls)
        finish = "refusal" if refused else finish
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


def _parts(content: list[Any], texts: list[str], calls: list[ToolCall]) -> bool:
    """Add the parts of an answer to its texts and calls; return whether one is a refusal."""
    refused = False
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict) and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif isinstance(part, dict) and part.get("type") == "tool_use":
            calls.append(_tool_call({"name": part.get("name"), "arguments": part.get("input")}))
        elif isinstance(part, dict) and part.get("type") == "refusal":
            refused = True
            texts.append(str(part.get("refusal") or ""))
        elif not (isinstance(part, dict) and part.get("type") in {"thinking", "reasoning"}):
            raise UnreadableRecordError("the answer has a part that is neither text nor tool call")
    return refused


def _response_items(items: list[Any], holder: JsonObject) -> Answer:
    texts: list[str] = []
    calls: list[ToolCall] = []
    refused = False
    for item in items:
        kind = item.get("type", "message") if isinstance(item, dict) else None
        if kind == "message" and isinstance(item.get("content"), list):
            refused |= _parts(item["content"], texts, calls)
        elif kind == "function_call":
            calls.append(_tool_call(item))
        elif kind != "reasoning":
            raise UnreadableRecordError("the response has an output item of an unknown type")
    finish = "refusal" if refused else _finish(holder.get("status"))
    return Answer("".join(texts), tuple(calls), finish)


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


def _given(answer: Answer) -> Answer:
    """Return an answer; one that was cut, filtered or refused is kept as what it was."""
    if answer.complete and not answer.tool_calls and not answer.text.strip():
        raise SkippedRecordError("the answer is empty")
    return answer
