import asyncio
import json
import time

import pytest

from openwheel.store.exchange import Exchange
from openwheel.teachers import RecordedTeacher, TeacherRequest
from openwheel.wire import TEXT_APIS, Answer, Usage, read_reply, read_reply_stream, sse_data


def request(text="x", **fields):
    return json.dumps({"messages": [{"role": "user", "content": text}], **fields}).encode()


def exchange(text, answer, **fields):
    settings = {"source": "log", "model": "rec-1", "request": request(text), **fields}
    return Exchange(id=f"{text}{answer}", answer=Answer(answer), **settings)


def ask(teacher, body, path="/v1/chat/completions", method="POST"):
    async def send():
        response = await teacher.send(TeacherRequest(method, path, [], body))
        return response, b"".join([chunk async for chunk in response.chunks])

    return asyncio.run(send())


def test_answers_recorded_for_one_request_come_in_turn():
    teacher = RecordedTeacher([exchange("x", "1"), exchange("y", "other"), exchange("x", "2")])
    answers = [read_reply(ask(teacher, request())[1]).answer.text for _ in range(5)]
    assert answers == ["1", "2", "1", "2", "1"]


def test_streamed_or_not_whichever_way_it_was_recorded():
    recorded = exchange("x", "1", request=request(stream=True), usage=Usage(5, 1))
    teacher = RecordedTeacher([recorded])
    response, body = ask(teacher, request(model="m"))
    reply = read_reply(body)
    assert (reply.answer, reply.model, reply.usage) == (Answer("1"), "rec-1", Usage(5, 1))
    assert (b"content-length", str(len(body)).encode()) in response.headers
    asked = request(stream=True, stream_options={"include_usage": True})
    response, body = ask(teacher, asked)
    assert read_reply_stream(sse_data(body)) == reply
    assert response.headers == [(b"content-type", b"text/event-stream; charset=utf-8")]


def test_a_recording_without_model_names_the_one_asked_for():
    teacher = RecordedTeacher([exchange("x", "1", model="")])
    assert read_reply(ask(teacher, request(model="asked"))[1]).model == "asked"
    assert json.loads(ask(teacher, b"", "/v1/models", "GET")[1])["data"] == []


@pytest.mark.parametrize(
    ("body", "path", "method", "status", "message"),
    [
        (request("z"), "/v1/chat/completions", "POST", 404, "no answer for this request"),
        (request("x", tools=[{"a": 1}]), "/v1/chat/completions", "POST", 404, "no answer"),
        (request("x", n=2), "/v1/chat/completions", "POST", 404, "no answer"),
        (b"{}", "/v1/chat/completions", "POST", 400, "not a chat completion request"),
        (b"", "/v1/embeddings", "POST", 404, "POST /v1/embeddings"),
        (b"", "/v1/models", "DELETE", 404, "DELETE /v1/models"),
    ],
)
def test_what_the_recording_does_not_have(body, path, method, status, message):
    response, answer = ask(RecordedTeacher([exchange("x", "1")]), body, path, method)
    assert response.status == status
    assert message in json.loads(answer)["error"]["message"]


def test_what_students_answered_is_left_out():
    teacher = RecordedTeacher([exchange("x", "student's", source="student")])
    assert ask(teacher, request())[0].status == 404


def test_requests_that_differ_in_an_image_are_told_apart():
    def with_image(url):
        parts = [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": url}]
        return request(parts)

    teacher = RecordedTeacher(
        [
            exchange("a", "cat", request=with_image("cat.png")),
            exchange("b", "dog", request=with_image("dog.png")),
        ]
    )
    assert read_reply(ask(teacher, with_image("dog.png"))[1]).answer.text == "dog"
    assert ask(teacher, with_image("cow.png"))[0].status == 404


def test_pace_sleeps_a_multiple_of_the_recorded_latency():
    teacher = RecordedTeacher([exchange("x", "1", latency_ms=2000)], pace=0.1)
    began = time.perf_counter()
    ask(teacher, request())
    assert 0.2 <= time.perf_counter() - began < 2


def test_each_api_is_answered_in_its_own_shape():
    for api in TEXT_APIS.values():
        asked = {
            "chat": {"messages": [{"role": "user", "content": "x"}]},
            "completions": {"prompt": "x"},
            "responses": {"input": "x"},
            "messages": {"messages": [{"role": "user", "content": "x"}], "max_tokens": 9},
        }[api.name]
        body = json.dumps({"model": "m", **asked}).encode()
        teacher = RecordedTeacher([exchange("x", "1", request=body, api=api.name)])
        response, answer = ask(teacher, body, api.path)
        assert (response.status, response.teacher) == (200, "recording")
        assert api.read_reply(answer).answer.text == "1"
        for other in TEXT_APIS.values():
            if other is not api:
                assert ask(teacher, body, other.path)[0].status in {400, 404}


def test_an_exchange_of_another_api_breaks_nothing():
    for name, body in (
        ("messages", b'{"max_tokens":1,"messages":[{"role":"user","content":"x"}]}'),
        ("responses", b'{"input":"x"}'),
        ("completions", b'{"prompt":"x"}'),
    ):
        teacher = RecordedTeacher([exchange("y", "2", request=body, api=name), exchange("x", "1")])
        assert read_reply(ask(teacher, request())[1]).answer.text == "1"
