"""Reads the log of model invocations of Amazon Bedrock."""

from openwheel.importing.answers import response
from openwheel.importing.formats.format import Entry, Format, Keys, beside, require
from openwheel.importing.requests import read_request
from openwheel.importing.values import (
    JsonObject,
    SkippedRecordError,
    UnreadableRecordError,
    embedded,
    first_object,
    is_set,
)


def _read(record: JsonObject, _: Keys) -> Entry | None:
    place = (
        record if "input" in record else first_object(record.get("@message", record.get("message")))
    )
    sent, answered = first_object(place.get("input")), first_object(place.get("output"))
    if not {"inputBodyJson", "inputBodyS3Path", "inputContentType"} & sent.keys():
        return None
    if is_set(place.get("errorCode")):
        raise SkippedRecordError("the call failed")
    if "inputBodyJson" not in sent or "outputBodyJson" not in answered:
        if "inputBodyS3Path" in sent or "outputBodyS3Path" in answered:
            raise UnreadableRecordError(
                "the bodies are in S3, and not in the log: put them into inputBodyJson and "
                "outputBodyJson"
            )
        raise SkippedRecordError("no answer")
    body = embedded(sent["inputBodyJson"])
    body_out = embedded(answered["outputBodyJson"])
    if isinstance(body, dict) and not {"inputText", "messages", "prompt"} & body.keys():
        raise SkippedRecordError(f"a call of another kind ({str(place.get('operation'))[:40]})")
    asked = require(read_request(body, response=body_out), "inputBodyJson")
    asked = beside(asked, str(place.get("modelId") or ""))
    return Entry(asked, response(body_out), record=place)


BEDROCK = Format(
    "Amazon Bedrock",
    lambda keys: (
        "@message" in keys
        or ("input" in keys and not keys.isdisjoint({"schemaType", "modelId", "operation"}))
    ),
    _read,
)
