"""Reads the plainest formats: a request and a response, and an input and an output."""

from typing import Any, Final

from openwheel.importing.answers import output, response
from openwheel.importing.formats.format import Entry, Format, Keys, beside, failed
from openwheel.importing.messages import is_messages
from openwheel.importing.requests import Asked, api_named, read_request
from openwheel.importing.values import (
    JsonObject,
    SkippedRecordError,
    UnreadableRecordError,
    embedded,
    first_object,
    is_set,
    json_text,
    squeezed,
)

INPUT_KEYS: Final = ("input", "text", "prompt", "question", "query")
OUTPUT_KEYS: Final = (
    "output",
    "teacher",
    "response",
    "completion",
    "answer",
    "label",
    "prediction",
)
REQUEST_KEYS: Final = ("request", "kwargs", "body", "input", "inputs", "payload")
RESPONSE_KEYS: Final = ("response", "output", "completion", "outputs", "result")
_FIXED: Final = ("system", "system_prompt", "instruction", "instructions")
_NAMES: Final = {
    "chat": "chat completions",
    "completions": "completions",
    "responses": "Responses",
    "messages": "Anthropic messages",
}
_HINT_KEYS: Final = ("api", "endpoint", "url", "path", "call_type")
_HINTS: Final = frozenset(_HINT_KEYS)
_BESIDE_KEYS: Final = ("model", "model_parameters", "parameters", "params")


def _exchange(record: JsonObject, _: Keys) -> Entry | None:
    """Read a request's body and a response's."""
    answer_key = next((key for key in RESPONSE_KEYS if key in record), None)
    api = None if _HINTS.isdisjoint(record) else api_named(*map(record.get, _HINT_KEYS))
    answered = embedded(record.get(answer_key)) if answer_key else None
    asked = None
    for key in REQUEST_KEYS:
        if key not in record:
            continue
        value = embedded(record[key])
        if key == "request" and isinstance(value, str) and value.strip():
            asked = Asked({"messages": [{"role": "user", "content": value}]})
            break
        # Anything but messages under `input` is a plain pair's.
        if key in {"input", "inputs"} and not _is_chat(value):
            continue
        asked = read_request(value, response=answered, api=api)
        if asked is not None:
            break
    if asked is None:
        if "response" in record and keys_of(record).isdisjoint(map(squeezed, INPUT_KEYS)):
            raise UnreadableRecordError("it has a response but no request")
        return None
    if any(failed(record[key]) for key in ("status_code", "status") if key in record):
        raise SkippedRecordError("the answer is an error")
    if answer_key is None:
        raise SkippedRecordError("no answer")
    opened = (response if answer_key == "response" else output)(record[answer_key])
    asked = beside(asked, *_beside(record))
    return Entry(asked, opened, name=asked.vendor or _NAMES[asked.api])


def _is_chat(value: Any) -> bool:
    return is_messages(value) or (
        isinstance(value, dict) and not {"messages", "contents", "body", "kwargs"}.isdisjoint(value)
    )


def _beside(record: JsonObject) -> list[Any]:
    """Return the model and the settings beside a request."""
    return [record[key] for key in _BESIDE_KEYS if key in record]


def pair(record: JsonObject, keys: Keys) -> Entry:
    """Read an input and an output; the exception says which of them is empty or missing."""
    value = _pick(record, (keys.input,) if keys.input else INPUT_KEYS, "input")
    opened = output(_pick(record, (keys.output,) if keys.output else OUTPUT_KEYS, "output"))
    sent = embedded(value)
    asked = read_request(sent, response=opened.holder) if _is_chat(sent) else None
    if asked is not None:
        return Entry(beside(asked, *_beside(record)), opened)
    return Entry(_asked(value, record, keys), opened)


def _asked(value: Any, record: JsonObject, keys: Keys) -> Asked:
    text = "" if value is None else json_text(value)
    messages = []
    # Instruction data (Alpaca) keeps the prompt's fixed part in a field of its own.
    for key in _FIXED:
        fixed = record.get(key)
        if not keys.input and isinstance(fixed, str) and fixed.strip():
            messages.append({"role": "system", "content": fixed})
    if text.strip():
        messages.append({"role": "user", "content": text})
    elif messages and record.get("instruction"):
        messages[-1]["role"] = "user"
    else:
        raise SkippedRecordError("the input is empty")
    return beside(Asked({"messages": messages}), *_beside(record))


def _pick(record: JsonObject, names: tuple[str, ...], part: str) -> Any:
    for name in names:
        if name in record:
            return record[name]
        value: Any = record
        for step in name.split("."):
            value = first_object(value).get(step) if value is not record else record.get(step)
        if value is not None:
            return value
    squeezed_names = {squeezed(key): key for key in reversed(list(record))}
    for name in names:
        if (key := squeezed_names.get(squeezed(name))) is not None:
            return record[key]
    expected = " or ".join(names)
    have = ", ".join(str(key)[:30] for key in list(record)[:8]) or "none"
    raise UnreadableRecordError(
        f"no {part}: it must have a key {expected}, it has {have}{_advice(record)}"
    )


def _advice(record: JsonObject) -> str:
    """Return the options that may help, with the keys that look most like input and output."""
    texts = [key for key, value in record.items() if isinstance(value, str) and is_set(value)]
    if len(texts) < 2:
        return ""
    longest = max(texts, key=lambda key: len(record[key]))
    other = min((key for key in texts if key != longest), key=lambda key: len(record[key]))
    return f"; if those are them: --input-key {longest!r} --output-key {other!r}"


def keys_of(record: JsonObject) -> frozenset[str]:
    """Return a record's keys as keys are compared."""
    return frozenset(map(squeezed, record))


EXCHANGES = Format(
    "requests and responses",
    lambda keys: not keys.isdisjoint((*REQUEST_KEYS, "response")),
    _exchange,
)
PAIRS = Format("pairs", frozenset[str]().issubset, pair)
