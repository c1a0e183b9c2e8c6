import json

import pytest

from openwheel.errors import RequestError
from openwheel.wire import Prompt, PromptMessage, read_request


def prompt(**fields):
    return read_request(json.dumps({"messages": [USER], **fields}).encode()).prompt()


USER = {"role": "user", "content": "x"}


def test_text_parts_are_joined():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert prompt(messages=[{"role": "user", "content": parts}]) == Prompt(
        (PromptMessage("user", "a\nb"),)
    )


@pytest.mark.parametrize(
    "same",
    [
        {"stream": True, "stream_options": {"include_usage": True}},
        {"model": "other", "metadata": {"task": "t"}, "temperature": 0.5},
        {"n": 1, "logprobs": False, "modalities": ["text"]},
        {"response_format": {"type": "text"}},
        {"tools": [], "tool_choice": "auto"},
    ],
)
def test_how_it_is_sent_is_not_what_is_asked(same):
    assert prompt(**same) == prompt()


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 2},
        {"modalities": ["text", "audio"]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        {"messages": [USER, {"role": "tool", "content": "7"}]},
        {"messages": [USER, {"role": "assistant", "tool_calls": [{"id": "1"}]}]},
    ],
)
def test_what_text_does_not_say_is_not_plain(fields):
    assert not prompt(**fields).plain


@pytest.mark.parametrize("fields", [{"logprobs": True}, {"top_logprobs": 3, "logprobs": True}])
def test_what_asks_for_log_probabilities_is_learned_from_and_not_answered(fields):
    asked = prompt(**fields)
    assert asked.plain
    assert not asked.answerable
    assert (asked.messages, asked.tools) == (prompt().messages, prompt().tools)


def test_tools_and_formats_are_canonical():
    one = prompt(tools=[{"a": 1, "b": 2}], response_format={"type": "json_object", "x": 1})
    other = prompt(tools=[{"b": 2, "a": 1}], response_format={"x": 1, "type": "json_object"})
    assert one == other != prompt()


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"3", b"{}", b'{"messages":[]}', b'{"messages":[{}]}', b"\xff", b"[" * 99_999],
)
def test_what_is_no_request_is_refused(body):
    with pytest.raises(RequestError, match="request body"):
        read_request(body)


def test_task_from_metadata():
    body = {"messages": [USER], "metadata": {"task": "b", "openwheel_task": "a"}}
    assert read_request(json.dumps(body).encode()).task == "a"
