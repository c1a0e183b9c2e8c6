"""How a judge reaches the teachers of the settings."""

import asyncio
import json

import pytest

from openwheel.errors import PolicyError, TeacherError
from openwheel.processes.teachers import connect_again, connect_teachers
from openwheel.settings import PolicySection, Settings, TeacherSection
from teacher import Teacher, respond

MESSAGE = {"role": "assistant", "content": "<think>hm</think>yes"}
REPLY = json.dumps({"model": "big", "choices": [{"message": MESSAGE, "finish_reason": "stop"}]})


@pytest.fixture
def teacher():
    with Teacher(respond(REPLY.encode())) as teacher:
        yield teacher


def asked_of(teacher: Teacher) -> list[tuple[str, dict]]:
    return [(asked.path, json.loads(asked.body)) for asked in teacher.received]


def ask(connect, body: bytes) -> str:
    async def once() -> str:
        async with connect() as reach:
            return await reach(body)

    return asyncio.run(once())


def test_it_asks_the_teacher_that_has_the_model_and_returns_its_final_answer(teacher):
    settings = Settings(teachers=(TeacherSection(url=teacher.url),))
    connect = connect_teachers(settings)
    assert ask(connect, b'{"model": "big", "messages": []}') == "yes"
    assert asked_of(teacher) == [("/v1/chat/completions", {"model": "big", "messages": []})]


def test_what_is_no_answer_is_an_error_that_names_the_status(teacher):
    teacher.answers(REPLY.encode(), status=500)
    connect = connect_teachers(Settings(teachers=(TeacherSection(url=teacher.url),)))
    with pytest.raises(TeacherError, match="500"):
        ask(connect, b'{"model": "big", "messages": []}')


def test_a_recording_cannot_judge(tmp_path):
    settings = Settings(teachers=(TeacherSection(url=f"replay:{tmp_path / 'log.jsonl'}"),))
    assert connect_teachers(settings) is None
    assert connect_teachers(Settings()) is None
    assert connect_again(settings) is None
    assert connect_again(Settings()) is None


def ask_again(connect, api: str, body: bytes):
    async def once():
        async with connect() as reach:
            return await reach(api, body)

    return asyncio.run(once())


def test_what_is_asked_again_goes_as_it_was_but_for_the_stream(teacher):
    connect = connect_again(Settings(teachers=(TeacherSection(url=teacher.url, name="gpu"),)))
    body = b'{"model": "big", "messages": [], "temperature": 1.0, "stream": true}'
    reply, name = ask_again(connect, "chat", body)
    assert (reply.answer.final, reply.model, name) == ("yes", "big", "gpu")
    assert asked_of(teacher) == [
        ("/v1/chat/completions", {"model": "big", "messages": [], "temperature": 1.0})
    ]
    with pytest.raises(TeacherError):  # this server answers as chat completions do
        ask_again(connect, "responses", b'{"model": "big", "input": "hello"}')
    assert asked_of(teacher)[-1][0] == "/v1/responses"


def test_what_the_policy_forbids_is_not_asked_again(teacher):
    section = TeacherSection(url=teacher.url, jurisdiction="US")
    policy = PolicySection(jurisdictions=("EU",))
    connect = connect_again(Settings(teachers=(section,), policy=policy))
    with pytest.raises(PolicyError, match="US"):
        ask_again(connect, "chat", b'{"model": "big", "messages": []}')
    assert asked_of(teacher) == []
