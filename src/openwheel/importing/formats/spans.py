"""Reads spans of traces that hold a model's call in attributes.

Read are OpenTelemetry's conventions for generative AI (current and earlier), OpenLLMetry,
OpenInference and the Vercel AI SDK, whatever writes the span: OTLP JSON, a console exporter, a
table with a column for each attribute, or nested objects.
"""

from typing import Any, Final

from openwheel.importing.answers import Opened, output, response
from openwheel.importing.assistant import message_answer, not_empty
from openwheel.importing.formats.format import Entry, Format, Keys, beside, failed
from openwheel.importing.messages import as_messages, with_system
from openwheel.importing.requests import Asked, read_request
from openwheel.importing.values import (
    JsonObject,
    SkippedRecordError,
    at,
    embedded,
    first_object,
    first_text,
    listed,
)

_HOLDERS: Final = ("attributes", "SpanAttributes", "span_attributes", "tags", "spanAttributes")
_PREFIXES: Final = ("gen_ai.", "llm.", "input.", "output.", "ai.", "openinference.", "traceloop.")
_EVENTS: Final = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
_CALLS: Final = frozenset(
    {"chat", "text_completion", "generate_content", "completion", "LLM", "llm"}
)


def _read(record: JsonObject, _: Keys) -> Entry | None:
    flat = _attributes(record)
    if not any(name.startswith(_PREFIXES) for name in flat):
        return None
    kind = first_text(
        *(
            flat.get(name)
            for name in (
                "openinference.span.kind",
                "gen_ai.operation.name",
                "traceloop.span.kind",
                "llm.request.type",
            )
        ),
        record.get("span_kind"),
    )
    if kind and kind not in _CALLS and kind.upper() not in {"CLIENT", "SPAN_KIND_CLIENT"}:
        raise SkippedRecordError(f"a span of the application ({kind.lower()[:40]})")
    status = record.get("status", record.get("status_code", record.get("StatusCode")))
    if (
        failed(status)
        or 2 in (status, at(status, "status_code"), at(status, "code"))
        or "error.type" in flat
    ):
        raise SkippedRecordError("the call failed")
    nested = _nested(flat)
    for name, read in _CONVENTIONS:
        exchange = read(record, flat, nested)
        if exchange is not None:
            asked, opened = exchange
            parameters = first_object(flat.get("llm.invocation_parameters"))
            asked = beside(asked, *_settings(flat), parameters)
            more = {**record, "usage": _usage(flat)}
            return Entry(asked, opened, record=more, name=name)
    raise SkippedRecordError("a span without a model's input and output")


_Found = tuple[Asked, Opened] | None


def _messages(_: JsonObject, flat: JsonObject, __: JsonObject) -> _Found:
    """Read ``gen_ai.input.messages`` and ``gen_ai.output.messages``, or the older JSON texts."""
    given_ = embedded(flat.get("gen_ai.input.messages", flat.get("gen_ai.prompt")))
    answers = embedded(flat.get("gen_ai.output.messages", flat.get("gen_ai.completion")))
    if given_ is None or answers is None or isinstance(given_, str):
        if not isinstance(given_, str) or not given_.strip() or answers is None:
            return None
        given_ = [{"role": "user", "content": given_}]
    asked = read_request(given_) or Asked({"messages": as_messages(given_)})
    system = embedded(flat.get("gen_ai.system_instructions"))
    body = {**asked.body, "messages": with_system(system, asked.body["messages"])}
    return Asked(body, asked.api), output(answers)


def _indexed(_: JsonObject, __: JsonObject, nested: JsonObject) -> _Found:
    """Read ``gen_ai.prompt.0.role`` and the like, as OpenLLMetry writes them."""
    prompt, completion = at(nested, "gen_ai", "prompt"), at(nested, "gen_ai", "completion", 0)
    if not isinstance(prompt, list) or completion is None:
        return None
    body = {"messages": as_messages([{"role": "user", **_plain(item)} for item in prompt])}
    if isinstance(offered := at(nested, "llm", "request", "functions"), list):
        functions = [
            {key: embedded(value) for key, value in first_object(item).items()} for item in offered
        ]
        body["tools"] = [{"type": "function", "function": function} for function in functions]
    message = {"role": "assistant", **_plain(completion)}
    return Asked(body), Opened(not_empty(message_answer(message, message.get("finish_reason"))))


