import json

import pytest

from openwheel.errors import RequestError, TeacherError
from openwheel.wire import APIS, Answer, PromptMessage, Reply, ToolCall, Usage, sse_data

API = APIS["messages"]
USER = {"role": "user", "content": "x"}
CACHE = {"cache_control": {"type": "ephemeral"}}


def read(**fields):
    body = {"model": "m", "max_tokens": 9, "messages": [USER], **fields}
    return API.read_request(json.dumps(body).encode())


def text(value):
    return {"type": "text", "text": value}


def reply(*content, **fields):
    body = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m-2026",
        "content": content,
        "stop_reason": "end_turn",
        "stop_sequence": None,
        **fields,
    }
    return API.read_reply(json.dumps(body).encode())


def test_system_and_blocks_are_messages():
    given = [{"role": "user", "content": [text("a"), text("b")]}, {**USER, "role": "assistant"}]
    for system in ("Be brief.\nRoute.", [text("Be brief."), {**text("Route."), **CACHE}]):
        prompt = read(system=system, messages=given).prompt
        assert prompt.plain
        assert prompt.messages == (
            PromptMessage("system", "Be brief.\nRoute."),
            PromptMessage("user", "a\nb"),
            PromptMessage("assistant", "x"),
        )


@pytest.mark.parametrize(
    "fields",
    [
        {"thinking": {"type": "enabled", "budget_tokens": 2000}},
        {"thinking": {"type": "adaptive"}},
        {"container": "c"},
        {"mcp_servers": [{"type": "url", "url": "x"}]},
        {"thread": {"type": "create"}},
        {"thread": {"type": "continue", "previous_message_id": "msg_0"}},
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]},
        {"messages": [{"role": "user", "content": [text("a"), {"type": "document"}]}]},
        {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "t"}]}]},
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": "7"}]}]},
    ],
)
def test_what_only_a_teacher_answers_is_not_plain(fields):
    assert not read(**fields).prompt.plain


@pytest.mark.parametrize(
    "fields",
    [
        CACHE,
        {"metadata": {"user_id": "u"}, "service_tier": "auto", "stream": True},
        {"messages": [{"role": "user", "content": [{**text("x"), **CACHE}]}]},
        {"tools": [], "mcp_servers": [], "thread": None},
    ],
)
def test_what_changes_nothing_is_neither_prompt_nor_setting(fields):
    assert (read(**fields).prompt, read(**fields).settings) == (read().prompt, read().settings)


def test_settings_are_what_shapes_an_answer():
    given = read(
        temperature=1.0,
        stop_sequences=["\n"],
        thinking={"type": "disabled"},
        output_config={"effort": "low", "format": {"type": "json_schema", "schema": {}}},
    )
    assert given.settings == {
        "model": '"m"',
        "max_tokens": "9",
        "temperature": "1",
        "stop_sequences": '["\\n"]',
        "thinking": '{"type":"disabled"}',
        "output_config": '{"effort":"low"}',
    }
    assert given.prompt.plain
    assert given.prompt.response_format == '{"schema":{},"type":"json_schema"}'


def test_tools_are_canonical_whatever_is_cached():
    one = {"name": "f", "input_schema": {"a": 1, "b": 2}}
    other = {"input_schema": {"b": 2, "a": 1}, "name": "f", **CACHE}
    assert read(tools=[one]).prompt == read(tools=[other]).prompt != read().prompt
    assert read(tools=[one]).prompt.plain
    assert read(tools=[one]).prompt != read(tools=[one], tool_choice={"type": "any"}).prompt


@pytest.mark.parametrize(
    "fields", [{"messages": []}, {"messages": [{}]}, {"messages": None}, {"system": 3}]
)
def test_what_is_no_request_is_refused(fields):
    with pytest.raises(RequestError, match="request body"):
        read(**fields)


def test_reading_an_answer_between_blocks_of_other_kinds():
    usage = {
        "input_tokens": 10,
        "cache_creation_input_tokens": 2,
        "cache_read_input_tokens": None,
        "output_tokens": 3,
        "service_tier": "standard",
    }
    body = (
        b'{"role":"assistant","model":"m-2026","stop_reason":"tool_use","content":['
        b'{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"ab"},'
        b'{"type":"tool_use","id":"t","name":"find","input":{"id":  7}}],"usage":%s}'
        % json.dumps(
            {**usage, "cache_read_input_tokens": None, "service_tier": "standard"}
        ).encode()
    )
    answer = Answer("ab", (ToolCall("find", '{"id":  7}'),), "tool_calls")
    assert API.read_reply(body) == Reply(answer, "m-2026", Usage(12, 3))


@pytest.mark.parametrize(
    ("stop_reason", "finish", "complete"),
    [
        ("end_turn", "stop", True),
        (None, "stop", True),
        ("max_tokens", "length", False),
        ("model_context_window_exceeded", "length", False),
        ("stop_sequence", "stop", True),
        ("pause_turn", "pause_turn", False),
        ("refusal", "refusal", False),
        ("something new", "something new", False),
    ],
)
def test_why_an_answer_stopped(stop_reason, finish, complete):
    found = reply(text("a"), stop_reason=stop_reason)
    assert found == Reply(Answer("a", finish_reason=finish), "m-2026")
    assert found.answer.complete is complete


