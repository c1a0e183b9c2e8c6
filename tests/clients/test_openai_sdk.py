"""The openai SDK for Python, unchanged: the teacher's answers and a student's."""

import pytest

from clients.live import STUDENT, TEACHER

LIMITS = {"x-ratelimit-limit-requests": "500", "x-ratelimit-remaining-requests": "499"}


@pytest.fixture(scope="module")
def teacher(run_client):
    return run_client("openai_sdk.py", "official")["teacher"]


@pytest.fixture(scope="module")
def student(run_client):
    return run_client("openai_sdk.py", "official")["student"]


def test_chat_of_the_teacher(teacher):
    assert teacher["chat"] == {
        "text": TEACHER,
        "finish": "stop",
        "model": "big",
        "tokens": 18,
        "headers": {"x-openwheel-source": "teacher", "x-request-id": "req_teacher", **LIMITS},
    }
    assert teacher["chat_streaming_response"] == {
        "text": TEACHER,
        "x-openwheel-source": "teacher",
        "x-request-id": "req_teacher",
        **LIMITS,
    }


def test_chat_of_a_student(student):
    seen = student["chat"]
    request_id = seen["headers"].pop("x-request-id")
    assert len(request_id) == 32
    assert seen == {
        "text": STUDENT,
        "finish": "stop",
        "model": "big",
        "tokens": 0,
        "headers": {"x-openwheel-source": "student"},
    }
    assert student["chat_streaming_response"]["text"] == STUDENT


@pytest.mark.parametrize(
    ("who", "text", "tokens"), [("teacher", TEACHER, 18), ("student", STUDENT, 0)]
)
def test_chat_streams_and_usage_only_where_asked_for(request, who, text, tokens):
    seen = request.getfixturevalue(who)["chat_stream"]
    for name, usages in (("asked", [tokens]), ("declined", []), ("unasked", [])):
        found = seen[name]
        assert found["headers"]["x-openwheel-source"] == who
        assert found["headers"]["x-request-id"]
        assert (found["text"], found["role"], found["finish"]) == (text, "assistant", "stop")
        assert (found["ids"], found["usages"]) == (1, usages)
        assert found["usage_last"] == bool(usages)


@pytest.mark.parametrize(("who", "queue"), [("teacher", "delivery"), ("student", STUDENT)])
def test_structured_output_is_parsed(request, who, queue):
    seen = request.getfixturevalue(who)["chat_parsed"]
    assert (seen["whole"], seen["streamed"]) == (queue, queue)
    assert seen["kinds"] == ["chunk", "content.delta", "content.done"]


def test_tool_calls_streamed_part_by_part(teacher):
    assert teacher["chat_tools"] == {
        "finish": ["tool_calls", "tool_calls"],
        "names": ["find_parcel", "find_parcel"],
        "arguments": '{"id": 7}',
        "deltas": ['{"id"', ": ", "7}"],
        "parsed": 7,
    }


def test_responses_of_the_teacher(teacher):
    seen = teacher["responses"]
    assert seen["headers"].items() >= {"x-request-id": "req_teacher", **LIMITS}.items()
    assert (seen["text"], seen["as_messages"], seen["kept"]) == (TEACHER, TEACHER, TEACHER)
    assert (seen["status"], seen["model"], seen["tokens"]) == ("completed", "big", 18)
    assert seen["parsed"] == "delivery"


def test_every_event_of_a_response_arrives_in_order(teacher):
    seen = teacher["responses_stream"]
    delta = "response.output_text.delta"
    assert [kind for kind in seen["kinds"] if kind != delta] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert seen["numbers"] == list(range(14))
    assert (seen["text"], seen["final"], seen["status"]) == (TEACHER, TEACHER, "completed")
    assert seen["parsed"] == "delivery"


def test_function_calls_of_responses(teacher):
    seen = teacher["responses_tools"]
    assert seen == {"names": ["find_parcel"] * 2, "arguments": ['{"id": 7}'] * 3}


def test_legacy_completions_of_the_teacher(teacher):
    seen = teacher["completions"]
    assert seen["headers"].items() >= {"x-request-id": "req_teacher", **LIMITS}.items()
    assert (seen["text"], seen["finish"], seen["tokens"]) == (TEACHER, "stop", 18)
    assert (seen["streamed"], seen["streamed_finish"]) == (TEACHER, "stop")
    assert (seen["unasked"], seen["usages"]) == ([], [18])


