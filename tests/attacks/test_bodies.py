"""Bodies that cost more to read than to send: a key's limits come first, and reading has an end."""

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from attacks.bodies import ANSWERS, BODIES, MAX_BODY
from gateway.apis import ALL_PATHS, request_of
from gateway.keyed import CHAT, COMPLETION, eventually, whole
from gateway.raw import Client
from openwheel.errors import RequestError
from openwheel.gateway.reading import is_small, read_large
from openwheel.loop.serving import Decision
from openwheel.wire import APIS, DECISION_APIS, TEXT_APIS, Answer
from teacher import respond


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/embeddings"])
def test_a_used_up_key_is_refused_before_its_body_is_there(guarded, by_path, ask, path):
    running = guarded()
    _, secret = running.key(requests_per_minute=1)
    assert ask(running, "POST", path, secret, **CHAT).status == 200
    head = (
        b"POST %s HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %s\r\ncontent-length: 29000000\r\n"
    )
    with Client(int(running.url.rpartition(":")[2])) as client:
        client.send(head % (path.encode(), secret.encode()) + b"\r\n{")
        assert client.response().status == 429
    assert len(by_path.received) == 1


STREAMED = ("a stream that is a text", "a stream that is a number")
"""Of no meaning where no answer is streamed."""


OTHER_TEXTS = ("a NUL", "escapes of terminals")
"""Answers with another text than the usual one."""


@pytest.fixture
def answering(upstream):
    """Answer each API as it would."""
    said = {
        api.path: api.body(Answer("shipping"), api.read_request(request_of(name, "x")))
        for name, api in APIS.items()
    }

    async def script(asked, writer):
        writer.write(respond(said[asked.path]))

    upstream.answer = script
    return upstream


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_once_hurt(guarded, answering, http, student, caplog, name):
    hurt, threads = BODIES[name], []

    class Noted(type(student())):
        def decide(self, request, task="", key=""):
            threads.append(threading.current_thread().name)
            return super().decide(request, task)

    running = guarded(serving=Noted(), max_body=MAX_BODY)
    _, whole_key = running.key("whole")
    _, limited = running.key("limited", models=["m"])
    kept = 0
    for api, path in ALL_PATHS.items():
        if api in DECISION_APIS and name in STREAMED:
            continue
        body = hurt.make(api)
        for secret in (whole_key, limited):
            headers = {"authorization": f"Bearer {secret}"}
            response = http("POST", running.url + path, body, headers)
            forbidden = secret == limited and not hurt.names_m
            source = response.headers.get("x-openwheel-source")
            asked = [one.body for one in answering.received]
            answering.received.clear()
            if hurt.fate == "too large":
                assert (response.status, asked) == (413, [])
                assert "too_large" in response.data.decode()
            elif forbidden:
                assert (response.status, asked) == (403, [])
                assert json.loads(response.data)["error"]["type"] == "permission_error"
            elif hurt.fate == "student":
                assert (response.status, source, asked) == (200, "student", [])
            else:
                assert (response.status, source, asked) == (200, "teacher", [body])
            # What is no small matter to read is not read on the event loop; each is read once.
            read = hurt.fate in {"student", "teacher"} and not forbidden
            assert len(threads) == read
            assert all((thread == "openwheel-gateway") == is_small(body) for thread in threads)
            threads.clear()
            kept += read
    assert eventually(lambda: running.store.count() == kept) or not kept
    assert not [one for one in caplog.records if one.exc_info or one.levelname == "ERROR"]
    health = http("GET", f"{running.url}/healthz", None, {"authorization": f"Bearer {whole_key}"})
    assert json.loads(health.data)["status"] == "ok"


@pytest.mark.parametrize("name", [name for name, hurt in BODIES.items() if hurt.fate == "not read"])
def test_what_takes_long_to_read_is_not_parsed_at_all(name):
    class Counted(ThreadPoolExecutor):
        parsed = 0

        def submit(self, *args, **named):
            self.parsed += 1
            return super().submit(*args, **named)

    for api in APIS.values():
        with Counted(1) as threads, pytest.raises(RequestError):
            asyncio.run(read_large(api.read_request, BODIES[name].make(api.name), threads))
        assert threads.parsed == 0


@pytest.mark.parametrize("name", ANSWERS)
def test_a_teachers_body_that_once_hurt(guarded, upstream, http, caplog, name):
    hurt, running = ANSWERS[name], guarded()
    key, secret = running.key(budget=1e9)
    headers = {"authorization": f"Bearer {secret}"}
    for api, path in ALL_PATHS.items():
        body = hurt.make(api)
        upstream.answers(body)
        response = http("POST", running.url + path, request_of(api, "x"), headers)
        assert (response.status, response.data) == (200, body)
    running.capture.flush()
    # What is none of a question's choices is no answer to it.
    kept = TEXT_APIS if name in OTHER_TEXTS else ALL_PATHS
    assert running.store.count() == len(kept) * hurt.kept
    # What it said that it used was charged, or an estimate.
    assert running.spent(key, least=len(ALL_PATHS)).tokens < 2**62
    assert not [one for one in caplog.records if one.exc_info or one.levelname == "ERROR"]
    assert json.loads(http("GET", f"{running.url}/healthz", None, headers).data)["status"] == "ok"


def test_long_texts_are_still_read_and_captured(gateway, upstream, http):
    running = gateway()
    upstream.answer = whole(COMPLETION)
    text = "All work and no play, makes Jack a dull boy. " * 20_000
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()
    http("POST", f"{running.url}/v1/chat/completions", body)
    assert running.exchanges(1)[0].request == body


def test_others_are_served_while_a_student_looks_at_a_long_text(gateway, upstream, http, student):
    looking, seen = threading.Event(), threading.Event()

    class Slow(type(student())):
        def decide(self, request, task="", key=""):
            if len(request.prompt.messages[-1].text) > 1_000:
                looking.set()
                assert seen.wait(20)
            return Decision(reason="no task")

    running = gateway(serving=Slow())
    upstream.answer = whole(COMPLETION)
    url = f"{running.url}/v1/chat/completions"
    statuses = []

    def send(text: str) -> None:
        said = {"messages": [{"role": "user", "content": text}]}
        statuses.append(http("POST", url, json.dumps(said).encode()).status)

    long = threading.Thread(target=send, args=("long " * 4_000,))
    long.start()
    assert looking.wait(10)
    send("short")
    assert statuses == [200]
    seen.set()
    long.join()
    assert statuses == [200, 200]
