"""Reads rows that say which answer is preferred: DPO files, TRL's preference and KTO rows."""

from typing import Any

from openwheel.importing.answers import output
from openwheel.importing.formats.format import Entry, Format, Keys, beside
from openwheel.importing.messages import as_messages, is_messages, with_system
from openwheel.importing.requests import Asked, read_request
from openwheel.importing.values import (
    JsonObject,
    SkippedRecordError,
    UnreadableRecordError,
    embedded,
)


def _preferred(record: JsonObject, _: Keys) -> Entry | None:
    asked = read_request(record.get("input"))
    if asked is None:
        raise UnreadableRecordError("the input of a preference holds no messages")
    return Entry(asked, output(embedded(record["preferred_output"])))


def _chosen(record: JsonObject, _: Keys) -> Entry | None:
    chosen = embedded(record["chosen"])
    prompt = record.get("prompt", record.get("question", record.get("instruction")))
    if prompt is None:
        # The prompt is what both answers begin with.
        if not is_messages(chosen) or len(chosen) < 2:
            raise UnreadableRecordError("a preference without a prompt: chosen has no messages")
        return Entry(_asked(as_messages(chosen)[:-1], record), output([chosen[-1]]))
    if is_messages(chosen):
        chosen = [chosen[-1]]
    return Entry(_asked(_prompt(prompt), record), output(chosen))


def _kto(record: JsonObject, _: Keys) -> Entry | None:
    label = record["label"]
    if isinstance(label, str) and label.strip().lower() in {"true", "false"}:
        label = label.strip().lower() == "true"
    if not isinstance(label, bool):
        return None
    if not label:
        raise SkippedRecordError("an answer that is marked as not desired")
    return Entry(_asked(_prompt(record["prompt"]), record), output(embedded(record["completion"])))


def _prompt(prompt: Any) -> list[JsonObject]:
    prompt = embedded(prompt)
    if is_messages(prompt):
        return as_messages(prompt)
    if not isinstance(prompt, str) or not prompt.strip():
        raise SkippedRecordError("the input is empty")
    return [{"role": "user", "content": prompt}]


def _asked(messages: list[JsonObject], record: JsonObject) -> Asked:
    asked = Asked({"messages": with_system(record.get("system"), messages)})
    return beside(asked, {key: record[key] for key in ("tools", "model") if key in record})


PREFERENCES = (
    Format("OpenAI preferences", lambda keys: {"input", "preferred_output"} <= keys, _preferred),
    Format("preferences", lambda keys: {"chosen", "rejected"} <= keys, _chosen),
    Format("KTO", lambda keys: {"prompt", "completion", "label"} <= keys, _kto),
)
