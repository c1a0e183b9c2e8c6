"""Tools, calls and results: one form, whatever the API."""

import json

import pytest

from made_up_calls import SCHEMAS, TRACKING, call, step_of, tools_of, tracked
from openwheel.wire import APIS, PromptMessage, called_last, read_tools, shared_tools

WITH_TOOLS = ("chat", "responses", "messages")
FORCED = {
    "chat": {"type": "function", "function": {"name": "list_orders"}},
    "responses": {"type": "function", "name": "list_orders"},
    "messages": {"type": "tool", "name": "list_orders"},
}


def prompt(api, text="x", steps=(), **fields):
    return APIS[api].read_request(step_of(api, text, steps, **fields)).prompt


def test_equal_requests_of_different_apis_are_one_prompt():
    text, steps = next(one for one in tracked(9) if len(one[1]) == 2)
    for number in range(3):
        prompts = {prompt(api, text, steps[:number], tools=tools_of(api)) for api in WITH_TOOLS}
        assert len(prompts) == 1
        [one] = prompts
        assert one.plain
        assert len(one.messages) == 1 + 2 * number
    for named in ({}, FORCED):
        chosen = {
            prompt(api, tools=tools_of(api), tool_choice=named.get(api)).tools for api in WITH_TOOLS
        }
        assert len(chosen) == 1
    anyone = {"messages": {"type": "any"}}
    chosen = {
        prompt(api, tools=tools_of(api), tool_choice=anyone.get(api, "required")).tools
        for api in WITH_TOOLS
    }
    assert len(chosen) == 1


def test_neither_order_nor_strictness_of_tools_counts_but_their_descriptions_do():
    tools = tools_of("responses")
    loose = [{**tool, "strict": False} for tool in reversed(tools)]
    assert prompt("responses", tools=tools) == prompt("responses", tools=loose)
    described = [{**tools[0], "description": "Now."}, *tools[1:]]
    assert prompt("responses", tools=tools) != prompt("responses", tools=described)


@pytest.mark.parametrize("api", WITH_TOOLS)
def test_calls_and_results_are_messages_without_ids(api):
    one = call("find_order", {"order": "A-1"})
    said = prompt(api, "x", [(one, '{"a": [1, "\\u00e9"]}'), (one, "no such order")]).messages
    assert said == (
        PromptMessage("user", "x"),
        PromptMessage("call", 'find_order {"order":"A-1"}'),
        PromptMessage("tool", '{"a":[1,"é"]}'),
        PromptMessage("call", 'find_order {"order":"A-1"}'),
        PromptMessage("tool", "no such order"),
    )
    assert called_last(said) == called_last(said[:3]) == "find_order"
    assert called_last(said[:2]) == called_last(said[:1]) == called_last(()) == ""
    assert called_last((*said, PromptMessage("user", "y"))) == ""


def test_results_stand_in_the_order_of_their_calls():
    function = {"name": "f", "arguments": "{}"}
    calls = [{"id": one, "type": "function", "function": function} for one in "ab"]
    results = [{"role": "tool", "tool_call_id": one, "content": one} for one in "ab"]
    bodies = [
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": calls}]}
        for _ in range(2)
    ]
    bodies[0]["messages"] += results
    bodies[1]["messages"] += results[::-1]
    first, other = (APIS["chat"].read_request(json.dumps(body).encode()).prompt for body in bodies)
    assert first == other
    assert [message.text for message in first.messages[-2:]] == ["a", "b"]


def test_a_message_with_results_and_a_text_is_both():
    body = json.loads(step_of("messages", "x", [(call("f", {}), "7")]))
    body["messages"][-1]["content"].append({"type": "text", "text": "go on"})
    body["messages"][-2]["content"].insert(0, {"type": "text", "text": "I look."})
    found = APIS["messages"].read_request(json.dumps(body).encode()).prompt
    assert found.plain
    assert [message.role for message in found.messages] == [
        "user",
        "assistant",
        "call",
        "tool",
        "user",
    ]


def chat_with(*messages):
    body = {"messages": [{"role": "user", "content": "x"}, *messages]}
    return APIS["chat"].read_request(json.dumps(body).encode()).prompt


def called(**change):
    function = {"name": "f", "arguments": "{}"}
    return {"role": "assistant", "tool_calls": [{"id": "a", "function": function, **change}]}


@pytest.mark.parametrize(
    "messages",
    [
        [called(id=None)],
        [called(function=None)],
        [called(function={"name": "f", "arguments": "{"})],
        [called(function={"name": "f", "arguments": "[]"})],
        [called(function={"name": 7, "arguments": "{}"})],
        [called(type="custom", function=None, custom={"name": "f", "input": "x"})],
        [{"role": "assistant", "tool_calls": ["a"]}],
        [called(), {"role": "tool", "tool_call_id": "b", "content": "7"}],
        [called(), {"role": "tool", "content": "7"}],
        [called(), {"role": "tool", "tool_call_id": "a", "content": [{"type": "image_url"}]}],
        [{"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}],
        [{"role": "function", "name": "f", "content": "7"}],
    ],
)
def test_calls_and_results_that_text_does_not_say_are_not_plain(messages):
    assert not chat_with(*messages).plain


def test_images_that_tools_return_are_not_plain():
    body = json.loads(step_of("messages", "x", [(call("f", {}), "7")]))
    result = body["messages"][-1]["content"][0]
    for content, plain in (
        ([{"type": "image", "source": {}}], False),
        ([{"type": "text", "text": "7"}], True),
        (None, True),
        (7, False),
    ):
        result["content"] = content
        assert APIS["messages"].read_request(json.dumps(body).encode()).prompt.plain is plain


def offer(schemas, **fields):
    return prompt("chat", tools=tools_of("chat", schemas), **fields).tools


def test_what_requests_share_of_their_tools():
    both = {**SCHEMAS, **TRACKING}
    shared = read_tools(shared_tools({offer(SCHEMAS): 1, offer(both): 3}))
    assert set(shared.schemas) == set(SCHEMAS)
    other = {**TRACKING, "track": {"type": "object", "properties": {}}}
    assert set(read_tools(shared_tools({offer(TRACKING): 1, offer(other): 1})).schemas) == {
        "find_order"
    }
    assert not read_tools(shared_tools({offer(TRACKING): 1, offer(SCHEMAS): 1})).schemas
    # One request in a hundred refutes nothing.
    assert set(read_tools(shared_tools({offer(TRACKING): 99, offer(SCHEMAS): 1})).schemas) == set(
        TRACKING
    )


def test_a_description_makes_no_tool_another_but_a_field_of_that_name_does():
    plain = {"f": {"type": "object", "properties": {"a": {"type": "string"}}}}
    said = {"f": {**plain["f"], "description": "x"}}
    field = {"f": {"type": "object", "properties": {"description": {"type": "string"}}}}
    likeness = [read_tools(offer(one)).likeness["f"] for one in (plain, said, field)]
    assert likeness[0] == likeness[1] != likeness[2]


def test_a_name_that_stands_for_two_tools_may_not_be_called():
    tools = tools_of("chat", TRACKING)
    doubled = prompt("chat", tools=[*tools, tools[0]]).tools
    assert set(read_tools(doubled).schemas) == {"track"}


@pytest.mark.parametrize("text", ["", "[1]", "{", "null", '{"functions":3}', "\ud800", "[" * 9_999])
def test_a_text_that_is_no_offer_offers_nothing(text):
    assert not read_tools(text).schemas
    assert not read_tools(shared_tools({text: 1})).schemas
