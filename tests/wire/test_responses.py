import json

import pytest

from openwheel.errors import RequestError, TeacherError
from openwheel.wire import APIS, Answer, PromptMessage, Reply, ToolCall, Usage, sse_data

API = APIS["responses"]
ITEM = {"role": "user", "content": "x"}


def read(**fields):
    body = {"model": "m", "input": "x", "store": False, **fields}
    return API.read_request(json.dumps(body).encode())


def message(*content, **fields):
    return {"type": "message", "id": "msg_1", "role": "assistant", "content": content, **fields}


def text(value):
    return {"type": "output_text", "text": value, "annotations": []}


def response(*output, **fields):
    return {"id": "resp_1", "object": "response", "status": "completed", "model": "m-2026"} | {
        "output": output,
        **fields,
    }


def reply(*output, **fields):
    return API.read_reply(json.dumps(response(*output, **fields)).encode())


def test_instructions_and_items_are_messages():
    items = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "input_text", "text": t} for t in ("a", "b")]},
        message(text("earlier"), status="completed"),
    ]
    prompt = read(instructions="Route.", input=items).prompt
    assert prompt.plain
    assert prompt.messages == (
        PromptMessage("system", "Route."),
        PromptMessage("developer", "Be brief."),
        PromptMessage("user", "a\nb"),
        PromptMessage("assistant", "earlier"),
    )


def test_a_text_is_a_message_of_the_user():
    assert read(input="x").prompt == read(input=[ITEM]).prompt


@pytest.mark.parametrize(
    "fields",
    [
        {"background": True},
        {"include": ["reasoning.encrypted_content"]},
        {"previous_response_id": "resp_0"},
        {"conversation": "conv_1"},
        {"prompt": {"id": "pmpt_1"}},
        {"moderation": {"model": "x"}},
        {"include": ["message.output_text.logprobs", "reasoning.encrypted_content"]},
        {"tools": [{"type": "web_search"}]},
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "x"}]}]},
        {"input": [ITEM, {"type": "function_call", "name": "f", "arguments": "{}"}]},
        {"input": [ITEM, {"type": "function_call_output", "call_id": "c", "output": "7"}]},
        {"input": [ITEM, {"type": "reasoning", "id": "rs_1", "summary": []}]},
        {"input": [ITEM, {"id": "msg_1"}]},
        {"input": [message({"type": "refusal", "refusal": "no"})]},
    ],
)
def test_what_only_a_teacher_answers_is_not_plain(fields):
    assert not read(**fields).prompt.plain


@pytest.mark.parametrize(
    "fields", [{"top_logprobs": 2}, {"include": ["message.output_text.logprobs"]}]
)
def test_what_asks_for_log_probabilities_is_learned_from_and_not_answered(fields):
    assert read(**fields).prompt.plain
    assert not read(**fields).prompt.answerable


def test_a_response_is_to_be_kept_unless_it_says_not():
    assert not read(store=False).kept
    assert read(store=None).kept
    assert read(store=True).kept
    assert read(store=True).prompt == read(store=False).prompt


@pytest.mark.parametrize(
    "fields",
    [
        {"background": False, "include": [], "top_logprobs": 0, "previous_response_id": None},
        {"stream": True, "stream_options": {"include_obfuscation": False}},
        {"user": "u", "metadata": {"a": "b"}, "safety_identifier": "s", "prompt_cache_key": "k"},
        {"text": {"format": {"type": "text"}}, "tools": [], "tool_choice": "auto"},
    ],
)
def test_what_changes_nothing_is_neither_prompt_nor_setting(fields):
    assert (read(**fields).prompt, read(**fields).settings) == (read().prompt, read().settings)


def test_a_format_is_that_of_the_equal_chat_request():
    schema = {"name": "mail", "schema": {"type": "object"}, "strict": True}
    chat = {
        "messages": [ITEM],
        "response_format": {"type": "json_schema", "json_schema": schema},
    }
    asked = APIS["chat"].read_request(json.dumps(chat).encode()).prompt
    given = read(text={"format": {"type": "json_schema", **schema}, "verbosity": "low"})
    assert given.prompt.response_format == asked.response_format != ""
    assert given.settings == {"model": '"m"', "text": '{"verbosity":"low"}'}
    assert read(text={"format": {"type": "json_object"}}).prompt.response_format == (
        '{"type":"json_object"}'
    )


def test_tools_are_canonical():
    one = {"type": "function", "name": "f", "parameters": {"a": 1, "b": 2}}
    other = {"parameters": {"b": 2, "a": 1}, "name": "f", "type": "function"}
    assert read(tools=[one]).prompt == read(tools=[other]).prompt != read().prompt
    assert read(tools=[one]).prompt.plain
    assert read(tools=[one]).prompt != read(tools=[one], tool_choice="required").prompt


@pytest.mark.parametrize("fields", [{"input": None}, {"input": []}, {"input": 3}, {"text": "x"}])
def test_what_is_no_request_is_refused(fields):
    with pytest.raises(RequestError, match="request body"):
        read(**fields)


