import json

import pytest

from openwheel.errors import RequestError, TeacherError
from openwheel.wire import APIS, Answer, PromptMessage, Reply, Usage, sse_data

API = APIS["completions"]


def read(**fields):
    return API.read_request(json.dumps({"model": "m", "prompt": "x", **fields}).encode())


def test_the_prompt_is_one_text():
    for prompt in ("Route:\nx", ["Route:\nx"]):
        found = read(prompt=prompt).prompt
        assert found.plain
        assert found.messages == (PromptMessage("text", "Route:\nx"),)


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": ["x", "y"]},
        {"prompt": [1, 2]},
        {"prompt": [[1, 2]]},
        {"n": 2},
        {"best_of": 3},
        {"echo": True},
        {"suffix": "end"},
        {"logprobs": 0},
        {"logprobs": 5},
    ],
)
def test_what_only_a_teacher_answers_is_not_plain(fields):
    assert not read(**fields).prompt.plain


def test_what_changes_nothing_is_neither_prompt_nor_setting():
    same = read(n=1, best_of=1, echo=False, suffix="", logprobs=None, user="u", seed=1, stream=True)
    assert (same.prompt, same.settings) == (read().prompt, read().settings)
    assert read(max_tokens=5, stop=["\n"]).settings == {
        "model": '"m"',
        "max_tokens": "5",
        "stop": '["\\n"]',
    }


@pytest.mark.parametrize("prompt", [None, [], 3, {}, [{}], [None]])
def test_what_is_no_prompt_is_refused(prompt):
    with pytest.raises(RequestError, match="request body"):
        read(prompt=prompt)


def test_reading_an_answer():
    choice = {"text": " billing", "index": 0, "logprobs": None, "finish_reason": "stop"}
    body = {"id": "cmpl-1", "object": "text_completion", "model": "m-2026", "choices": [choice]}
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    assert API.read_reply(json.dumps({**body, "usage": usage}).encode()) == Reply(
        Answer(" billing"), "m-2026", Usage(5, 2)
    )
    cut = {**body, "choices": [{**choice, "finish_reason": "length"}]}
    assert not API.read_reply(json.dumps(cut).encode()).answer.complete


def chunk(text, finish=None, index=0):
    choice = {"text": text, "index": index, "logprobs": None, "finish_reason": finish}
    return f"data: {json.dumps({'id': 'cmpl-1', 'model': 'm', 'choices': [choice]})}\r\n\r\n"


def test_reading_a_stream():
    usage = {"prompt_tokens": 5, "completion_tokens": 2}
    body = (
        ": ping\r\n\r\n"
        + chunk("bil")
        + chunk("other", "stop", index=1)
        + chunk("ling")
        + chunk("", "stop")
        + f"data: {json.dumps({'choices': [], 'usage': usage})}\r\n\r\ndata: [DONE]\r\n\r\n"
    )
    assert API.read_stream(sse_data(body.encode())) == Reply(Answer("billing"), "m", Usage(5, 2))
    assert API.ends(body.encode())


@pytest.mark.parametrize(
    "body", [chunk("bil"), chunk("a", "stop", index=1), chunk("a") + 'data: {"error": {}}\n\n']
)
def test_a_stream_without_its_end_is_refused(body):
    with pytest.raises(TeacherError):
        API.read_stream(sse_data(body.encode()))


@pytest.mark.parametrize(
    "body", [b'{"choices":[]}', b'{"choices":[{}]}', b'{"choices":[{"text":3}]}']
)
def test_what_is_no_completion_is_refused(body):
    with pytest.raises(TeacherError, match="not a completion"):
        API.read_reply(body)


def test_usage_is_streamed_only_if_asked_for():
    asked = read(stream=True, stream_options={"include_usage": True})
    assert b"usage" not in b"".join(API.events("x", read(stream=True)))
    assert b'"usage":{"prompt_tokens":0' in b"".join(API.events("x", asked))
