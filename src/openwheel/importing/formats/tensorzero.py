"""Reads TensorZero's inferences of chat and JSON functions."""

from openwheel.importing.answers import output
from openwheel.importing.formats.format import Entry, Format, Keys, beside, require
from openwheel.importing.requests import read_request
from openwheel.importing.values import JsonObject, embedded, first_object, first_text


def _read(record: JsonObject, _: Keys) -> Entry | None:
    opened = output(embedded(record["output"]))
    sent = first_object(record["input"])
    system = sent.get("system")
    if isinstance(system, dict):  # the variables of a template
        sent = {**sent, "system": str(system)}
    parameters = first_object(record.get("inference_params"))
    chat = first_object(parameters.get("chat_completion")) or parameters
    tools = first_object(record.get("tool_params"))
    asked = require(read_request(sent, api="chat"), "input")
    return Entry(
        beside(asked, chat, {"tools": tools.get("tools_available")}),
        opened,
        task=first_text(record.get("function_name")),
        model=first_text(record.get("variant_name")),
    )


TENSORZERO = Format("TensorZero", lambda keys: {"input", "output", "variant_name"} <= keys, _read)
