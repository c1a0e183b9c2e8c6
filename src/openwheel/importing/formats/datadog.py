"""Reads spans of Datadog LLM Observability, with what they hold under ``meta``."""

from openwheel.importing.answers import output
from openwheel.importing.formats.format import Entry, Format, Keys, beside, failed
from openwheel.importing.messages import as_messages
from openwheel.importing.requests import Asked
from openwheel.importing.values import JsonObject, SkippedRecordError, embedded, first_object


def _read(record: JsonObject, _: Keys) -> Entry | None:
    meta = first_object(record.get("meta"))
    kind = meta.get("kind") or meta.get("span.kind") or first_object(meta.get("span")).get("kind")
    if kind is None or "input" not in meta:
        return None
    if kind != "llm":
        raise SkippedRecordError(f"a span of the application ({kind})")
    if failed(record.get("status")) or meta.get("error"):
        raise SkippedRecordError("the call failed")
    sent, answered = first_object(meta["input"]), first_object(meta.get("output"))
    messages_out = embedded(answered.get("messages", answered.get("value")))
    if not messages_out:
        raise SkippedRecordError("no answer")
    if isinstance(messages_out, list):
        messages_out = [
            {**item, "role": item.get("role") or "assistant"} if isinstance(item, dict) else item
            for item in messages_out
        ]
    messages = as_messages(sent.get("messages") or [{"role": "user", "content": sent.get("value")}])
    metadata = first_object(meta.get("metadata"))
    asked = beside(Asked({"messages": messages}), metadata, {"model": meta.get("model_name")})
    return Entry(asked, output(messages_out))


DATADOG = Format("Datadog", lambda keys: "meta" in keys, _read)
