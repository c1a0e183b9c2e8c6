"""Reads Langfuse's observations, as its interface, API and exports write them."""

from openwheel.importing.answers import output
from openwheel.importing.formats.format import Entry, Format, Keys, beside, failed
from openwheel.importing.messages import is_messages
from openwheel.importing.requests import read_request
from openwheel.importing.values import JsonObject, SkippedRecordError, embedded, first_text, one_of

_KINDS = frozenset(
    {
        "SPAN",
        "EVENT",
        "GENERATION",
        "EMBEDDING",
        "AGENT",
        "TOOL",
        "CHAIN",
        "RETRIEVER",
        "EVALUATOR",
        "GUARDRAIL",
    }
)


def _read(record: JsonObject, _: Keys) -> Entry | None:
    kind = record.get("type")
    if not one_of(kind, _KINDS):
        return None
    if kind != "GENERATION":
        raise SkippedRecordError(f"a span of the application ({kind.lower()})")
    if failed(record.get("level")):
        raise SkippedRecordError("the call failed")
    opened = output(embedded_output(record.get("output")))
    sent = embedded(record.get("input"))
    asked = read_request(sent, response=opened.holder)
    if asked is None and isinstance(sent, str) and sent.strip():
        asked = read_request({"prompt": sent})
    if asked is None and isinstance(sent, dict):
        inner = next((v for v in sent.values() if is_messages(embedded(v))), None)
        asked = read_request(inner)
    if asked is None:
        raise SkippedRecordError("a generation whose input is no request")
    model = first_text(
        *(record.get(key) for key in ("model", "providedModelName", "provided_model_name"))
    )
    parameters = record.get("modelParameters", record.get("model_parameters"))
    # Its wrapper of the OpenAI client writes the defaults of what was not sent.
    asked = beside(asked, parameters, model, drop_defaults=True)
    return Entry(asked, opened, model=model)


def embedded_output(value: object) -> object:
    """Return an output; a text in JSON's quotes, as its CSV files have it, without them."""
    if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == '"':
        items = embedded(f"[{value}]")
        if isinstance(items, list) and len(items) == 1 and isinstance(items[0], str):
            return items[0]
    return value


LANGFUSE = Format("Langfuse", lambda keys: {"type", "input"} <= keys, _read)
