"""Reads the payload of LiteLLM's callbacks, and the spend logs of its proxy."""

from openwheel.importing.answers import response
from openwheel.importing.formats.format import Entry, Format, Keys, beside, reject_failed, require
from openwheel.importing.requests import api_named, read_request
from openwheel.importing.values import (
    JsonObject,
    SkippedRecordError,
    embedded,
    first_object,
    is_set,
)


def _read(record: JsonObject, _: Keys) -> Entry | None:
    if not {"messages", "response", "proxy_server_request"} & record.keys():
        return None
    metadata = first_object(record.get("metadata"))
    reject_failed(record, "status")
    reject_failed(metadata, "status")
    answered = embedded(record.get("response"))
    if not is_set(answered):
        raise SkippedRecordError("no answer")
    api = api_named(record.get("call_type"))
    sent = first_object(record.get("proxy_server_request"))
    # What the client sent is the request; `messages` is what LiteLLM made of it.
    asked = read_request(sent, response=answered, api=api) if sent else None
    if asked is None:
        messages = embedded(record.get("messages"))
        if isinstance(messages, str) and messages.strip():
            messages = [{"role": "user", "content": messages}]
        body = messages if isinstance(messages, dict) else {"messages": messages}
        asked = read_request(body, response=answered) if messages else None
        parameters = record.get("model_parameters", record.get("optional_params"))
        asked = require(asked, "messages and proxy_server_request")
        asked = beside(asked, parameters, str(record.get("model") or ""))
    tags = first_object(metadata.get("requester_metadata"))
    task = tags.get("task") or metadata.get("task")
    return Entry(asked, response(answered), task=task if isinstance(task, str) else "")


LITELLM = Format(
    "LiteLLM",
    lambda keys: (
        "call_type" in keys
        or {"spend", "api_key"} <= keys
        or {"model_group", "response"} <= keys
        or "proxy_server_request" in keys
    ),
    _read,
)
