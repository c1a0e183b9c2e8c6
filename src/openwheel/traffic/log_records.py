"""Recognising one record of a log, a JSON object or a CSV row, as an exchange."""

from typing import Any

import msgspec

from openwheel.traffic.exchange import Exchange
from openwheel.traffic.log_answers import (
    message_answer,
    read_answer,
    read_output,
    read_usage,
)
from openwheel.traffic.log_requests import (
    REQUEST_KEYS,
    as_chat_request,
    conversation,
    is_message,
    request_body,
)
from openwheel.traffic.log_values import (
    JsonObject,
    SkippedRecordError,
    UnreadableRecordError,
    embedded,
    json_text,
    milliseconds,
    seconds,
)
from openwheel.wire import Answer, ChatRequest, read_fingerprint

INPUT_KEYS = ("input", "text", "prompt")
OUTPUT_KEYS = ("output", "label", "teacher", "completion")
_RESPONSE_KEYS = ("response", "output", "completion")
_TIME_KEYS = ("time", "timestamp", "created", "created_at", "date")
_LATENCY_KEYS = ("latency_ms", "latency", "duration_ms")
_REQUEST_SETTINGS = (
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "functions",
    "function_call",
    "response_format",
)
_encode = msgspec.json.Encoder().encode


class Keys(msgspec.Struct, frozen=True):
    """The keys of plain pairs that the user named; a dot goes down into an object."""

    input: str | None = None
    output: str | None = None


def is_header(names: list[str], keys: Keys) -> bool:
    """Return whether a CSV header has the columns that some shape needs."""
    have = set(names)
    if keys.input or keys.output:
        inputs = [keys.input] if keys.input else [*INPUT_KEYS, "messages"]
        outputs = [keys.output] if keys.output else OUTPUT_KEYS
        return not have.isdisjoint(inputs) and not have.isdisjoint(outputs)
    return (
        (not have.isdisjoint(INPUT_KEYS) and not have.isdisjoint(OUTPUT_KEYS))
        or not have.isdisjoint({"messages", "conversations"})
        or (not have.isdisjoint(REQUEST_KEYS) and "response" in have)
    )


def read_record(record: JsonObject, identity: str, keys: Keys) -> tuple[Exchange, bool]:
    """Return the exchange that a record holds, and whether its time could be read if it has one.

    Raises:
        SkippedRecordError: It holds nothing to learn from.
        UnreadableRecordError: It has none of the known shapes, or breaks the one it has.
    """
    if record.get("error"):
        raise SkippedRecordError("the answer is an error")
    body, answer, holder = _shape(record, keys)
    request = _checked(body)
    time, time_read = _time(record, holder)
    exchange = Exchange(
        id=identity,
        time=time,
        request=_encoded(body),
        answer=answer,
        source="log",
        model=_first_text(holder.get("model"), body.get("model"), record.get("model")),
        fingerprint=read_fingerprint(
            holder.get("system_fingerprint") or record.get("system_fingerprint")
        ),
        task=_task(record) or (request.task if request else ""),
        latency_ms=_latency(record),
        usage=read_usage(holder) or read_usage(record),
    )
    return exchange, time_read


def _shape(record: JsonObject, keys: Keys) -> tuple[JsonObject, Answer, JsonObject]:
    """Return the request's body, the answer, and the object that the answer came in."""
    if keys.input or keys.output:
        return _pair(record, keys)
    if "conversations" in record:
        return _chat(record, conversation(embedded(record["conversations"])))
    if "messages" in record:
        messages = embedded(record["messages"])
        for key in (*_RESPONSE_KEYS, "choices"):
            if key in record and not _ends_in_answer(messages):
                response = record if key == "choices" else record[key]
                return _with_settings(record, messages), *read_answer(response)
        return _chat(record, messages)
    body = request_body(record)
    if body is not None:
        for key in _RESPONSE_KEYS:
            if key in record:
                return body, *read_answer(record[key])
        raise SkippedRecordError("no answer")
    if "response" in record and record.keys().isdisjoint(INPUT_KEYS):
        raise UnreadableRecordError("it has a response but no request")
    return _pair(record, keys)


