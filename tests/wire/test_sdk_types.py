"""Students' answers are valid by the types of the official SDKs, which leave no field unnamed.

The SDKs' types are made from the providers' own API descriptions. They do not say which fields may
be null but must be there; those of Anthropic's API reference are in `NULLABLE`, and OpenAI's in the
table of `documented`.
"""

import functools
import json
from typing import Any

import anthropic.types
import openai.types
import openai.types.chat
import openai.types.responses
import pydantic
import pytest

from openwheel.wire import TEXT_APIS, Answer, ToolCall, Usage, sse_data

from .contract import CALLS, ask

ANSWERS = [
    Answer("shipping"),
    Answer("", finish_reason="length"),
    Answer("naïve\n\U0001f600", finish_reason="content_filter"),
    Answer("I cannot", finish_reason="refusal"),
    Answer("as another API says it", finish_reason="end_turn"),
    CALLS,
    Answer("I will look.", (ToolCall("find", ""),), "tool_calls"),
]
TYPES: dict[str, tuple[Any, Any]] = {
    "chat": (openai.types.chat.ChatCompletion, openai.types.chat.ChatCompletionChunk),
    "responses": (openai.types.responses.Response, openai.types.responses.ResponseStreamEvent),
    "completions": (openai.types.Completion, openai.types.Completion),
    "messages": (anthropic.types.Message, anthropic.types.RawMessageStreamEvent),
}
NULLABLE = {"Message": {"stop_reason", "stop_sequence"}}
# Sent by the API, but not in the SDK's types.
UNNAMED = {("Response", "store"), ("ResponseFunctionCallArgumentsDoneEvent", "name")}


def validate(kind: Any, payload: bytes) -> None:
    check(reader_of(kind).validate_json(payload, strict=True))


@functools.cache
def reader_of(kind: Any) -> Any:
    """Make a reader of a type, which of the events of Responses takes a while."""
    return pydantic.TypeAdapter(kind)


def check(value: Any) -> None:
    if isinstance(value, list):
        for one in value:
            check(one)
    elif isinstance(value, pydantic.BaseModel):
        name = type(value).__name__
        unnamed = {(name, field) for field in value.model_extra or {}}
        assert unnamed <= UNNAMED
        assert NULLABLE.get(name, set()) <= value.model_fields_set, name
        for field in value.model_fields_set:
            check(getattr(value, field))


@pytest.mark.parametrize("usage", [None, Usage(12, 3)])
@pytest.mark.parametrize("answer", ANSWERS, ids=repr)
@pytest.mark.parametrize("name", TEXT_APIS)
def test_an_answer_is_valid(name, answer, usage):
    api, request = TEXT_APIS[name], ask(TEXT_APIS[name])
    whole, event = TYPES[name]
    validate(whole, api.body(answer, request, usage))
    for data in sse_data(b"".join(api.events(answer, request, usage))):
        if data != b"[DONE]":
            validate(event, data)


TOOL = {"type": "function", "name": "find", "parameters": {"type": "object", "properties": {}}}
SCHEMA = {"type": "json_schema", "name": "mail", "schema": {"type": "object"}, "strict": True}
SAID = {
    "instructions": "Route.",
    "max_output_tokens": 20,
    "max_tool_calls": 3,
    "metadata": {"team": "a"},
    "parallel_tool_calls": False,
    "prompt_cache_key": "k",
    "reasoning": {"effort": "low"},
    "safety_identifier": "s",
    "temperature": 0.0,
    "text": {"format": SCHEMA, "verbosity": "low"},
    "tool_choice": {"type": "function", "name": "find"},
    "tools": [TOOL],
    "top_p": 0.5,
    "truncation": "auto",
    "user": "u",
}


