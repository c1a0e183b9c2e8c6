import json

import pytest

from openwheel.errors import SettingError
from openwheel.tasks import FORMS, answer_in, canonical_answer, infer_form, written_answer
from openwheel.tasks.compare import Given, Pair, make_comparison, read_comparison
from openwheel.tasks.forms.call import as_one, in_one_order
from openwheel.wire import Answer, ToolCall


def called(arguments, name="f"):
    return Answer("", (ToolCall(name, arguments),), "tool_calls")


@pytest.mark.parametrize(
    "arguments", ["{}", '{"a":1,"b":[2]}', '{"a": "ü\\u00e9", "b": {"c": null}}', '{\n  "a": 1\n}']
)
def test_a_call_is_written_as_a_record_and_read_with_the_bytes_of_its_arguments(arguments):
    text = written_answer(called(arguments, name='find "it"'), "tool_call")
    assert answer_in(text, "tool_call") == called(arguments, name='find "it"')


def test_a_record_of_a_call_has_the_style_of_its_arguments():
    assert written_answer(called('{"a":1}'), "tool_call") == '{"name":"f","arguments":{"a":1}}'
    spaced = '{"name": "f", "arguments": {"a": 1}}'
    assert written_answer(called('{"a": 1}'), "tool_call") == spaced


@pytest.mark.parametrize(
    "answer",
    [
        Answer("which city?"),
        Answer("", (ToolCall("f", "{}"), ToolCall("g", "{")), "tool_calls"),
        Answer("", (ToolCall("f", "{}"),) * 17, "tool_calls"),
        called("{"),
        called("[1]"),
        called('"a"'),
    ],
)
def test_what_is_no_call_with_arguments_is_none(answer):
    text = written_answer(answer, "tool_call")
    assert text == '{"name":null}'
    assert answer_in(text, "tool_call").tool_calls == ()


def test_several_calls_are_written_as_one_record_and_read_in_their_order():
    calls = (ToolCall("f", '{"a": 1}'), ToolCall("g", "{}"), ToolCall("f", '{"a":2}'))
    text = written_answer(Answer("I look.", calls, "tool_calls"), "tool_call")
    assert answer_in(text, "tool_call") == Answer("", calls, "tool_calls")
    written = json.loads(text)
    assert [one["name"] for one in written["calls"]] == ["f", "g", "f"]


def test_calls_of_one_answer_are_equal_in_any_order():
    one, other = ToolCall("f", '{"a": 1, "b": 2}'), ToolCall("f", '{"b":2,"a":1}')
    last = ToolCall("g", "{}")

    def canonical(*calls):
        return canonical_answer(Answer("", calls, "tool_calls"), "tool_call")

    assert canonical(one, last) == canonical(last, other)
    assert canonical(one, one, last) != canonical(one, last, last)
    assert canonical(one, last) != canonical(one)
    order = make_comparison(read_comparison("order"), Given("tool_call"))
    pairs = [
        Pair("", Answer("", calls, "tool_calls"), Answer("", (one, last), "tool_calls"))
        for calls in ((other, last), (last, other))
    ]
    assert order.losses([*pairs, Pair("", Answer("x"), Answer("x"))]) == [0.0, 1.0, 0.0]
    with pytest.raises(SettingError, match="tool_call"):
        make_comparison(read_comparison("order"), Given("record"))


def test_several_calls_are_counted_as_one_record_whatever_their_order():
    first = {"name": "f", "arguments": {"a": {"x": 1}}}
    second = {"name": "g", "arguments": {"a": {"x": 2}, "b": True}}
    merged = {"name": "f\ng", "arguments": {"a": {"x": [1, 2]}, "b": [True]}}
    assert as_one({"calls": [first, second]}) == merged
    assert as_one(in_one_order({"calls": [second, first]})) == as_one(
        in_one_order({"calls": [first, second]})
    )
    assert as_one(first) == in_one_order(first) == first
    lists = {"name": "f", "arguments": {"a": [1]}}
    assert as_one(lists) == lists
    assert as_one({"calls": [lists, lists]})["arguments"] == {"a": [[1], [1]]}
    inner = {"name": "f", "arguments": {"a": 1}}
    assert as_one({"calls": [first, inner]}) == as_one({"calls": [inner, first]}) == {"name": None}


@pytest.mark.parametrize(
    "text", ["", "hello", '{"calls": []}', '{"name": "f"}', '{"name": "f", "arguments": "x"}']
)
def test_a_text_that_is_no_call_is_read_as_text(text):
    assert answer_in(text, "tool_call") == Answer(text)
    assert answer_in('{"name": "f", "arguments": {}}', "label").tool_calls == ()


def test_more_than_half_calls_are_the_form_of_a_task():
    call = called("{}")
    assert infer_form([call] * 11 + [Answer(f"text {i}") for i in range(9)]).form == "tool_call"
    assert infer_form([call] * 9 + [Answer(f"text {i}") for i in range(11)]).form == "text"
    assert FORMS["tool_call"].left is None
    assert canonical_answer(call, "tool_call") != canonical_answer(Answer("{}"), "tool_call")
