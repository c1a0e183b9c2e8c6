import json

import msgspec
import pytest

from openwheel.errors import TeacherError
from openwheel.wire import (
    APIS,
    Answer,
    Prompt,
    Reply,
    Request,
    ToolCall,
    Usage,
    read_reply,
    read_reply_stream,
    sse_data,
)

CHAT = APIS["chat"]
ASKED = Request(prompt=Prompt(()), model="m")
ANSWERS = [
    Answer("billing"),
    Answer(""),
    Answer("naïve\n\u2028 \U0001f600", finish_reason="length"),
    Answer("", (ToolCall("find", '{"id":7}'), ToolCall("send", "{}")), "tool_calls"),
    Answer("I will look.", (ToolCall("find", ""),), "tool_calls"),
]


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_written_answer_reads_back(answer):
    body = CHAT.body(answer, ASKED, Usage(3, 4))
    assert read_reply(body) == Reply(answer, "m", Usage(3, 4))


@pytest.mark.parametrize("include_usage", [True, False])
@pytest.mark.parametrize("answer", ANSWERS)
def test_a_streamed_answer_reads_back(answer, include_usage):
    asked = msgspec.structs.replace(ASKED, include_usage=include_usage)
    events = CHAT.events(answer, asked, Usage(3, 4))
    data = list(sse_data(b"".join(events)))
    assert data[-1] == b"[DONE]"
    assert read_reply_stream(data) == Reply(answer, "m", Usage(3, 4) if include_usage else None)
    assert len({json.loads(one)["id"] for one in data[:-1]}) == 1


def test_an_answer_with_tool_calls_has_no_content_as_in_the_api():
    message = json.loads(CHAT.body(ANSWERS[3], ASKED))["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"][0]["type"] == "function"


@pytest.mark.parametrize(
    "usage",
    ["null", "3", '{"prompt_tokens": null}', '{"prompt_tokens": -1}', '{"prompt_tokens": 1e99}'],
)
def test_an_answer_is_read_whatever_its_usage(usage):
    body = '{"choices":[{"message":{"content":"x"}}],"usage":%s}' % usage  # noqa: UP031 - braces
    assert read_reply(body.encode()) == Reply(Answer("x"))


@pytest.mark.parametrize(("sent", "read"), [('"fp_1"', "fp_1"), ("null", ""), ("7", "")])
def test_an_answer_is_read_whatever_its_fingerprint(sent, read):
    choice = '{"message":{"content":"x"},"delta":{"content":"x"},"finish_reason":"stop"}'
    body = f'{{"choices":[{choice}],"system_fingerprint":{sent}}}'.encode()
    assert read_reply(body).fingerprint == read
    assert read_reply_stream([body, b"[DONE]"]).fingerprint == read


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"choices":[]}',
        b'{"choices":[{}]}',
        b'{"choices":[{"message":null}]}',
        b'{"choices":[{"message":{"content":3}}]}',
        b'{"error":{"message":"x"}}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_completion_is_refused(body):
    with pytest.raises(TeacherError):
        read_reply(body)


@pytest.mark.parametrize(
    "events",
    [
        [],
        [b"[DONE]"],
        [b'{"choices":[{"delta":{"content":"a"}}]}'],
        [b'{"choices":[{"delta":{"content":"a"}}]}', b'{"error":{}}'],
        [b'{"choices":[{"delta":'],
        [b'{"choices":[{"index":1,"delta":{},"finish_reason":"stop"}]}'],
    ],
)
def test_a_stream_without_its_end_is_refused(events):
    with pytest.raises(TeacherError):
        read_reply_stream(events)


def test_streamed_arguments_are_joined_by_call():
    def delta(content):
        return json.dumps({"choices": [{"index": 0, "delta": content}]}).encode()

    def call(index, **function):
        return delta({"tool_calls": [{"index": index, "function": function}]})

    end = b'{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}'
    events = [
        call(1, name="b", arguments=""),
        call(0, name="a", arguments='{"x"'),
        call(1, arguments="{}"),
        call(0, arguments=":1}"),
        end,
    ]
    assert read_reply_stream(events).answer.tool_calls == (
        ToolCall("a", '{"x":1}'),
        ToolCall("b", "{}"),
    )
    older = [delta({"function_call": {"name": "f"}}), delta({"function_call": {"arguments": "{}"}})]
    assert read_reply_stream([*older, end]).answer.tool_calls == (ToolCall("f", "{}"),)


def test_a_refusal_is_kept_but_not_to_be_learned_from():
    body = b'{"choices":[{"message":{"content":null,"refusal":"No."},"finish_reason":"stop"}]}'
    refused = Answer("No.", finish_reason="refusal")
    assert read_reply(body).answer == refused
    events = [b'{"choices":[{"delta":{"refusal":"%s"}}]}' % part for part in (b"N", b"o.")]
    end = b'{"choices":[{"delta":{},"finish_reason":"stop"}]}'
    assert read_reply_stream([*events, end]).answer == refused
    assert not refused.complete
    choice = json.loads(CHAT.body(refused, ASKED))["choices"][0]
    assert (choice["message"]["content"], choice["message"]["refusal"]) == (None, "No.")
    assert choice["finish_reason"] == "stop"