@pytest.mark.parametrize("fields", [{"role": None}, {"content": "x"}, {"content": None}])
def test_what_is_no_whole_message_is_refused(fields):
    with pytest.raises(TeacherError, match="message"):
        reply(text("a"), **fields)


def stream(*events, end="\n"):
    lines = [": keep-alive", ""]
    for event in events:
        lines += [f"event: {event['type']}", f"data: {json.dumps(event)}", ""]
    return (end.join(lines) + end).encode()


def block(index, start, *deltas):
    yield {"type": "content_block_start", "index": index, "content_block": start}
    yield {"type": "ping"}
    for delta in deltas:
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}


def piece(value):
    return {"type": "text_delta", "text": value}


def json_piece(value):
    return {"type": "input_json_delta", "partial_json": value}


START = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m-2026",
        "content": [],
        "stop_reason": None,
        "usage": {"input_tokens": 25, "cache_read_input_tokens": 5, "output_tokens": 1},
    },
}
END = {
    "type": "message_delta",
    "delta": {"stop_reason": "end_turn", "stop_sequence": None},
    "usage": {"output_tokens": 15},
}
STOP = {"type": "message_stop"}
THOUGHT = [
    {"type": "thinking_delta", "thinking": "hm"},
    {"type": "signature_delta", "signature": "s"},
]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_reading_a_stream(end):
    events = [
        START,
        {"type": "ping"},
        *block(0, {"type": "thinking", "thinking": ""}, *THOUGHT),
        {"type": "something_new", "index": "x", "delta": 3, "usage": []},
        *block(1, text(""), piece("bil"), piece("ling")),
        END,
        STOP,
    ]
    body = stream(*events, end=end)
    assert API.read_stream(sse_data(body)) == Reply(Answer("billing"), "m-2026", Usage(30, 15))
    assert API.ends(body[-1024:])


def test_reading_streamed_tool_calls():
    def tool(name, **given):
        return {"type": "tool_use", "id": f"toolu_{name}", "name": name, "input": given}

    events = [
        START,
        *block(0, text(""), piece("I will look.")),
        *block(1, tool("find"), json_piece(""), json_piece('{"id"'), json_piece(": 7}")),
        *block(2, tool("none"), json_piece("")),
        *block(3, tool("whole", a=1)),
        {**END, "delta": {"stop_reason": "tool_use"}},
        STOP,
    ]
    assert API.read_stream(sse_data(stream(*events))).answer == Answer(
        "I will look.",
        (ToolCall("find", '{"id": 7}'), ToolCall("none", "{}"), ToolCall("whole", '{"a": 1}')),
        "tool_calls",
    )


OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


@pytest.mark.parametrize(
    "events",
    [
        [],
        [START],
        [START, *block(0, text(""), piece("a"))],
        [START, *block(0, text(""), piece("a")), END],
        [START, *block(0, text(""), piece("a")), STOP],
        [START, *list(block(0, text(""), piece("a")))[2:], END, STOP],
        [START, {"type": "content_block_delta", "index": 0, "delta": 3}, END, STOP],
        [START, OVERLOADED, END, STOP],
    ],
)
def test_a_stream_without_its_end_is_refused(events):
    with pytest.raises(TeacherError):
        API.read_stream(sse_data(stream(*events)))


def test_the_error_of_a_stream_is_named_and_ends_it():
    body = stream(START, OVERLOADED)
    with pytest.raises(TeacherError, match="Overloaded"):
        API.read_stream(sse_data(body))
    assert API.ends(body)


@pytest.mark.parametrize(
    ("tail", "ends"),
    [
        (b'event: message_stop\ndata: {"type":"message_stop"}\n\n', True),
        (b'event: message_stop\ndata: {"type": "message_stop"           }\n\n', True),
        (b"event: message_stop\n", False),
        (stream(START, *block(0, text(""), piece('{"type":"message_stop"}'))), False),
    ],
)
def test_where_a_stream_ends(tail, ends):
    assert API.ends(tail) is ends


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        ("", {}),
        (" ", {}),
        ('{"id": 7}', {"id": 7}),
        ('{\n"id": 7}', {"id": 7}),
        ("{broken", {"arguments": "{broken"}),
        ("[1]", {"arguments": "[1]"}),
    ],
)
def test_arguments_are_an_object_whatever_the_model_wrote(arguments, given):
    answer = Answer("", (ToolCall("f", arguments),), "tool_calls")
    body = json.loads(API.body(answer, read()))
    assert body["content"][0]["input"] == given
    assert body["stop_reason"] == "tool_use"
    [call] = API.read_stream(sse_data(b"".join(API.events(answer, read())))).answer.tool_calls
    assert json.loads(call.arguments) == given


def test_events_are_named_in_order():
    events = b"".join(API.events("billing", read(stream=True), Usage(5, 2))).decode()
    names = []
    for event in events.split("\n\n")[:-1]:
        name, data = event.split("\n")
        payload = json.loads(data.removeprefix("data: "))
        assert name == f"event: {payload['type']}"
        names.append(payload["type"])
    assert names == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
