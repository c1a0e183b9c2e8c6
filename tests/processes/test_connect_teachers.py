"""How a judge reaches the teachers of the settings."""

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from openwheel.errors import PolicyError, TeacherError
from openwheel.processes.teachers import connect_again, connect_teachers
from openwheel.settings import PolicySection, Settings, TeacherSection


class _Yes(BaseHTTPRequestHandler):
    asked: ClassVar[list[tuple[str, dict]]] = []
    status = 200

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.asked.append((self.path, body))
        answer = {
            "model": "big",
            "choices": [
                {
                    "message": {"role": "assistant", "content": "<think>hm</think>yes"},
                    "finish_reason": "stop",
                }
            ],
        }
        content = json.dumps(answer).encode()
        self.send_response(self.status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def teacher():
    handler = type("Handler", (_Yes,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1", handler
    server.shutdown()
    server.server_close()


def ask(connect, body: bytes) -> str:
    async def once() -> str:
        async with connect() as reach:
            return await reach(body)

    return asyncio.run(once())


def test_it_asks_the_teacher_that_has_the_model_and_returns_its_final_answer(teacher):
    url, handler = teacher
    settings = Settings(teachers=(TeacherSection(url=url),))
    connect = connect_teachers(settings)
    assert ask(connect, b'{"model": "big", "messages": []}') == "yes"
    assert handler.asked == [("/v1/chat/completions", {"model": "big", "messages": []})]


def test_what_is_no_answer_is_an_error_that_names_the_status(teacher):
    url, handler = teacher
    handler.status = 500
    connect = connect_teachers(Settings(teachers=(TeacherSection(url=url),)))
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
    url, handler = teacher
    connect = connect_again(Settings(teachers=(TeacherSection(url=url, name="gpu"),)))
    body = b'{"model": "big", "messages": [], "temperature": 1.0, "stream": true}'
    reply, name = ask_again(connect, "chat", body)
    assert (reply.answer.final, reply.model, name) == ("yes", "big", "gpu")
    assert handler.asked == [
        ("/v1/chat/completions", {"model": "big", "messages": [], "temperature": 1.0})
    ]
    with pytest.raises(TeacherError):  # this server answers as chat completions do
        ask_again(connect, "responses", b'{"model": "big", "input": "hello"}')
    assert handler.asked[-1][0] == "/v1/responses"


def test_what_the_policy_forbids_is_not_asked_again(teacher):
    url, handler = teacher
    section = TeacherSection(url=url, jurisdiction="US")
    policy = PolicySection(jurisdictions=("EU",))
    connect = connect_again(Settings(teachers=(section,), policy=policy))
    with pytest.raises(PolicyError, match="US"):
        ask_again(connect, "chat", b'{"model": "big", "messages": []}')
    assert handler.asked == []
