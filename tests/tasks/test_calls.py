import pytest

from openwheel.tasks import FORMS, answer_in, canonical_answer, infer_form, written_answer
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
        Answer("", (ToolCall("f", "{}"), ToolCall("g", "{}")), "tool_calls"),
        called("{"),
        called("[1]"),
        called('"a"'),
    ],
)
def test_what_is_not_one_call_with_arguments_is_none(answer):
    text = written_answer(answer, "tool_call")
    assert text == '{"name":null}'
    assert answer_in(text, "tool_call").tool_calls == ()


@pytest.mark.parametrize("text", ["", "hello", '{"name": "f"}', '{"name": "f", "arguments": "x"}'])
def test_a_text_that_is_no_call_is_read_as_text(text):
    assert answer_in(text, "tool_call") == Answer(text)
    assert answer_in('{"name": "f", "arguments": {}}', "label").tool_calls == ()


def test_more_than_half_calls_are_the_form_of_a_task():
    call = called("{}")
    assert infer_form([call] * 11 + [Answer(f"text {i}") for i in range(9)]).form == "tool_call"
    assert infer_form([call] * 9 + [Answer(f"text {i}") for i in range(11)]).form == "text"
    assert FORMS["tool_call"].left is None
    assert canonical_answer(call, "tool_call") != canonical_answer(Answer("{}"), "tool_call")
