"""Reads LangSmith's runs, and examples of its datasets."""

from typing import Any

from openwheel.importing.answers import Opened, output
from openwheel.importing.formats.format import Entry, Format, Keys, beside, reject_failed
from openwheel.importing.messages import is_messages
from openwheel.importing.requests import Asked, read_request
from openwheel.importing.values import (
    JsonObject,
    SkippedRecordError,
    UnreadableRecordError,
    embedded,
    first_object,
    first_text,
    is_set,
)


def _read(record: JsonObject, _: Keys) -> Entry | None:
    kind = record.get("run_type")
    if kind is not None and kind != "llm":
        raise SkippedRecordError(f"a span of the application ({kind})")
    reject_failed(record, "status")
    if not is_set(record.get("outputs")):
        raise SkippedRecordError("no answer")
    opened = output_in(record["outputs"])
    inputs = embedded(record.get("inputs"))
    asked = request_in(inputs, opened.holder)
    extra = first_object(record.get("extra"))
    metadata = first_object(extra.get("metadata"))
    invocation = first_object(extra.get("invocation_params"))
    model = first_text(metadata.get("ls_model_name"))
    asked = beside(asked, invocation, model)
    task = first_text(metadata.get("task"), first_object(record.get("metadata")).get("task"))
    return Entry(asked, opened, task=task)


def output_in(outputs: Any) -> Opened:
    """Return the answer in a run's outputs: an envelope, or an object with one text."""
    outputs = embedded(outputs)
    if isinstance(outputs, dict) and len(outputs) == 1:
        (only,) = outputs.values()
        if isinstance(only, str):
            return output(only)
    return output(outputs)


def request_in(inputs: Any, holder: JsonObject) -> Asked:
    """Return the request in a run's inputs: messages under any name, or one text.

    Raises:
        UnreadableRecordError: There is none.
    """
    asked = read_request(inputs, response=holder)
    if asked is None and isinstance(inputs, dict):
        for value in map(embedded, inputs.values()):
            nested = isinstance(value, list) and len(value) == 1 and is_messages(value[0])
            if is_messages(value) or nested:
                asked = read_request(value, response=holder)
                break
        texts = [value for value in inputs.values() if isinstance(value, str) and value.strip()]
        if asked is None and len(inputs) == 1 and len(texts) == 1:
            asked = read_request({"prompt": texts[0]})
        prompts = inputs.get("prompts")
        if asked is None and isinstance(prompts, list) and len(prompts) == 1:
            asked = read_request({"prompt": prompts[0]})
    if asked is None and isinstance(inputs, str) and inputs.strip():
        asked = read_request({"prompt": inputs})
    if asked is None:
        have = ", ".join(map(str, inputs)) if isinstance(inputs, dict) else "nothing"
        raise UnreadableRecordError(f"the inputs of a run hold no messages: they have {have[:80]}")
    return asked


LANGSMITH = Format(
    "LangSmith", lambda keys: "inputs" in keys and ("run_type" in keys or "outputs" in keys), _read
)
