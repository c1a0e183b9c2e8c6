import json

import pytest

from made_up_calls import SCHEMAS, tools_of
from openwheel.students.tools import offered
from openwheel.wire import APIS, ToolCall

ORDERS = ToolCall("list_orders", "{}")
WEATHER = ToolCall("get_weather", '{"city": "Oslo", "unit": "celsius"}')


def prompt_tools(api, **fields):
    said = (
        {"input": "x"} if api == "responses" else {"messages": [{"role": "user", "content": "x"}]}
    )
    body = {"model": "m", "max_tokens": 9, "tools": tools_of(api), **said, **fields}
    return offered(APIS[api].read_request(json.dumps(body).encode()).prompt.tools)


FORCED = {
    "chat": {"type": "function", "function": {"name": "list_orders"}},
    "responses": {"type": "function", "name": "list_orders"},
    "messages": {"type": "tool", "name": "list_orders"},
}


@pytest.mark.parametrize("api", FORCED)
def test_calls_of_what_is_offered_with_arguments_of_its_schema(api):
    tools = prompt_tools(api)
    assert set(tools.schemas) == set(SCHEMAS)
    assert tools.take(ORDERS)
    assert tools.take(WEATHER)
    for other in (
        ToolCall("get_weather", '{"city": "Oslo"}'),
        ToolCall("get_weather", '{"city": "Oslo", "unit": "kelvin"}'),
        ToolCall("get_weather", '["Oslo"]'),
        ToolCall("get_weather", "{"),
        ToolCall("list_orders", '{"a": 1}'),
        ToolCall("delete_orders", "{}"),
    ):
        assert not tools.take(other)


@pytest.mark.parametrize("api", FORCED)
def test_the_tool_choice_allows_one_or_none(api):
    one = prompt_tools(api, tool_choice=FORCED[api])
    assert one.take(ORDERS)
    assert not one.take(WEATHER)
    none = {"type": "none"} if api == "messages" else "none"
    assert not prompt_tools(api, tool_choice=none).take(ORDERS)
    unknown = {"type": "allowed_tools", "tools": [FORCED[api]]}
    assert not prompt_tools(api, tool_choice=unknown).take(ORDERS)
    anyone = {"type": "any"} if api == "messages" else "required"
    assert prompt_tools(api, tool_choice=anyone).take(WEATHER)


def test_several_calls_unless_the_choice_asks_for_one():
    for choice in ({}, {"tool_choice": {"type": "auto"}}):
        tools = prompt_tools("messages", **choice)
        assert tools.take_all([ORDERS, WEATHER])
        assert not tools.take_all([ORDERS, ToolCall("ping", "{}")])
        assert not tools.take_all([])
    alone = {"type": "any", "disable_parallel_tool_use": True}
    tools = prompt_tools("messages", tool_choice=alone)
    assert tools.take_all([ORDERS])
    assert not tools.take_all([ORDERS, WEATHER])


def test_nothing_is_offered_by_what_takes_other_calls():
    assert not prompt_tools("chat", tools=None).take(ORDERS)
    older = {"tools": None, "functions": [{"name": "list_orders", "parameters": {}}]}
    assert not prompt_tools("chat", **older).take(ORDERS)
    text = [{"type": "custom", "custom": {"name": "list_orders"}}]
    assert not prompt_tools("chat", tools=text).take(ORDERS)


def test_a_tool_without_a_schema_takes_no_arguments():
    tools = prompt_tools("chat", tools=[{"type": "function", "function": {"name": "list_orders"}}])
    assert tools.take(ORDERS)
    assert not tools.take(ToolCall("list_orders", '{"a": 1}'))


def test_keywords_that_are_not_checked_are_named():
    schema = {"type": "object", "patternProperties": {"^a": {}}}
    function = {"name": "list_orders", "parameters": schema}
    tools = prompt_tools("chat", tools=[{"type": "function", "function": function}])
    assert tools.unknown_keywords() == {"patternProperties"}
    assert not tools.take(ORDERS)
