"""Reads files of OpenAI: stored completions, and a batch's input joined with its output."""

from openwheel.importing.answers import Opened, response
from openwheel.importing.formats.format import Entry, Format, Keys, beside, require
from openwheel.importing.requests import api_named, read_request
from openwheel.importing.values import (
    JsonObject,
    SkippedRecordError,
    embedded,
    first_object,
    is_set,
)


def _stored(record: JsonObject, _: Keys) -> Entry | None:
    messages = embedded(record.get("input_messages", record.get("messages")))
    if isinstance(messages, dict):
        messages = messages.get("data")
    if isinstance(record.get("input_messages"), str) and not isinstance(messages, list):
        return None
    asked = beside(require(read_request(messages), "input_messages"), record)
    return Entry(
        asked, response(record), task=str(first_object(record.get("metadata")).get("task") or "")
    )


def _batch(record: JsonObject, _: Keys) -> Entry | None:
    """Read a batch's request with its result, which `read_log` joins by ``custom_id``."""
    body = record.get("body", record.get("params"))
    answer = record.get("response", record.get("result"))
    if body is None and "request" in record:
        return None
    if body is None:
        raise SkippedRecordError("the output of a batch without its input")
    if is_set(record.get("error")):
        raise SkippedRecordError("the call failed")
    if answer is None:
        raise SkippedRecordError("the input of a batch without its output")
    answer = embedded(answer)
    if isinstance(answer, dict) and "result" in record and "type" in answer:  # Anthropic's
        if answer["type"] != "succeeded":
            raise SkippedRecordError("the call failed")
        answer = answer.get("message")
    opened: Opened = response(answer)
    asked = read_request(body, response=opened.holder, api=api_named(record.get("url")))
    return Entry(require(asked, "body"), opened)


STORED = Format(
    "OpenAI stored completions",
    lambda keys: "choices" in keys and not keys.isdisjoint({"input_messages", "messages"}),
    _stored,
)
BATCH = Format(
    "batches",
    lambda keys: (
        "custom_id" in keys and not keys.isdisjoint({"body", "params", "response", "result"})
    ),
    _batch,
)
