"""The openai and @anthropic-ai/sdk packages in Node: the teacher's answers and a student's."""

import pytest

from clients.live import STUDENT, TEACHER


@pytest.fixture(scope="module")
def teacher(run_client):
    return run_client("node_clients.mjs", "node")["teacher"]


@pytest.fixture(scope="module")
def student(run_client):
    return run_client("node_clients.mjs", "node")["student"]


@pytest.mark.parametrize(
    ("who", "text", "tokens"), [("teacher", TEACHER, 18), ("student", STUDENT, 0)]
)
def test_chat(request, who, text, tokens):
    seen = request.getfixturevalue(who)
    assert (seen["chat"]["text"], seen["chat"]["finish"]) == (text, "stop")
    assert seen["chat"]["source"] == who
    assert seen["chat"]["request_id"]
    for name, usages in (("asked", [tokens]), ("declined", [])):
        assert seen["chat_stream"][name] == {"text": text, "finish": "stop", "usages": usages}


def test_other_openai_apis(teacher):
    assert teacher["chat_tools"] == ["find_parcel", '{"id": 7}']
    last = "response.completed"
    assert teacher["responses"] == {"text": TEACHER, "last": last, "streamed": TEACHER}
    assert teacher["completions"] == {"text": TEACHER, "streamed": TEACHER}
    assert teacher["embeddings"] == [[0.5, -0.25, 0.125]] * 2
    assert teacher["models"] == ["big", "big-embedding"]


@pytest.mark.parametrize(("status", "name"), [(400, "BadRequestError"), (429, "RateLimitError")])
def test_openai_errors(teacher, status, name):
    seen = teacher["errors"][str(status)]
    assert (seen["class"], seen["status"]) == (name, status)
    assert (seen["request_id"], seen["retry_after"]) == ("req_teacher", "0.05")
    assert seen["body"]["message"]


def test_retries_reach_the_teacher_and_say_so(teacher, live):
    assert teacher["errors"]["retried"] == TEACHER
    counts = [
        asked.headers["x-stainless-retry-count"]
        for asked in live.teacher.containing('"retry-429"')
        if asked.headers["user-agent"].startswith("OpenAI/JS")
    ]
    assert counts == ["0", "1"]


def test_messages(teacher):
    assert teacher["messages"] == {"text": TEACHER, "streamed": TEACHER, "stop": "end_turn"}
    assert teacher["messages_tools"] == ["find_parcel", {"id": 7}]
    seen = teacher["messages_errors"]["429"]
    assert (seen["class"], seen["status"]) == ("RateLimitError", 429)
    assert seen["body"]["error"]["type"] == "rate_limit_error"


@pytest.mark.parametrize("api", ["errors", "messages_errors"])
def test_a_stream_cut_half_way_is_an_error(teacher, api):
    # Node's own fetch raises it, and the SDKs let it through, as they do without a gateway.
    seen = teacher[api]["cut stream"]
    assert (seen["class"], seen["message"]) == ("TypeError", "terminated")


def test_an_error_in_the_middle_of_a_stream_is_the_teachers(teacher):
    seen = teacher["messages_errors"]["overloaded stream"]
    assert seen["class"] == "APIError"
    assert seen["body"]["error"]["type"] == "overloaded_error"


def test_other_apis_of_a_student(student):
    last = "response.completed"
    assert student["responses"] == {"text": STUDENT, "last": last, "streamed": STUDENT}
    assert student["completions"] == {"text": STUDENT, "streamed": STUDENT}
    assert student["messages"] == {"text": STUDENT, "streamed": STUDENT, "stop": "end_turn"}


def test_it_sees_what_it_would_without_a_gateway(same_without_a_gateway):
    same_without_a_gateway("node_clients.mjs", "node")