def test_reading_an_answer_between_items_of_other_kinds():
    usage = {"input_tokens": 12, "input_tokens_details": {}, "output_tokens": 3, "total_tokens": 15}
    call = {"type": "function_call", "name": "find", "arguments": '{"id": 7}', "call_id": "c"}
    found = reply(
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": None},
        {"type": "tool_search_call", "arguments": {"any": 1}, "status": "completed"},
        message(text("a"), text("b")),
        call,
        usage=usage,
    )
    answer = Answer("ab", (ToolCall("find", '{"id": 7}'),), "tool_calls")
    assert found == Reply(answer, "m-2026", Usage(12, 3))


@pytest.mark.parametrize(
    ("fields", "finish"),
    [
        ({"incomplete_details": {"reason": "max_output_tokens"}}, "length"),
        ({"incomplete_details": {"reason": "content_filter"}}, "content_filter"),
        ({"incomplete_details": {"reason": "something new"}}, "something new"),
        ({"incomplete_details": None}, "incomplete"),
    ],
)
def test_an_incomplete_answer_is_not_to_be_learned_from(fields, finish):
    answer = reply(message(text("a")), status="incomplete", **fields).answer
    assert answer == Answer("a", finish_reason=finish)
    assert not answer.complete


def test_a_refusal_is_kept_but_not_to_be_learned_from():
    answer = reply(message({"type": "refusal", "refusal": "I cannot."})).answer
    assert answer == Answer("I cannot.", finish_reason="refusal")
    assert not answer.complete


@pytest.mark.parametrize("status", ["failed", "queued", "in_progress", "cancelled"])
def test_a_response_that_is_no_answer_is_refused(status):
    with pytest.raises(TeacherError, match=f"{status}: overloaded"):
        reply(message(text("a")), status=status, error={"code": "x", "message": "overloaded"})


def stream(*events, end="\n"):
    lines = [": keep-alive", ""]
    for event in events:
        lines += [f"event: {event['type']}", f"data: {json.dumps(event)}", ""]
    return sse_data((end.join(lines) + end).encode())


BEGIN = [
    {"type": "response.created", "response": response(status="in_progress")},
    {"type": "response.output_item.added", "output_index": 0, "item": message()},
    {"type": "response.something_new", "response": 3, "item": [], "delta": {}},
    {"type": "response.output_text.delta", "delta": "bil", "output_index": 0, "obfuscation": "x"},
    {"type": "response.output_text.delta", "delta": "ling", "output_index": 0},
    {"type": "response.output_item.done", "output_index": 0, "item": message(text("billing"))},
]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("output", [[message(text("billing"))], []])
def test_a_stream_is_what_its_last_event_says(output, end):
    last = {"type": "response.completed", "response": response(*output, usage=None)}
    found = API.read_stream(stream(*BEGIN, last, end=end))
    assert found == Reply(Answer("billing"), "m-2026")


def test_a_stream_cut_by_its_limit_is_incomplete():
    limit = response(status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    found = API.read_stream(stream(*BEGIN, {"type": "response.incomplete", "response": limit}))
    assert found.answer == Answer("billing", finish_reason="length")


@pytest.mark.parametrize(
    "last",
    [
        [],
        [{"type": "error", "code": "server_error", "message": "overloaded", "param": None}],
        [{"type": "error", "error": {"message": "overloaded"}}],
        [{"type": "response.failed", "response": response(status="failed")}],
        [{"type": "response.completed"}],
        [{"type": "response.output_item.done", "item": 3}],
    ],
)
def test_a_stream_without_its_end_is_refused(last):
    with pytest.raises(TeacherError):
        API.read_stream(stream(*BEGIN, *last))


def test_the_error_of_a_stream_is_named():
    with pytest.raises(TeacherError, match="overloaded"):
        API.read_stream(stream({"type": "error", "message": "overloaded"}))


@pytest.mark.parametrize(
    ("tail", "ends"),
    [
        (b"event: response.completed\ndata: {}\n\n", True),
        (b"event:response.incomplete\r\ndata:{}\r\n\r\n", True),
        (b'event: error\ndata: {"type":"error"}\n\n', True),
        (b"event: response.completed\n", False),
        (b'event: response.completed\ndata: {"type":"resp', False),
        (b"event: response.in_progress\ndata: {}\n\n", False),
    ],
)
def test_where_a_stream_ends(tail, ends):
    assert API.ends(tail) is ends


def test_events_are_named_and_numbered():
    events = b"".join(API.events("billing", read(stream=True))).decode().split("\n\n")[:-1]
    names = []
    for number, event in enumerate(events):
        name, data = event.split("\n")
        payload = json.loads(data.removeprefix("data: "))
        assert payload["sequence_number"] == number
        assert name == f"event: {payload['type']}"
        names.append(payload["type"].removeprefix("response."))
    assert names == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
