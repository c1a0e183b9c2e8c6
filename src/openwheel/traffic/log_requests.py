"""Reading a request, as logs hold them: chat requests, older and newer ones, conversations."""

from typing import Any

from openwheel.traffic.log_values import JsonObject, UnreadableRecordError, embedded

REQUEST_KEYS = ("request", "kwargs", "body", "input")

_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "system": "system",
    "tool": "tool",
    "function_response": "tool",
    "observation": "tool",
}


def request_body(record: JsonObject) -> JsonObject | None:
    """Return the request that a record holds, if it does: as an object, or as JSON text."""
    for key in REQUEST_KEYS:
        body = embedded(record.get(key))
        for envelope in ("body", "kwargs", "json"):
            if isinstance(body, dict) and envelope in body and "messages" not in body:
                body = embedded(body[envelope])
        if key == "request" and isinstance(body, str) and body.strip():
            return {"messages": [{"role": "user", "content": body}]}
        body = as_chat_request(body, pair=key == "input")
        if body is not None:
            return body
    return None


def as_chat_request(body: Any, *, pair: bool) -> JsonObject | None:
    """Return a chat completion request, also from the older and the newer API's request.

    An ``input`` is one only with messages (``pair``): anything else in it is a plain pair's.
    """
    if isinstance(body, list) and body and all(is_message(item) for item in body):
        return {"messages": body}
    if not isinstance(body, dict):
        return None
    if "messages" in body:
        return {**body, "messages": embedded(body["messages"])}
    if pair:
        return None
    prompt = body.get("prompt", body.get("input"))
    if isinstance(prompt, str):
        messages: Any = [{"role": "user", "content": prompt}]
    elif isinstance(prompt, list) and prompt and all(is_message(item) for item in prompt):
        messages = prompt
    else:
        return None
    if isinstance(body.get("instructions"), str):
        messages = [{"role": "system", "content": body["instructions"]}, *messages]
    rest = {key: value for key, value in body.items() if key not in {"prompt", "input"}}
    return {**rest, "messages": messages}


def is_message(value: Any) -> bool:
    """Return whether a value is an object with a role."""
    return isinstance(value, dict) and isinstance(value.get("role"), str)


def conversation(turns: Any) -> list[JsonObject]:
    """Return the messages of a ShareGPT conversation.

    Raises:
        UnreadableRecordError: A turn has no text, or a speaker that is not known.
    """
    if not isinstance(turns, list):
        raise UnreadableRecordError("conversations must be a list")
    messages = []
    for turn in turns:
        if is_message(turn):
            messages.append(turn)
            continue
        role = _ROLES.get(str(turn.get("from"))) if isinstance(turn, dict) else None
        if role is None or not isinstance(turn.get("value"), str):
            raise UnreadableRecordError(
                "a turn of conversations must have a value and a known speaker in from"
            )
        messages.append({"role": role, "content": turn["value"]})
    return messages
