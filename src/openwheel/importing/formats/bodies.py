"""Reads tools that log the bodies of a request and its response, under names of their own."""

from functools import partial
from typing import NamedTuple

from openwheel.importing.answers import response
from openwheel.importing.formats.format import Entry, Format, Keys, reject_failed, require
from openwheel.importing.requests import api_named, read_request
from openwheel.importing.values import (
    JsonObject,
    SkippedRecordError,
    UnreadableRecordError,
    embedded,
    first_object,
    first_text,
    is_set,
)


class _Tool(NamedTuple):
    name: str
    request: str
    response: str
    status: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    also: tuple[str, ...] = ()


_TOOLS = (
    _Tool(
        "Helicone",
        "request_body",
        "response_body",
        ("response_status", "status"),
        ("request_path", "target_url"),
        ("request_model", "model", "response_model"),
    ),
    _Tool("OpenPipe", "reqPayload", "respPayload", ("statusCode",), (), ("model",)),
    _Tool(
        "Azure API Management",
        "BackendRequestBody",
        "BackendResponseBody",
        ("BackendResponseCode", "ResponseCode"),
        ("BackendUrl", "Url"),
    ),
    _Tool(
        "Azure API Management",
        "RequestMessages",
        "ResponseMessages",
        (),
        (),
        ("ModelName", "DeploymentName"),
    ),
    _Tool(
        "Azure", "RequestBody", "ResponseBody", ("ResponseCode", "StatusCode"), ("Url", "Endpoint")
    ),
    _Tool("Vertex AI", "full_request", "full_response", (), ("endpoint",), ("model",)),
    _Tool("TensorZero", "raw_request", "raw_response", (), (), ("model_name",)),
    _Tool(
        "Portkey",
        "request",
        "response",
        ("response_status_code",),
        ("request_url",),
        ("ai_model",),
        ("ai_model",),
    ),
    _Tool(
        "Cloudflare AI Gateway",
        "request",
        "response",
        ("status_code",),
        ("path",),
        ("model",),
        ("provider", "cached"),
    ),
    _Tool("PromptLayer", "prompt_input", "request_response", (), (), ("engine",)),
)


def _read(tool: _Tool, record: JsonObject, _: Keys) -> Entry | None:
    reject_failed(record, *tool.status)
    if record.get("SequenceNumber") not in (None, 0, "0"):
        raise UnreadableRecordError("a message of the log is split over several rows")
    if not is_set(record[tool.request]):
        raise UnreadableRecordError(
            f"{tool.request} is empty: export the log of {tool.name} with its bodies"
        )
    if not is_set(record[tool.response]):
        raise SkippedRecordError("no answer")
    answered = embedded(record[tool.response])
    api = api_named(*(record.get(key) for key in tool.path))
    asked = read_request(record[tool.request], response=answered, api=api)
    asked = require(asked, tool.request)
    model = first_text(*(record.get(key) for key in tool.model))
    metadata = first_object(record.get("metadata", record.get("request_properties")))
    return Entry(asked, response(answered), task=first_text(metadata.get("task")), model=model)


BODIES = tuple(
    Format(
        tool.name,
        frozenset((tool.request, tool.response, *tool.also)).issubset,
        partial(_read, tool),
    )
    for tool in _TOOLS
)