def test_a_response_repeats_what_the_request_said():
    api = TEXT_APIS["responses"]
    request = ask(api, **SAID)
    body = api.body("x", request)
    validate(openai.types.responses.Response, body)
    response = json.loads(body)
    assert {name: response[name] for name in SAID} == {
        **SAID,
        "reasoning": {"effort": "low", "summary": None},
        "tools": [{**TOOL, "strict": True, "description": None}],
    }
    for data in sse_data(b"".join(api.events("x", request))):
        validate(openai.types.responses.ResponseStreamEvent, data)


def test_a_response_says_the_defaults_where_the_request_said_nothing():
    api = TEXT_APIS["responses"]
    nothing = dict.fromkeys(SAID)
    for request in (ask(api), ask(api, **nothing), ask(api, text={"format": None}, reasoning={})):
        response = json.loads(api.body("x", request))
        assert response["text"]["format"] == {"type": "text"}
        assert (response["temperature"], response["tools"], response["metadata"]) == (1.0, [], {})
        assert (response["tool_choice"], response["truncation"]) == ("auto", "disabled")


@pytest.mark.parametrize(
    ("name", "prefixes"),
    [
        ("chat", ("chatcmpl-", "call_")),
        ("responses", ("resp_", "fc_", "call_", "msg_")),
        ("completions", ("cmpl-",)),
        ("messages", ("msg_", "toolu_")),
    ],
)
def test_ids_have_the_apis_form_and_are_each_their_own(name, prefixes):
    api, request = TEXT_APIS[name], ask(TEXT_APIS[name])
    answer = Answer("a", CALLS.tool_calls, "tool_calls")
    body = api.body(answer, request)
    for prefix in prefixes:
        assert b'":"' + prefix.encode() in body, prefix
    first, second = (json.loads(api.body(answer, request))["id"] for _ in range(2))
    assert first != second
    found = _ids(json.loads(body))
    assert len(found) == len(set(found))


def _ids(value: Any) -> list[str]:
    if isinstance(value, list):
        return [one for inner in value for one in _ids(inner)]
    if not isinstance(value, dict):
        return []
    own = [value[key] for key in ("id", "call_id") if key in value]
    return own + [one for inner in value.values() for one in _ids(inner)]


@pytest.mark.parametrize(
    ("type", "code", "own"),
    [
        ("invalid_request_error", "invalid_api_key", "authentication_error"),
        ("invalid_request_error", "model_not_allowed", "permission_error"),
        ("invalid_request_error", "task_not_allowed", "permission_error"),
        ("rate_limit_error", "rate_limit_exceeded", "rate_limit_error"),
        ("insufficient_quota", "insufficient_quota", "rate_limit_error"),
        ("invalid_request_error", "request_timeout", "timeout_error"),
        ("invalid_request_error", "model_not_found", "not_found_error"),
        ("invalid_request_error", "unknown_url", "not_found_error"),
        ("invalid_request_error", "method_not_allowed", "invalid_request_error"),
        ("server_error", "teacher_unreachable", "api_error"),
        ("server_error", "teacher_timeout", "timeout_error"),
        ("server_error", None, "api_error"),
        ("overloaded_error", None, "overloaded_error"),
        ("invalid_request_error", "something new", "invalid_request_error"),
    ],
)
def test_errors_in_anthropics_shape(type, code, own):
    body = TEXT_APIS["messages"].error("The reason.", type=type, code=code)
    validate(anthropic.types.ErrorResponse, body)
    assert json.loads(body)["error"] == {"type": own, "message": "The reason."}


def test_a_request_too_large_has_the_type_of_anthropics_documentation():
    body = TEXT_APIS["messages"].error("Too large.", type="x", code="request_too_large")
    assert json.loads(body)["error"]["type"] == "request_too_large"


@pytest.mark.parametrize("name", ["chat", "responses", "completions"])
def test_errors_in_openais_shape(name):
    error = json.loads(TEXT_APIS[name].error("The reason.", type="t", code="c"))
    assert error == {"error": {"message": "The reason.", "type": "t", "param": None, "code": "c"}}
