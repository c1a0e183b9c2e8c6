"""The official openai SDK, unchanged, against the gateway."""

import json

import openai
import pytest
from openai import OpenAI

from openwheel.store.exchange import Exchange
from openwheel.teachers import RecordedTeacher
from openwheel.wire import Answer, ToolCall, Usage

ROUTE = [{"role": "system", "content": "Route."}, {"role": "user", "content": "where is it?"}]
CALL = [{"role": "user", "content": "call it"}]
REFUND = [{"role": "system", "content": "Route."}, {"role": "user", "content": "a refund please"}]


@pytest.fixture
def teacher():
    def exchange(messages, answer, usage=None):
        request = json.dumps({"model": "big", "messages": messages}).encode()
        return Exchange(
            id=str(messages),
            request=request,
            answer=answer,
            source="log",
            model="big-2026",
            usage=usage,
        )

    tool = Answer("", (ToolCall("find", '{"id": 7}'),), "tool_calls")
    return RecordedTeacher(
        [exchange(ROUTE, Answer("shipping"), Usage(12, 3)), exchange(CALL, tool)]
    )


@pytest.fixture
def serve(gateway, teacher):
    clients = []

    def start(serving=None):
        running = gateway(teacher, serving)
        client = OpenAI(base_url=f"{running.url}/v1", api_key="x", max_retries=0)
        clients.append(client)
        return running, client

    yield start
    for client in clients:
        client.close()


def test_teacher_answers(serve):
    running, client = serve()
    raw = client.chat.completions.with_raw_response.create(model="big", messages=ROUTE)
    completion = raw.parse()
    assert completion.choices[0].message.content == "shipping"
    assert completion.choices[0].finish_reason == "stop"
    assert completion.model == "big-2026"
    assert completion.usage.total_tokens == 15
    assert raw.headers["x-openwheel-source"] == "teacher"
    [exchange] = running.exchanges(1)
    assert (exchange.source, exchange.model, exchange.usage) == (
        "teacher",
        "big-2026",
        Usage(12, 3),
    )


@pytest.mark.parametrize("include_usage", [True, False, None])
@pytest.mark.parametrize(("messages", "text"), [(ROUTE, "shipping"), (REFUND, "billing")])
def test_streams_of_teacher_and_student(serve, student, include_usage, messages, text):
    running, client = serve(student())
    options = {} if include_usage is None else {"stream_options": {"include_usage": include_usage}}
    with client.chat.completions.create(
        model="big", messages=messages, stream=True, **options
    ) as stream:
        chunks = list(stream)
    with_choices = [chunk for chunk in chunks if chunk.choices]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in with_choices) == text
    assert with_choices[0].choices[0].delta.role == "assistant"
    assert with_choices[-1].choices[0].finish_reason == "stop"
    assert len({chunk.id for chunk in chunks}) == 1
    usages = [chunk.usage for chunk in chunks if chunk.usage]
    assert len(usages) == (1 if include_usage else 0)
    assert running.exchanges(1)[0].answer == Answer(text)


def test_student_answers(serve, student):
    running, client = serve(student())
    raw = client.chat.completions.with_raw_response.create(model="big", messages=REFUND)
    completion = raw.parse()
    assert completion.choices[0].message.content == "billing"
    assert completion.model == "big"
    assert completion.usage.total_tokens == 0
    assert raw.headers["x-openwheel-source"] == "student"
    assert raw.headers["x-openwheel-task"] == "route"
    assert raw.headers["x-openwheel-confidence"] == "0.9877"
    [exchange] = running.exchanges(1)
    assert completion._request_id == exchange.id
    assert exchange.source == "student"


def test_tool_calls_of_the_teacher_pass(serve):
    running, client = serve()
    completion = client.chat.completions.create(model="big", messages=CALL)
    call = completion.choices[0].message.tool_calls[0]
    assert (call.function.name, call.function.arguments) == ("find", '{"id": 7}')
    with client.chat.completions.stream(model="big", messages=CALL) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.tool_calls[0].function.arguments == '{"id": 7}'
    first, second = running.exchanges(2)
    assert first.answer == second.answer


def test_models(serve):
    _, client = serve()
    assert [model.id for model in client.models.list()] == ["big-2026"]


def test_request_the_recording_does_not_have(serve):
    running, client = serve()
    with pytest.raises(openai.NotFoundError, match="no answer for this request"):
        client.chat.completions.create(
            model="big", messages=[{"role": "user", "content": "something else"}]
        )
    running.exchanges(0)


def test_bad_request_is_the_teachers_to_refuse(serve):
    running, client = serve()
    with pytest.raises(openai.BadRequestError, match="no messages"):
        client.chat.completions.create(model="big", messages=[])
    running.exchanges(0)
