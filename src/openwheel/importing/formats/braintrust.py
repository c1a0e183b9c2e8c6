"""Reads Braintrust's spans, and rows of its datasets and experiments."""

from openwheel.importing.answers import output
from openwheel.importing.formats.format import Entry, Format, Keys, beside, reject_failed
from openwheel.importing.formats.langsmith import request_in
from openwheel.importing.values import (
    JsonObject,
    SkippedRecordError,
    embedded,
    first_object,
    first_text,
    is_set,
)


def _read(record: JsonObject, _: Keys) -> Entry | None:
    attributes = first_object(record.get("span_attributes"))
    kind = attributes.get("type")
    if kind is not None and kind != "llm":
        raise SkippedRecordError(f"a span of the application ({kind})")
    reject_failed(record)
    value = record.get("output")
    if not is_set(value):
        raise SkippedRecordError("no answer")
    opened = output(value)
    metadata = first_object(record.get("metadata"))
    asked = beside(request_in(embedded(record.get("input")), opened.holder), metadata)
    return Entry(
        asked,
        opened,
        record=first_object(record.get("metrics")),
        task=first_text(metadata.get("task")),
    )


BRAINTRUST = Format(
    "Braintrust",
    lambda keys: "span_attributes" in keys or {"root_span_id", "input", "output"} <= keys,
    _read,
)
