"""What a certified student leaves to the teacher, asked through HTTP."""

import json
from contextlib import ExitStack

import pytest

from made_up import tickets, write_log
from openwheel.gateway import create_app, gateway_thread
from openwheel.importing import LogProblems, read_log
from openwheel.loop.offline.learn import learn
from openwheel.loop.registry import Registry
from openwheel.loop.serving import RegistryServing
from openwheel.loop.settings import LoopSettings
from openwheel.store import Store
from openwheel.teachers import HttpTeacher
from teacher import Teacher, respond

ROUTE = "Route the ticket to a queue."
EASY = "invoice payment refund tax amount 4711"
SYSTEM = {"role": "system", "content": ROUTE}
USER = {"role": "user", "content": EASY}
PLAIN = {"model": "m", "temperature": 0, "messages": [SYSTEM, USER]}
RESPONSES = {"model": "m", "temperature": 0, "instructions": ROUTE, "input": EASY, "store": False}
TASK = "the task"
NONE = "no task"
COMPLETION = json.dumps(
    {
        "model": "m",
        "choices": [{"index": 0, "message": {"content": "the teacher's"}, "finish_reason": "stop"}],
    }
).encode()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Serve a student that was certified on requests as applications send them."""
    folder = tmp_path_factory.mktemp("declines")
    rows = [
        {
            "request": {**PLAIN, "messages": [SYSTEM, {"role": "user", "content": row["input"]}]},
            "response": row["output"],
        }
        for row in tickets(1_500)
    ]
    with ExitStack() as stack:
        store = stack.enter_context(Store.open(folder / "openwheel.db"))
        log = write_log(folder / "log.jsonl", rows)
        store.append(list(read_log(log, in_order=True, problems=LogProblems())))
        learn(store, LoopSettings(), source="made up")
        serving = RegistryServing(Registry(store))
        [task] = serving.students()
        teacher = stack.enter_context(Teacher(respond(COMPLETION)))
        app = create_app(HttpTeacher(teacher.url), serving)
        url = stack.enter_context(gateway_thread(app))
        yield url, task


@pytest.fixture
def asked(served, http):
    """Send a request; return who answered it, and for which task."""
    url, task = served

    def send(body, path="chat/completions"):
        sent = json.dumps(body).encode()
        response = http("POST", f"{url}/v1/{path}", sent, {"content-type": "application/json"})
        assert response.status == 200
        source = response.headers["x-openwheel-source"]
        if source == "student":
            assert b"billing" in response.data
            assert 0 < float(response.headers["x-openwheel-confidence"]) <= 1
        else:
            assert response.data == COMPLETION
        found = response.headers.get("x-openwheel-task")
        assert found in {task, None}
        return source, NONE if found is None else TASK

    return send


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"temperature": 0.0},
        {"seed": 7},
        {"user": "u-1"},
        {"metadata": {"team": "web"}},
        {"service_tier": "auto"},
        {"stream": True},
        {"stream": True, "stream_options": {"include_usage": True}},
        {"n": 1, "logprobs": False, "top_logprobs": 0, "modalities": ["text"]},
        {"response_format": {"type": "text"}},
        {"top_p": None, "stop": None, "tools": None, "max_tokens": None},
        {"messages": [SYSTEM, {"role": "user", "content": [{"type": "text", "text": EASY}]}]},
    ],
    ids=json.dumps,
)
def test_what_shapes_no_answer_is_left_to_the_student(asked, more):
    assert asked({**PLAIN, **more}) == ("student", TASK)


def parts(*more):
    return {
        "messages": [SYSTEM, {"role": "user", "content": [{"type": "text", "text": EASY}, *more]}]
    }


FUNCTION = {"name": "find", "parameters": {"type": "object", "properties": {}}}
CALL = {"id": "c-1", "type": "function", "function": {"name": "find", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("more", "task"),
    [
        ({"n": 2}, TASK),
        ({"logprobs": True}, TASK),
        ({"top_logprobs": 3, "logprobs": True}, TASK),
        (parts({"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}), TASK),
        (parts({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}), TASK),
        (parts({"type": "file", "file": {"file_id": "f-1"}}), TASK),
        ({"modalities": ["text", "audio"], "audio": {"voice": "a", "format": "wav"}}, TASK),
        ({"tools": [{"type": "function", "function": FUNCTION}]}, NONE),
        ({"functions": [FUNCTION]}, NONE),
        ({"response_format": {"type": "json_object"}}, NONE),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "q"}}}, NONE),
        ({"temperature": 1}, TASK),
        ({"temperature": None}, TASK),
        ({"top_p": 0.5}, TASK),
        ({"max_tokens": 1}, TASK),
        ({"max_completion_tokens": 1}, TASK),
        ({"stop": ["l"]}, TASK),
        ({"logit_bias": {"1": -100}}, TASK),
        ({"presence_penalty": 2}, TASK),
        ({"reasoning_effort": "high"}, TASK),
        ({"verbosity": "high"}, TASK),
        ({"web_search_options": {}}, TASK),
        ({"guided_choice": ["a", "b"]}, TASK),
        ({"a_field_that_nobody_knows": False}, TASK),
        ({"model": "n"}, TASK),
        ({"messages": [{"role": "system", "content": "Be kind."}, USER]}, NONE),
        ({"messages": [USER]}, NONE),
        ({"messages": [SYSTEM, USER, {"role": "assistant", "content": "b"}, USER]}, NONE),
        (
            {
                "messages": [
                    SYSTEM,
                    USER,
                    {"role": "assistant", "content": None, "tool_calls": [CALL]},
                    {"role": "tool", "tool_call_id": "c-1", "content": "found"},
                ]
            },
            NONE,
        ),
        ({"messages": [SYSTEM, {**USER, "role": "tool", "tool_call_id": "c-1"}]}, NONE),
        ({"messages": [SYSTEM, {**USER, "role": "assistant", "tool_calls": [CALL]}]}, NONE),
    ],
    ids=lambda value: value if isinstance(value, str) else json.dumps(value)[:60],
)
def test_what_the_student_was_not_certified_for_is_left_to_the_teacher(asked, more, task):
    assert asked({**PLAIN, **more}) == ("teacher", task)
    assert asked({**PLAIN, **more, "stream": True}) == ("teacher", task)


def test_responses_are_answered_where_nothing_is_to_be_kept(asked):
    assert asked(RESPONSES, "responses") == ("student", TASK)
    assert asked({**RESPONSES, "store": True}, "responses") == ("teacher", TASK)
    unsaid = {name: value for name, value in RESPONSES.items() if name != "store"}
    assert asked(unsaid, "responses") == ("teacher", TASK)


@pytest.mark.parametrize(
    "more",
    [
        {"temperature": 1},
        {"max_output_tokens": 20},
        {"reasoning": {"effort": "high"}},
        {"text": {"verbosity": "low"}},
        {"truncation": "auto"},
        {"previous_response_id": "resp_1"},
        {"background": True},
        {"include": ["message.output_text.logprobs"]},
        {"guided_choice": ["a"]},
    ],
    ids=json.dumps,
)
def test_responses_with_other_settings_are_left_to_the_teacher(asked, more):
    assert asked({**RESPONSES, **more}, "responses") == ("teacher", TASK)


@pytest.mark.parametrize(
    ("path", "body", "task"),
    [
        ("completions", {"prompt": EASY}, NONE),
        ("completions", {"prompt": f"{ROUTE}\n{EASY}"}, NONE),
        ("messages", {"system": ROUTE, "messages": [USER], "max_tokens": 20}, TASK),
        ("messages", {"messages": [USER], "max_tokens": 20}, NONE),
    ],
)
def test_other_apis_whose_settings_were_never_seen(asked, path, body, task):
    assert asked({"model": "m", "temperature": 0, **body}, path) == ("teacher", task)