def _openinference(_: JsonObject, flat: JsonObject, nested: JsonObject) -> _Found:
    """Read ``llm.input_messages.0.message.role`` and the like, else the bodies under ``value``."""
    given_, answers = (
        embedded(at(nested, "llm", f"{way}_messages")) for way in ("input", "output")
    )
    if isinstance(given_, list) and given_ and isinstance(answers, list) and answers:
        messages = as_messages([_plain(_message(item)) for item in given_])
        last = {"role": "assistant", **_plain(_message(answers[0]))}
        finish = flat.get("llm.finish_reason")
        return Asked({"messages": messages}), Opened(not_empty(message_answer(last, finish)))
    value, answer = flat.get("input.value"), flat.get("output.value")
    if value is None or answer is None:
        return None
    asked = read_request(value)
    if asked is None:
        asked = Asked({"messages": [{"role": "user", "content": str(value)}]})
    return asked, output(answer)


def _vercel(record: JsonObject, flat: JsonObject, _: JsonObject) -> _Found:
    """Read the spans of the Vercel AI SDK; those around a call repeat it."""
    name = first_text(flat.get("ai.operationId"), record.get("name"))
    if not name.startswith("ai."):
        return None
    if not name.split(" ")[0].endswith((".doGenerate", ".doStream")):
        raise SkippedRecordError("a span of the application (ai sdk)")
    given_ = embedded(flat.get("ai.prompt.messages"))
    if not isinstance(given_, list):
        return None
    asked = Asked({"messages": as_messages(given_)})
    offered = embedded(flat.get("ai.prompt.tools"))
    if isinstance(offered, list) and offered:
        asked = Asked({**asked.body, "tools": [embedded(tool) for tool in offered]})
    calls = embedded(flat.get("ai.response.toolCalls", flat.get("ai.result.toolCalls")))
    text = first_text(
        *(
            flat.get(f"ai.{key}")
            for key in ("response.text", "response.object", "result.text", "result.object")
        )
    )
    message: JsonObject = {"role": "assistant", "content": text}
    if isinstance(calls, list) and calls:
        message["tool_calls"] = calls
    finish = first_text(flat.get("ai.response.finishReason"), flat.get("ai.finishReason"))
    return asked, Opened(not_empty(message_answer(message, finish)))


def _events(record: JsonObject, _: JsonObject, __: JsonObject) -> _Found:
    """Read the events of a span, as earlier conventions have it."""
    events = embedded(record.get("events", record.get("Events")))
    if not isinstance(events, list):
        return None
    messages: list[JsonObject] = []
    opened: Opened | None = None
    for event in events:
        if not isinstance(event, dict):
            continue
        name = first_text(event.get("name"), event.get("Name"))
        fields = {**_attributes(event), **first_object(event.get("body"))}
        content = fields.get("content", fields.get("gen_ai.event.content"))
        if name in _EVENTS:
            event_message = first_object(content) if isinstance(content, str) else fields
            if "content" not in event_message and "parts" not in event_message:
                event_message = {"content": content}
            messages.append({"role": _EVENTS[name], **event_message})
        elif name == "gen_ai.choice":
            message = embedded(fields.get("message", content))
            inner: JsonObject = message if isinstance(message, dict) else {"content": message}
            inner = first_object(inner.get("message")) or inner
            opened = opened or Opened(
                not_empty(
                    message_answer({**inner, "role": "assistant"}, fields.get("finish_reason"))
                )
            )
        elif name == "gen_ai.content.prompt":
            asked = read_request(fields.get("gen_ai.prompt"))
            messages += asked.body["messages"] if asked else []
        elif name == "gen_ai.content.completion":
            opened = opened or response(fields.get("gen_ai.completion"))
        elif "gen_ai.input.messages" in fields:
            return _messages(event, fields, {})
    if not messages or opened is None:
        return None
    return Asked({"messages": as_messages(messages)}), opened


def _attributes(record: JsonObject) -> JsonObject:
    """Return a span's attributes by their full names, whatever holds them."""
    flat: JsonObject = {}
    for name, value in record.items():
        if name in _HOLDERS:
            _flatten("", _keyed(embedded(value)), flat)
        elif name.startswith("attributes."):  # a table with a column for each
            _flatten(name.removeprefix("attributes."), value, flat)
        elif name.startswith(_PREFIXES):
            flat[name] = value
    return flat


def _keyed(value: Any) -> Any:
    """Return attributes that are a list of keys and values as an object."""
    if not isinstance(value, list):
        return value
    return {
        item["key"]: _value(item.get("value"))
        for item in value
        if isinstance(item, dict) and isinstance(item.get("key"), str)
    }


