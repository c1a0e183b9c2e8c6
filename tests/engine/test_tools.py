import json

import pytest

from openwheel.engine.reasoning import Piece
from openwheel.engine.tools import (
    TOOL_FORMS,
    call_prefix,
    call_schema,
    read_bare,
    read_calls,
    tool_form,
)
from openwheel.errors import RequestError
from openwheel.wire import ToolCall

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "lookup",
            "parameters": {
                "type": "object",
                "properties": {"id": {"type": "string"}, "days": {"type": "integer"}},
                "required": ["id"],
            },
        },
    },
    {"type": "function", "function": {"name": "cancel"}},
]


@pytest.mark.parametrize(
    ("template", "form"),
    [
        ("{{ '<tool_call>' }}", "tags"),
        ("[AVAILABLE_TOOLS] [TOOL_CALLS]", "mistral"),
        ("<|python_tag|> ipython", "llama"),
        ("<|channel|> to=functions.", "harmony"),
        ("{{ messages }}", "none"),
    ],
)
def test_the_form_is_the_one_that_the_template_declares(template, form):
    assert tool_form(template).form == form


@pytest.mark.parametrize(
    "piece",
    [
        Piece("tool", '{"name": "lookup", "arguments": {"id": "7", "days": 3}}'),
        Piece("tool", '{"name": "lookup", "arguments": "{\\"id\\": \\"7\\", \\"days\\": 3}"}'),
        Piece("tool", '[{"name": "lookup", "arguments": {"id": "7", "days": 3}}]'),
        Piece("tool", 'lookup[ARGS]{"id": "7", "days": 3}'),
        Piece("tool", 'lookup[CALL_ID]abc123def[ARGS]{"id": "7", "days": 3}'),
        Piece("tool", '{"id": "7", "days": 3}', "lookup"),
        Piece(
            "tool",
            "<function=lookup>\n<parameter=id>\n7\n</parameter>\n<parameter=days>\n3\n"
            "</parameter>\n</function>",
        ),
        Piece(
            "tool",
            "lookup\n<arg_key>id</arg_key>\n<arg_value>7</arg_value>\n"
            "<arg_key>days</arg_key>\n<arg_value>3</arg_value>",
        ),
    ],
)
def test_a_call_is_read_in_every_form(piece):
    (call,) = read_calls(piece, TOOLS)
    assert call.name == "lookup"
    assert json.loads(call.arguments) == {"id": "7", "days": 3}


@pytest.mark.parametrize("text", ["nonsense", '{"no": "name"}', "[1, 2]", "lookup[ARGS]{", "{"])
def test_what_is_no_call_is_not_taken_for_one(text):
    assert read_calls(Piece("tool", text), TOOLS) == []


def test_an_answer_that_is_a_call_of_a_tool_offered_counts_and_other_json_does_not():
    text = (
        '<|python_tag|>{"name": "cancel", "parameters": {}}; '
        '{"name": "lookup", "parameters": {"id": "7"}}'
    )
    assert read_bare(text, TOOLS) == [ToolCall("cancel", "{}"), ToolCall("lookup", '{"id": "7"}')]
    assert read_bare('{"name": "Ann", "parameters": {}}', TOOLS) == []
    assert read_bare('{"label": "cancel"}', TOOLS) == []


def test_a_call_that_is_forced_has_the_schema_of_the_tool():
    schema = json.loads(call_schema(TOOL_FORMS["tags"], TOOLS, "lookup"))
    assert schema["properties"]["name"] == {"const": "lookup"}
    assert schema["properties"]["arguments"]["required"] == ["id"]
    assert len(json.loads(call_schema(TOOL_FORMS["llama"], TOOLS, ""))["anyOf"]) == 2
    with pytest.raises(RequestError, match="must name one of the tools, was 'other'"):
        call_schema(TOOL_FORMS["tags"], TOOLS, "other")
    with pytest.raises(RequestError, match="only by name"):
        call_prefix(TOOL_FORMS["harmony"], "")
