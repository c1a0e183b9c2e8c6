import asyncio
import json

import pytest

from openwheel.errors import TeacherError
from openwheel.teachers import HttpTeacher, asking
from openwheel.wire import APIS, Prompt, Request

ANSWER = APIS["chat"].body("4711", Request(prompt=Prompt(()), model="m"))


def ask(loopback, answer, body=b'{"model": "m"}', **options):
    async def run():
        async with (
            loopback(answer) as server,
            asking(lambda: HttpTeacher(server.url), **options) as put,
        ):
            return await put(body), server.received

    return asyncio.run(run())


def test_a_question_goes_out_as_it_is_and_the_text_comes_back(loopback, answer):
    text, received = ask(loopback, answer(200, ANSWER))
    assert text == "4711"
    assert received[0].line.startswith("POST /v1/chat/completions ")
    assert received[0].body == b'{"model": "m"}'
    assert received[0].headers["content-type"] == "application/json"


def test_a_message_of_anthropics_api_is_read_too(loopback, answer):
    message = {
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "4711"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    text, received = ask(loopback, answer(200, json.dumps(message).encode()), api="anthropic")
    assert text == "4711"
    assert received[0].line.startswith("POST /v1/messages ")


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (429, b"{}", "status 429"),
        (500, b"", "status 500"),
        (200, b"hello", "not a chat completion"),
        (200, b'{"choices": []}', "not a chat completion"),
        (200, b" " * (9 << 20), "longer than"),
    ],
)
def test_what_is_no_answer_is_an_error(loopback, answer, status, body, said):
    with pytest.raises(TeacherError, match=said):
        ask(loopback, answer(status, body))


def test_nobody_there(refusing):
    async def run():
        async with asking(lambda: HttpTeacher(refusing)) as put:
            await put(b"{}")

    with pytest.raises(TeacherError):
        asyncio.run(run())