def _value(value: Any) -> Any:
    """Return an OTLP value, which names its type."""
    if not isinstance(value, dict) or len(value) != 1:
        return value
    ((kind, inner),) = value.items()
    if kind == "arrayValue":
        return [_value(item) for item in listed(at(inner, "values"))]
    if kind == "kvlistValue":
        return _keyed(listed(at(inner, "values")))
    if kind == "intValue" and isinstance(inner, str) and inner.lstrip("-").isdecimal():
        return int(inner)
    return inner if kind.endswith("Value") else value


def _flatten(prefix: str, value: Any, flat: JsonObject) -> None:
    """Add an object's values by their full names; lists stay whole."""
    if not isinstance(value, dict):
        if prefix:
            flat[prefix] = value
        return
    for key, inner in value.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(inner, dict) and (name + ".").startswith(_PREFIXES):
            _flatten(name, inner, flat)
        else:
            flat[name] = inner


def _nested(flat: JsonObject) -> JsonObject:
    """Return attributes as objects in one another; numbered names become lists.

    >>> _nested({"llm.a.0.b": 1, "llm.a.1.b": 2})
    {'llm': {'a': [{'b': 1}, {'b': 2}]}}
    """
    root: JsonObject = {}
    for name, value in flat.items():
        if not name.startswith(("gen_ai.prompt.", "gen_ai.completion.", "llm.")):
            continue
        place: Any = root
        steps = name.split(".")
        for step in steps[:-1]:
            inner = place.get(step)
            if not isinstance(inner, dict):
                inner = place[step] = {}
            place = inner
        if not isinstance(place.get(steps[-1]), dict):
            place[steps[-1]] = value
    tree = _listed(root)
    return tree if isinstance(tree, dict) else {}


def _listed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {key: _listed(item) for key, item in value.items()}
    if inner and all(key.isdecimal() and len(key) < 6 for key in inner):
        return [inner[key] for key in sorted(inner, key=int)]
    return inner


def _message(item: Any) -> Any:
    """Return a message whose names may have the prefix ``message.``."""
    inner = first_object(item).get("message")
    if isinstance(inner, dict):
        return inner
    if isinstance(item, dict) and "message.role" in item:
        return {key.removeprefix("message."): value for key, value in item.items()}
    return item


def _plain(item: Any) -> JsonObject:
    """Return an attribute's message; parts that were written as JSON text are read."""
    if not isinstance(item, dict):
        return {"content": item}
    plain: JsonObject = {str(key): value for key, value in item.items()}
    content = plain.get("content")
    if isinstance(content, str):
        parts = embedded(content)
        if (
            isinstance(parts, list)
            and parts
            and all(isinstance(part, dict) and isinstance(part.get("type"), str) for part in parts)
        ):
            plain["content"] = parts
    calls = plain.get("tool_calls")
    if isinstance(calls, list):
        plain["tool_calls"] = [
            call["tool_call"] if isinstance(call, dict) and "tool_call" in call else call
            for call in calls
        ]
    return plain


def _settings(flat: JsonObject) -> list[Any]:
    """Return the settings that the attributes name, and the model."""
    sent = {
        name.removeprefix("gen_ai.request."): value
        for name, value in flat.items()
        if name.startswith("gen_ai.request.")
    }
    model = first_text(
        sent.get("model"),
        flat.get("llm.model_name"),
        flat.get("ai.model.id"),
        flat.get("gen_ai.response.model"),
    )
    return [model, {key: value for key, value in sent.items() if key != "model"}]


def _usage(flat: JsonObject) -> JsonObject:
    def first(*names: str) -> Any:
        return next((flat[name] for name in names if name in flat), None)

    return {
        "input_tokens": first(
            "gen_ai.usage.input_tokens",
            "gen_ai.usage.prompt_tokens",
            "llm.token_count.prompt",
            "ai.usage.promptTokens",
            "ai.usage.inputTokens",
        ),
        "output_tokens": first(
            "gen_ai.usage.output_tokens",
            "gen_ai.usage.completion_tokens",
            "llm.token_count.completion",
            "ai.usage.completionTokens",
            "ai.usage.outputTokens",
        ),
    }


def _has(keys: frozenset[str]) -> bool:
    return not keys.isdisjoint(_HOLDERS) or any(
        key.startswith(("attributes.", *_PREFIXES)) for key in keys
    )


_CONVENTIONS: Final = (
    ("Vercel AI SDK", _vercel),
    ("OpenTelemetry", _messages),
    ("OpenLLMetry", _indexed),
    ("OpenInference", _openinference),
    ("OpenTelemetry", _events),
)
SPANS = Format("OpenTelemetry spans", _has, _read)
