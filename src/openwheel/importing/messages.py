"""Brings the messages of a chat, in any form that tools write, to that of chat completions."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from openwheel.importing.values import (
    JsonObject,
    UnreadableRecordError,
    embedded,
    json_text,
    one_of,
)

ROLES: Final = {
    "human": "user",
    "user": "user",
    "customer": "user",
    "prompter": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "ai": "assistant",
    "aimessagechunk": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "llm": "assistant",
    "chatbot": "assistant",
    "system": "system",
    "developer": "developer",
    "tool": "tool",
    "function": "tool",
    "functionresponse": "tool",
    "observation": "tool",
    "ipython": "tool",
}
"""Who speaks, as tools name it without case and punctuation, and the role that it is."""

NATIVE: Final = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_TEXT_TYPES: Final = frozenset({"text", "input_text", "output_text", "markdown"})
_THOUGHTS: Final = frozenset(
    {"thinking", "reasoning", "redacted_thinking", "thought", "reasoning_content"}
)


def role_of(name: Any) -> str | None:
    """Return the role that a speaker's name stands for, ``None`` if it is not known."""
    if not isinstance(name, str):
        return None
    if name in NATIVE:
        return name
    squeezed = name.lower().replace("_", "").replace("-", "").strip()
    return ROLES.get(squeezed.removesuffix("message")) or ROLES.get(squeezed)


def is_message(value: Any) -> bool:
    """Return whether a value is an object that names a speaker and says something."""
    return isinstance(value, dict) and (
        isinstance(value.get("role"), str)
        or isinstance(value.get("from"), str)
        or _is_langchain(value)
        or (isinstance(inner := value.get("message"), dict) and isinstance(inner.get("role"), str))
    )


def is_messages(value: Any) -> bool:
    """Return whether a value is a list of messages, and not empty."""
    return isinstance(value, list) and bool(value) and all(map(is_message, value))


def as_messages(value: Any) -> list[JsonObject]:
    """Return a list of messages as chat completions have it.

    Messages that are so already are returned as they are, byte for byte.

    Raises:
        UnreadableRecordError: It is no list, or a message has no known speaker or content.
    """
    value = embedded(value)
    if isinstance(value, dict) and is_message(value):
        value = [value]
    if not isinstance(value, list):
        raise UnreadableRecordError("messages must be a list of objects with a role")
    while len(value) == 1 and isinstance(value[0], list):  # a batch of one
        value = value[0]
    messages = []
    for item in map(embedded, value):
        if (
            isinstance(item, dict)
            and one_of(item.get("role"), NATIVE)
            and (type(item.get("content")) is str)
        ):
            messages.append(item)  # what nearly all are
            continue
        if not is_message(item):
            raise UnreadableRecordError("messages must be a list of objects with a role")
        messages.append(as_message(item))
    return messages


def as_message(value: JsonObject) -> JsonObject:
    """Return one message as chat completions have it.

    Raises:
        UnreadableRecordError: It has no known speaker.
    """
    if one_of(value.get("role"), NATIVE) and _is_native(value):
        return value
    if _is_langchain(value):
        return _from_langchain(value)
    if "role" not in value and isinstance(value.get("message"), dict):
        return as_message(value["message"])
    name = value.get("role", value.get("from"))
    role = role_of(name)
    if role is None:
        raise UnreadableRecordError(f"a message must have a known speaker, not {str(name)[:30]!r}")
    content = next(
        (value[key] for key in ("content", "parts", "value", "contents", "text") if key in value),
        None,
    )
    message: JsonObject = {"role": role}
    message |= content_of(content)
    for key in ("tool_calls", "function_call", "tool_call_id", "name", "refusal", "finish_reason"):
        if value.get(key) and key not in message:
            message[key] = value[key]
    if "tool_calls" in message:
        message["tool_calls"] = [tool_call(call) for call in _listed(message["tool_calls"])]
    return message


def content_of(content: Any) -> JsonObject:
    """Return the ``content``, and the ``tool_calls`` if there are some, of a message.

    A list of nothing but one text becomes that text. What is neither text nor a call of a tool
    stays in the list as it is.
    """
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        return {"content": content}
    parts: list[Any] = []
    calls: list[JsonObject] = []
    for part in content:
        text = text_of_part(part)
        if text is not None:
            parts.append({"type": "text", "text": text})
        elif isinstance(part, dict) and (call := call_of_part(part)) is not None:
            calls.append(call)
        elif not is_thought(part):
            parts.append(part)
    message: JsonObject = {"content": parts}
    if len(parts) == 1 and isinstance(parts[0], dict) and set(parts[0]) == {"type", "text"}:
        message["content"] = parts[0]["text"]
    elif not parts:
        message["content"] = None if calls else ""
    if calls:
        message["tool_calls"] = calls
    return message


