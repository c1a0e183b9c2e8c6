"""Reads calls of a model's client in Weights & Biases Weave."""

from openwheel.importing.answers import output
from openwheel.importing.formats.format import Entry, Format, Keys, reject_failed
from openwheel.importing.formats.langsmith import request_in
from openwheel.importing.values import (
    JsonObject,
    SkippedRecordError,
    UnreadableRecordError,
    embedded,
    is_set,
)


def _read(record: JsonObject, _: Keys) -> Entry | None:
    reject_failed(record)
    if not is_set(record.get("output")):
        raise SkippedRecordError("no answer")
    inputs = embedded(record.get("inputs"))
    if isinstance(inputs, dict):
        inputs = {key: value for key, value in inputs.items() if key != "self"}
    try:
        opened = output(record["output"])
        return Entry(request_in(inputs, opened.holder), opened)
    except UnreadableRecordError:
        raise SkippedRecordError("a span of the application (op)") from None


WEAVE = Format("Weave", lambda keys: {"op_name", "inputs", "output"} <= keys, _read)
