"""Datadog LLM Observability: spans with what they hold under ``meta``."""

from openwheel.importing.formats.format import Entry, Format, Keys, beside, failed, output
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
    given, answered = first_object(meta["input"]), first_object(meta.get("output"))
    found = embedded(answered.get("messages", answered.get("value")))
    if not found:
        raise SkippedRecordError("no answer")
    if isinstance(found, list):
        found = [
            {**item, "role": item.get("role") or "assistant"} if isinstance(item, dict) else item
            for item in found
        ]
    messages = as_messages(
        given.get("messages") or [{"role": "user", "content": given.get("value")}]
    )
    metadata = first_object(meta.get("metadata"))
    asked = beside(Asked({"messages": messages}), metadata, {"model": meta.get("model_name")})
    return Entry(asked, output(found))


DATADOG = Format("Datadog", lambda keys: "meta" in keys, _read)