def _ends_in_answer(messages: Any) -> bool:
    return (
        isinstance(messages, list)
        and bool(messages)
        and is_message(messages[-1])
        and messages[-1]["role"] == "assistant"
    )


def _chat(record: JsonObject, messages: Any) -> tuple[JsonObject, Answer, JsonObject]:
    if not isinstance(messages, list) or not all(is_message(item) for item in messages):
        raise UnreadableRecordError("messages must be a list of objects with a role")
    if not _ends_in_answer(messages):
        raise SkippedRecordError("the chat does not end in an assistant message")
    if len(messages) == 1:
        raise SkippedRecordError("the chat has no message before the answer")
    return _with_settings(record, messages[:-1]), message_answer(messages[-1]), record


def _with_settings(record: JsonObject, messages: Any) -> JsonObject:
    body: JsonObject = {"messages": messages}
    for key in _REQUEST_SETTINGS:
        if record.get(key) is not None:
            body[key] = embedded(record[key])
    return body


def _pair(record: JsonObject, keys: Keys) -> tuple[JsonObject, Answer, JsonObject]:
    value = _pick(record, (keys.input,) if keys.input else INPUT_KEYS, "input")
    output = _pick(record, (keys.output,) if keys.output else (*OUTPUT_KEYS, "response"), "output")
    answer, holder = read_output(output)
    if keys.input:
        chat = as_chat_request(embedded(value), pair=True)
        if chat is not None:
            return chat, answer, holder
    text = "" if value is None else json_text(value)
    messages = []
    # Instruction data (Alpaca) keeps the prompt's fixed part in a field of its own.
    for key in ("system", "instruction"):
        fixed = record.get(key)
        if not keys.input and isinstance(fixed, str) and fixed.strip():
            messages.append({"role": "system", "content": fixed})
    if text.strip():
        messages.append({"role": "user", "content": text})
    elif messages and record.get("instruction"):
        messages[-1]["role"] = "user"
    else:
        raise SkippedRecordError("the input is empty")
    return {"messages": messages}, answer, holder


def _pick(record: JsonObject, names: tuple[str, ...], what: str) -> Any:
    for name in names:
        if name in record:
            return record[name]
        value: Any = record
        for step in name.split("."):
            value = value.get(step) if isinstance(value, dict) else None
        if value is not None:
            return value
    wanted = " or ".join(names)
    have = ", ".join(str(key)[:30] for key in list(record)[:8]) or "none"
    raise UnreadableRecordError(f"no {what}: it must have a key {wanted}, it has {have}")


def _checked(body: JsonObject) -> ChatRequest | None:
    try:
        request = msgspec.convert(body, ChatRequest)
    except msgspec.ValidationError as error:
        raise UnreadableRecordError(f"the request is not a chat request: {error}") from None
    if not request.messages:
        raise UnreadableRecordError("the request has no messages")
    return request


def _encoded(body: JsonObject) -> bytes:
    try:
        return _encode(body)
    except (OverflowError, RecursionError) as error:
        raise UnreadableRecordError(f"the request cannot be written as JSON: {error}") from None


def _time(record: JsonObject, holder: JsonObject) -> tuple[float, bool]:
    readable = True
    for place in (record, holder):
        for key in _TIME_KEYS:
            value = place.get(key)
            if value is None or value == "":
                continue
            time = seconds(value)
            if time is not None:
                return time, True
            readable = False
    return 0.0, readable


def _latency(record: JsonObject) -> float | None:
    for key in _LATENCY_KEYS:
        latency = milliseconds(record.get(key))
        if latency is not None:
            return latency
    return None


def _task(record: JsonObject) -> str:
    metadata = embedded(record.get("metadata"))
    if not isinstance(metadata, dict):
        metadata = {}
    return _first_text(
        record.get("task"),
        metadata.get("task"),
        record.get("openwheel_task"),
        metadata.get("openwheel_task"),
    )


def _first_text(*values: Any) -> str:
    for value in values:
        if isinstance(value, str) and value:
            return value
    return ""
