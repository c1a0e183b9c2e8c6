"""The anthropic SDK for Python, unchanged: the teacher's answers and a student's."""

import pytest

from clients.answers import KEY
from clients.live import STUDENT, TEACHER

LIMITS = {"x-ratelimit-limit-requests": "500", "x-ratelimit-remaining-requests": "499"}


@pytest.fixture(scope="module")
def seen(run_client):
    return run_client("anthropic_sdk.py", "official")["teacher"]


@pytest.fixture(scope="module")
def student(run_client):
    return run_client("anthropic_sdk.py", "official")["student"]


def test_message(seen):
    found = seen["message"]
    assert found["headers"].items() >= {"request-id": "req_teacher", **LIMITS}.items()
    assert (found["text"], found["stop"], found["model"]) == (TEACHER, "end_turn", "big")
    assert found["tokens"] == [12, 6]


def test_every_event_of_a_stream_arrives_in_order(seen):
    found = seen["stream"]
    assert [kind for kind in found["kinds"] if kind != "content_block_delta"] == [
        "message_start",
        "content_block_start",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert (found["text"], found["final"], found["stop"]) == (TEACHER, TEACHER, "end_turn")
    assert found["tokens"] == [12, 6]
    assert found["headers"]["request-id"] == "req_teacher"


def test_tool_use(seen):
    use = {"stop": "tool_use", "name": "find_parcel", "input": {"id": 7}}
    assert seen["tools"] == {"whole": use, "streamed": use}


def test_counting_tokens_and_models_are_the_teachers(seen, live):
    assert seen["count_tokens"] == 12
    assert seen["models"] == ["big"]
    assert [a for a in live.teacher.received if a.path == "/v1/messages/count_tokens"]


def test_a_key_is_passed_on_as_it_came(seen, live):
    assert seen["keys"]["api_key"] == TEACHER
    [by_key] = live.teacher.containing('"by-key"')
    # Since version 2 the SDK sends either kind of key as a bearer token.
    assert by_key.headers["authorization"] == f"Bearer {KEY}"
    unknown = seen["keys"]["unknown"]
    assert (unknown["classes"][0], unknown["status"]) == ("AuthenticationError", 401)


@pytest.mark.parametrize(
    ("status", "name", "kind"),
    [
        (400, "BadRequestError", "invalid_request_error"),
        (404, "NotFoundError", "not_found_error"),
        (429, "RateLimitError", "rate_limit_error"),
        (500, "InternalServerError", "server_error"),
        (529, "OverloadedError", "overloaded_error"),
    ],
)
def test_errors_of_the_teacher_are_what_they_would_be_without_a_gateway(seen, status, name, kind):
    found = seen["errors"][str(status)]
    assert (found["classes"][0], found["status"]) == (name, status)
    assert found["request_id"] == "req_teacher"
    assert found["headers"]["retry-after"] == "0.05"
    assert found["body"]["type"] == "error"
    assert found["body"]["error"]["type"] == kind


@pytest.mark.parametrize(
    ("case", "name"),
    [
        ("cut", "APIConnectionError"),
        # The SDK lets the transport's own error through, as it does without a gateway.
        ("cut stream", "RemoteProtocolError"),
        ("overloaded stream", "APIStatusError"),
    ],
)
def test_an_answer_that_is_not_whole_is_an_error(seen, case, name):
    assert seen["errors"][case]["classes"][0] == name


def test_retries_reach_the_teacher_and_say_so(seen, live):
    assert seen["retries"] == TEACHER
    counts = [
        asked.headers["x-stainless-retry-count"]
        for asked in live.teacher.containing('"retry-429"')
        if asked.path == "/v1/messages"
    ]
    assert counts == ["0", "1"]


def test_concurrent_requests(seen):
    assert seen["concurrent"] == [TEACHER]


def test_message_of_a_student(student):
    seen = student["message"]
    assert seen["headers"]["x-openwheel-source"] == "student"
    assert seen["headers"]["request-id"]
    assert (seen["text"], seen["stop"], seen["model"]) == (STUDENT, "end_turn", "big")
    assert seen["tokens"] == [0, 0]
    assert student["concurrent"] == [STUDENT]


def test_every_event_of_a_students_stream_arrives_in_order(student):
    seen = student["stream"]
    assert seen["headers"]["x-openwheel-source"] == "student"
    assert seen["kinds"] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert (seen["text"], seen["final"], seen["stop"]) == (STUDENT, STUDENT, "end_turn")
    assert seen["tokens"] == [0, 0]


@pytest.mark.evidence
def test_it_sees_what_it_would_without_a_gateway(same_without_a_gateway):
    same_without_a_gateway("anthropic_sdk.py", "official")