def text_of_part(part: Any) -> str | None:
    """Return the text of a part of a content, ``None`` if it is of another kind."""
    if isinstance(part, str):
        return part
    if not isinstance(part, dict) or is_thought(part):
        return None
    if "message_content" in part:  # OpenInference
        return text_of_part(part["message_content"])
    kind = part.get("type", "text")
    if not one_of(kind, _TEXT_TYPES):
        return None
    for key in ("text", "content", "value"):
        if isinstance(part.get(key), str):
            return str(part[key])
    # TensorZero's arguments of a prompt template.
    arguments = part.get("arguments", part.get("value"))
    return json_text(arguments) if isinstance(arguments, dict) and kind == "text" else None


def is_thought(part: Any) -> bool:
    """Return whether a part is what a model thought before its answer."""
    return isinstance(part, dict) and (
        one_of(part.get("type"), _THOUGHTS)
        or bool(part.get("thought"))
        or "reasoningContent" in part
    )


def call_of_part(part: JsonObject) -> JsonObject | None:
    """Return the tool call that a part is, as chat completions have it; else ``None``."""
    for key in ("functionCall", "function_call", "toolUse", "tool_use", "tool_call"):
        if isinstance(part.get(key), dict):
            return tool_call(part[key])
    if one_of(part.get("type"), ("tool_use", "tool_call", "tool-call", "function_call")):
        return tool_call(part)
    return None


def tool_call(call: Any) -> JsonObject:
    """Return a tool call as chat completions have it.

    Raises:
        UnreadableRecordError: It names no tool.
    """
    if isinstance(call, dict) and isinstance(call.get("tool_call"), dict):
        call = call["tool_call"]
    inner = call.get("function", call) if isinstance(call, dict) else None
    if isinstance(inner, str):  # OpenInference writes it flat
        inner = call
    if not isinstance(inner, dict):
        raise UnreadableRecordError("the answer has a tool call without a name")
    name = inner.get("name") or inner.get("toolName") or inner.get("tool_name")
    if not isinstance(name, str) or not name:
        raise UnreadableRecordError("the answer has a tool call without a name")
    arguments: Any = ""
    for key in ("arguments", "args", "input", "raw_arguments", "parameters"):
        if inner.get(key) is not None:
            arguments = inner[key]
            break
    if not isinstance(arguments, str):
        arguments = _plain_json(arguments)
    fields: JsonObject = {"type": "function", "function": {"name": name, "arguments": arguments}}
    identity = call.get("id") or call.get("toolUseId") or call.get("toolCallId")
    return {"id": identity, **fields} if isinstance(identity, str) else fields


def with_system(system: Any, messages: list[JsonObject]) -> list[JsonObject]:
    """Return messages with a system text before them, if there is one and they have none."""
    text = system_text(system)
    if not text.strip() or (messages and messages[0].get("role") in {"system", "developer"}):
        return messages
    return [{"role": "system", "content": text}, *messages]


def system_text(system: Any) -> str:
    """Return a system text that is a text, a part, a list of parts, or a message."""
    if isinstance(system, dict):
        system = system.get("parts", system.get("content", [system]))
    if isinstance(system, str):
        return system
    if isinstance(system, list):
        return "\n".join(text for part in system if (text := text_of_part(part)) is not None)
    return ""


def _is_native(message: JsonObject) -> bool:
    content = message.get("content")
    if content is None:
        return bool(message.get("tool_calls") or message.get("function_call")) or not any(
            key in message for key in ("parts", "text", "value", "contents")
        )
    if isinstance(content, str):
        return True
    return isinstance(content, list) and all(
        isinstance(part, str)
        or (isinstance(part, dict) and isinstance(part.get("type"), str) and "content" not in part)
        for part in content
    )


def _is_langchain(value: JsonObject) -> bool:
    if value.get("lc") is not None and isinstance(value.get("kwargs"), dict):
        return True
    if "role" in value or role_of(value.get("type")) is None:
        return False
    return "content" in value or isinstance(value.get("data"), dict)


def _from_langchain(value: JsonObject) -> JsonObject:
    """Read a message of LangChain: dumped, as a dictionary, or as its own serialisation."""
    name = value.get("type")
    fields = value
    if isinstance(value.get("kwargs"), dict):
        fields = value["kwargs"]
        path = value.get("id")
        name = path[-1] if isinstance(path, list) and path else fields.get("type")
    elif isinstance(value.get("data"), dict):
        fields = value["data"]
    if str(name).startswith("ChatMessage") or fields.get("role"):
        name = fields.get("role")
    role = role_of(name)
    if role is None:
        raise UnreadableRecordError(f"a message must have a known speaker, not {str(name)[:30]!r}")
    message: JsonObject = {"role": role} | content_of(fields.get("content"))
    more = fields.get("additional_kwargs")
    more = more if isinstance(more, dict) else {}
    calls = fields.get("tool_calls") or more.get("tool_calls")
    if calls:
        message["tool_calls"] = [tool_call(call) for call in _listed(calls)]
    elif more.get("function_call"):
        message["function_call"] = more["function_call"]
    return message


def _listed(calls: Any) -> Iterable[Any]:
    calls = embedded(calls)
    if not isinstance(calls, list):
        raise UnreadableRecordError("the answer's tool_calls must be a list")
    return calls


def _plain_json(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (OverflowError, RecursionError) as error:
        raise UnreadableRecordError(f"a value cannot be written as JSON: {error}") from None
