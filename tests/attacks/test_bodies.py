"""Bodies that cost more to read than to send: a key's limits come first, and reading has an end."""

import json
import threading

import pytest

from gateway.keyed import CHAT, COMPLETION, whole
from gateway.raw import Client
from openwheel.errors import RequestError
from openwheel.gateway.reading import LARGEST_READ, MOST_VALUES
from openwheel.loop.serving import Decision
from openwheel.wire import APIS

SAID = b'{"model":"m","messages":[{"role":"user","content":"x"}],'
MANY = MOST_VALUES + 1
SHAPES = {
    "keys": SAID + b",".join(b'"k%d":1' % number for number in range(MANY)) + b"}",
    "nested keys": SAID + b'"x":{' + b",".join(b'"%d":1' % one for one in range(MANY)) + b"}}",
    "empty objects": SAID + b'"x":[' + b"{}," * MANY + b"{}]}",
    "empty arrays": SAID + b'"x":[' + b"[]," * MANY + b"[]]}",
    "tools": SAID + b'"tools":[' + b"{}," * MANY + b"{}]}",
    "messages": b'{"model":"m","messages":[' + b'{"role":"u"},' * MANY + b'{"role":"u"}]}',
    "text": SAID + b'"user":"' + b"x" * LARGEST_READ + b'"}',
}


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


@pytest.mark.parametrize("shape", SHAPES)
def test_what_takes_long_to_read_is_passed_on_and_not_read(gateway, upstream, http, shape, student):
    read = []

    class Noted(type(student())):
        def decide(self, request, task=""):
            read.append(request)
            return super().decide(request, task)

    running = gateway(serving=Noted())
    upstream.answer = whole(COMPLETION)
    response = http("POST", f"{running.url}/v1/chat/completions", SHAPES[shape])
    assert response.status == 200
    assert upstream.received[0].body == SHAPES[shape]
    assert not read
    assert running.exchanges(0) == []


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
        def decide(self, request, task=""):
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


@pytest.mark.parametrize("api", APIS)
def test_deep_nesting_is_no_request(api):
    for deep in (b"[" * 5_000 + b"]" * 5_000, b'{"a":' * 5_000 + b"1" + b"}" * 5_000):
        with pytest.raises(RequestError):
            APIS[api].read_request(SAID + b'"tools":' + deep + b"}")
