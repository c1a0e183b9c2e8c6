"""Every API passes the same checks: round trips, cut streams, bytes that are anything."""

import contextlib
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz import fuzz
from openwheel.errors import RequestError, TeacherError
from openwheel.wire import APIS, TEXT_APIS, Answer, Usage

from .contract import ASK, CALLS, ask, check_api

every_api = pytest.mark.parametrize("api", TEXT_APIS.values(), ids=TEXT_APIS)
texts = st.text(st.characters(exclude_categories=["Cs"]))
counts = st.integers(0, 1 << 40)
OFTEN = {"short": 50, "long": 1_000}

# Words that the readers look for, so that what is made up comes close to what they read.
WORDS = """
type text role content message messages output item delta choices index usage input prompt
model tools format finish_reason stop_reason response error tool_use function_call arguments
name user completed status refusal input_tokens message_delta content_block message_start
response.completed response.output_item.done message_stop content_block_start output_index
content_block_delta partial_json store system reasoning metadata instructions
"""
words = st.sampled_from(WORDS.split())
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=5),
    max_leaves=20,
)
bodies = st.binary(max_size=40) | values.map(lambda value: json.dumps(value).encode())


@every_api
@given(text=texts, prompt=counts, completion=counts)
@example(text="", prompt=0, completion=0)
@example(text="\r\n\n data: [DONE]\n\nevent: message_stop\ndata: {}\n\n", prompt=1, completion=2)
@example(text="\u2028\u0085\x0b\x00 naïve \U0001f600", prompt=1, completion=2)
@example(
    text='{"type": "message_stop"}\nevent: response.completed\ndata: x\n', prompt=1, completion=1
)
def test_any_text_comes_back(api, text, prompt, completion):
    check_api(api, Answer(text), Usage(prompt, completion))


@every_api
@pytest.mark.parametrize("finish", ["length", "content_filter", "refusal"])
def test_an_answer_that_is_none_is_never_complete(api, finish):
    check_api(api, Answer("I cannot", finish_reason=finish), Usage(3, 4))


@pytest.mark.parametrize("name", ["chat", "responses", "messages"])
@pytest.mark.parametrize("text", ["", "I will look."])
def test_tool_calls_come_back(name, text):
    check_api(APIS[name], Answer(text, CALLS.tool_calls, "tool_calls"), Usage(3, 4))


@every_api
def test_a_student_spends_no_tokens(api):
    assert api.read_reply(api.body("x", ask(api))).usage == Usage(0, 0)


@fuzz(change=st.dictionaries(words, values, max_size=4), model=st.booleans(), **OFTEN)
@every_api
def test_any_request_is_read_or_refused(api, change, model):
    fields = {**ASK[api.name], **change}
    if not model:
        del fields["model"]
    try:
        request = api.read_request(json.dumps(fields).encode())
    except RequestError:
        return
    # Whatever could be read can be answered.
    assert api.read_reply(api.body("x", request)).answer == Answer("x")
    b"".join(api.events("x", request))


@fuzz(body=bodies, **OFTEN)
@every_api
def test_bytes_that_are_anything_are_read_or_refused(api, body):
    with contextlib.suppress(RequestError):
        api.read_request(body)
    with contextlib.suppress(TeacherError):
        api.read_reply(body)


@fuzz(events=st.lists(bodies, max_size=4), **OFTEN)
@every_api
def test_events_that_are_anything_are_read_or_refused(api, events):
    with contextlib.suppress(TeacherError):
        api.read_stream(events)


@every_api
@pytest.mark.parametrize(
    "value",
    [b"1e999", b'"\xff"', b'"\\ud800"', b"[" * 99_999, b"[" * 995 + b"]" * 995, b'{"a":1e999}'],
)
@pytest.mark.parametrize("field", [b"x", b"tools", b"text", b"output_config", b"response_format"])
def test_a_field_that_cannot_be_read_is_refused_not_a_crash(api, field, value):
    body = json.dumps(ASK[api.name]).encode()[:-1] + b', "%s": %s}' % (field, value)
    with contextlib.suppress(RequestError):
        api.read_request(body)


@every_api
@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b"null", b"\xff", b'{"error":{"message":"x"}}', b"[" * 100_000]
)
def test_what_is_neither_request_nor_answer_is_refused(api, body):
    with pytest.raises(RequestError, match="request body"):
        api.read_request(body)
    with pytest.raises(TeacherError):
        api.read_reply(body)
    with pytest.raises(TeacherError):
        api.read_stream([body] if body else [])


@every_api
def test_settings_are_what_is_not_in_the_prompt(api):
    assert dict(ask(api, temperature=0.0, user_made=[1], top_p=None).settings) == {
        **dict(ask(api).settings),
        "temperature": "0",
        "user_made": "[1]",
    }
    assert ask(api, stream=True).settings == ask(api, metadata={"task": "t"}).settings


@every_api
def test_a_request_names_its_task_and_how_it_is_to_be_sent(api):
    request = ask(api, stream=True, metadata={"openwheel_task": "route"})
    assert (request.task, request.stream, request.model) == ("route", True, "m")
    assert request.prompt == ask(api).prompt
    assert request.prompt.plain