def test_embeddings_as_base64_and_as_numbers(teacher, live):
    vectors = [[0.5, -0.25, 0.125]] * 2
    assert teacher["embeddings"] == {"default": vectors, "float": vectors}
    asked = {
        request.body.count(b'"base64"') for request in live.teacher.containing("big-embedding")
    }
    assert asked == {0, 1}


def test_models(teacher):
    assert teacher["models"] == {
        "listed": ["big", "big-embedding"],
        "one": "big",
        "none": "NotFoundError",
    }


@pytest.mark.parametrize(
    ("case", "name", "status", "message"),
    [
        ("400", "BadRequestError", 400, "The temperature must be at most 2."),
        ("401", "AuthenticationError", 401, "Incorrect API key provided."),
        ("404", "NotFoundError", 404, "There is no such model."),
        ("429", "RateLimitError", 429, "Rate limit reached; try again."),
        ("429 stream", "RateLimitError", 429, "Rate limit reached; try again."),
        ("500", "InternalServerError", 500, "The server had an error."),
    ],
)
def test_errors_of_the_teacher_are_what_they_would_be_without_a_gateway(
    teacher, case, name, status, message
):
    seen = teacher["errors"][case]
    assert seen["classes"][:2] == [name, "APIStatusError"]
    assert (seen["status"], seen["request_id"]) == (status, "req_teacher")
    assert set(seen["body"]) == {"type", "message", "param", "code"}
    assert seen["body"]["message"] == message
    assert seen["body"]["param"] == ("temperature" if status == 400 else None)
    assert seen["headers"].items() >= {"retry-after": "0.05", **LIMITS}.items()


@pytest.mark.parametrize("case", ["cut", "cut stream"])
def test_an_answer_cut_half_way_is_an_error(teacher, case):
    assert teacher["errors"][case]["classes"][0] == "APIConnectionError"


def test_an_error_in_the_middle_of_a_stream_is_the_teachers(teacher):
    seen = teacher["errors"]["overloaded stream"]
    assert seen["classes"][0] == "APIError"
    assert seen["body"]["type"] == "overloaded_error"


def test_retries_reach_the_teacher_and_say_so(teacher, live):
    assert teacher["retries"] == {"429": TEACHER, "500": TEACHER, "given up": "RateLimitError"}
    for model in ("retry-429", "retry-500"):
        counts = [
            asked.headers["x-stainless-retry-count"]
            for asked in live.teacher.containing(f'"{model}"')
            if asked.headers["user-agent"].startswith("OpenAI/Python")
        ]
        assert counts == ["0", "1"]


def test_concurrent_requests_each_get_their_own_answer(teacher):
    assert teacher["concurrent"] == {
        "teacher": [TEACHER],
        "student": [STUDENT],
        "cut": "APIConnectionError",
    }


def test_responses_of_a_student(student):
    seen = student["responses"]
    assert seen["headers"]["x-openwheel-source"] == "student"
    assert seen["headers"]["x-request-id"]
    assert (seen["text"], seen["as_messages"]) == (STUDENT, STUDENT)
    assert seen["kept"] == TEACHER
    assert (seen["status"], seen["model"], seen["tokens"]) == ("completed", "big", 0)
    assert seen["parsed"] == STUDENT


def test_responses_of_a_student_streamed(student):
    seen = student["responses_stream"]
    assert seen["kinds"] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert seen["numbers"] == list(range(9))
    assert (seen["text"], seen["final"], seen["status"]) == (STUDENT, STUDENT, "completed")
    assert seen["parsed"] == STUDENT


def test_legacy_completions_of_a_student(student):
    seen = student["completions"]
    assert seen["headers"]["x-openwheel-source"] == "student"
    assert (seen["text"], seen["finish"], seen["tokens"]) == (STUDENT, "stop", 0)
    assert (seen["streamed"], seen["streamed_finish"]) == (STUDENT, "stop")
    assert (seen["unasked"], seen["usages"]) == ([], [0])


def test_it_sees_what_it_would_without_a_gateway(same_without_a_gateway):
    same_without_a_gateway("openai_sdk.py", "official")
