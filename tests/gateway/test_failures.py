"""A failure is seen by the client as what it is, and never as an answer."""

import asyncio
import http.client
import json
import socket
import threading
import time
from urllib.parse import urlsplit

import openai
import pytest
from openai import OpenAI

from gateway.holding import eventually
from openwheel.teachers import HttpTeacher
from teacher import silent

MESSAGES = [{"role": "user", "content": "hello"}]
CHUNK = (
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[%s]}\n\n'
)
PART = CHUNK % b'{"index":0,"delta":{"role":"assistant","content":"hal"},"finish_reason":null}'
LAST = CHUNK % b'{"index":0,"delta":{},"finish_reason":"stop"}'
COMPLETION = b'{"choices":[{"index":0,"message":{"content":"yes"},"finish_reason":"stop"}]}'


@pytest.fixture
def sdk():
    clients = []

    def make(running):
        clients.append(OpenAI(base_url=f"{running.url}/v1", api_key="x", max_retries=0, timeout=10))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def health(http, running):
    return json.loads(http("GET", f"{running.url}/healthz").data)


def test_dead_teacher_is_a_502(gateway, sdk, http):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, never listening: nobody else takes the port
        port = unused.getsockname()[1]
        running = gateway(HttpTeacher(f"http://127.0.0.1:{port}/v1"))
        with pytest.raises(openai.InternalServerError) as caught:
            sdk(running).chat.completions.create(model="m", messages=MESSAGES)
        assert caught.value.status_code == 502
        assert caught.value.code == "teacher_unreachable"
        assert f"127.0.0.1:{port}" in caught.value.message
        assert http("GET", f"{running.url}/v1/models").status == 502
    assert health(http, running)["requests"]["teacher_errors"] == 2
    running.exchanges(0)


def test_silent_teacher_is_a_504(gateway, upstream, sdk):
    upstream.answer = silent
    running = gateway(HttpTeacher(upstream.url, read_timeout=0.2))
    with pytest.raises(openai.InternalServerError) as caught:
        sdk(running).chat.completions.create(model="m", messages=MESSAGES)
    assert caught.value.status_code == 504


@pytest.mark.parametrize(
    "raw", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b"\x00" * 100_000]
)
def test_garbage_instead_of_a_head_is_a_502(gateway, upstream, sdk, raw):
    upstream.writes(raw, close=True)
    with pytest.raises(openai.InternalServerError) as caught:
        sdk(gateway()).chat.completions.create(model="m", messages=MESSAGES)
    assert caught.value.status_code == 502


def test_key_and_password_never_show(gateway, http, monkeypatch):
    monkeypatch.setenv("KEY", "sk-secret")
    teacher = HttpTeacher("http://127.0.0.1:1/v1", key_env="KEY")
    running = gateway(teacher)
    body = json.dumps({"messages": MESSAGES}).encode()
    response = http("POST", f"{running.url}/v1/chat/completions", body)
    assert response.status == 502
    assert b"sk-secret" not in response.data
    assert "sk-secret" not in repr(teacher)


@pytest.mark.parametrize("way", ["chunked", "length", "by close"])
def test_stream_that_breaks_is_an_error(gateway, upstream, sdk, caplog, way):
    head = {
        "chunked": upstream.stream_head,
        "length": b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
        b"content-length: 999\r\n\r\n",
        "by close": b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n",
    }[way]
    upstream.writes(head + (upstream.chunked(PART) if way == "chunked" else PART), close=True)
    running = gateway()
    stream = sdk(running).chat.completions.create(model="m", messages=MESSAGES, stream=True)
    got = []

    def read():
        for chunk in stream:
            got.append(chunk.choices[0].delta.content)

    with stream, pytest.raises(openai.APIConnectionError):
        read()
    assert got == ["hal"]
    running.exchanges(0)
    [record] = caplog.records
    assert record.exc_info is None
    assert record.levelname == "WARNING"


def test_stream_that_ends_by_closing_is_whole(gateway, upstream, sdk):
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    upstream.writes(head + PART + LAST + b"data: [DONE]\n\n", close=True)
    running = gateway()
    with sdk(running).chat.completions.create(model="m", messages=MESSAGES, stream=True) as stream:
        assert len(list(stream)) == 2
    assert running.exchanges(1)[0].answer.text == "hal"


@pytest.mark.parametrize("whole", [True, False])
def test_who_leaves_after_the_last_event_has_had_a_whole_answer(gateway, upstream, http, whole):
    left = threading.Event()

    async def script(_, writer):
        events = [PART, LAST, b"data: [DONE]\n\n"] if whole else [PART, LAST]
        writer.write(upstream.stream_head + b"".join(upstream.chunked(one) for one in events))
        await writer.drain()
        await asyncio.to_thread(left.wait, 10)  # what ends the response is late

    upstream.answer = script
    running = gateway()
    address = urlsplit(running.url)
    body = json.dumps({"model": "m", "messages": MESSAGES, "stream": True}).encode()
    with socket.create_connection((address.hostname, address.port), timeout=10) as client:
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%s" % (len(body), body)
        )
        seen = b""
        while (b"[DONE]" if whole else b'"stop"') not in seen:
            seen += client.recv(1 << 16)
    assert eventually(lambda: health(http, running)["requests"]["cancelled"] == 1)
    left.set()
    assert [one.answer.text for one in running.exchanges(int(whole))] == ["hal"] * whole


def test_body_that_breaks_is_an_error(gateway, upstream, sdk):
    upstream.writes(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n" + COMPLETION, close=True)
    running = gateway()
    with pytest.raises(openai.APIConnectionError):
        sdk(running).chat.completions.create(model="m", messages=MESSAGES)
    running.exchanges(0)


def test_error_event_in_a_stream_passes_and_is_not_captured(gateway, upstream, sdk, http):
    event = b'data: {"error": {"message": "overloaded", "code": 503}}\n\n'
    upstream.writes(upstream.stream_head + upstream.chunked(PART + event) + b"0\r\n\r\n")
    running = gateway()
    stream = sdk(running).chat.completions.create(model="m", messages=MESSAGES, stream=True)
    with stream, pytest.raises(openai.APIError, match="overloaded"):
        list(stream)
    running.exchanges(0)
    assert health(http, running)["requests"]["uncaptured"] == 1


@pytest.mark.parametrize("begun", [False, True])
def test_client_that_goes_away_cancels_the_teacher(gateway, upstream, http, begun):
    async def script(_, writer):
        if begun:
            writer.write(upstream.stream_head + upstream.chunked(PART))
        await asyncio.sleep(30)

    upstream.answer = script
    running = gateway()
    with socket.create_connection(("127.0.0.1", int(running.url.rpartition(":")[2]))) as client:
        body = json.dumps({"messages": MESSAGES, "stream": True}).encode()
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
            % len(body)
        )
        client.sendall(body)
        if begun:
            assert client.recv(1000).startswith(b"HTTP/1.1 200")
        while not upstream.received:
            time.sleep(0.01)
    assert upstream.disconnected.wait(2)
    deadline = time.monotonic() + 2
    while not health(http, running)["requests"]["cancelled"] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert health(http, running)["requests"]["cancelled"] == 1
    running.exchanges(0)


def test_too_large_a_body_is_a_413(gateway, http, upstream):
    running = gateway(max_body=1000)
    for path in ("/v1/chat/completions", "/v1/embeddings"):
        response = http("POST", running.url + path, b"x" * 1001)
        assert response.status == 413
        assert json.loads(response.data)["error"]["code"] == "request_too_large"
    connection = http_connection(running)
    connection.request("POST", "/v1/embeddings", iter([b"x" * 600] * 3), {}, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()
    assert not upstream.received


def test_a_huge_body_is_read_past_so_that_its_client_sees_the_413(gateway, http, upstream):
    response = http("POST", f"{gateway().url}/v1/chat/completions", b"x" * (33 << 20))
    assert response.status == 413
    assert not upstream.received


@pytest.mark.parametrize("value", [b"\xe9", "é".encode(), b"\x01", b"\x7f", b"", b"a\tb"])
def test_no_header_value_is_a_500(gateway, upstream, value):
    upstream.answers(COMPLETION)
    port = int(gateway().url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as client:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-openwheel-task: %s\r\n"
        body = b'{"messages":[{"role":"user","content":"x"}]}'
        rest = b"x-odd: %s\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s"
        client.sendall(head % value + rest % (value, len(body), body))
        assert client.recv(12) in {b"HTTP/1.1 200", b"HTTP/1.1 400"}


@pytest.mark.parametrize("value", ["\x01", "\x7f", "\xe9", "a\tb"])
def test_no_header_of_the_teacher_is_a_500(gateway, upstream, http, value):
    upstream.answers(COMPLETION, head=f"x-odd: {value}")
    body = b'{"messages":[{"role":"user","content":"x"}]}'
    response = http("POST", f"{gateway().url}/v1/chat/completions", body)
    assert response.status in {200, 502}


def http_connection(running):
    return http.client.HTTPConnection(running.url.removeprefix("http://"), timeout=10)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/chat/completions", 405),
        ("DELETE", "/v1/chat/completions", 405),
        ("POST", "/healthz", 405),
        ("GET", "/", 404),
        ("POST", "/chat/unknown", 404),
        ("GET", "/v1", 404),
    ],
)
def test_wrong_paths_and_methods(gateway, http, method, path, status):
    response = http(method, gateway().url + path)
    assert response.status == status
    error = json.loads(response.data)["error"]
    assert error["type"] == "invalid_request_error"
    assert (status == 405) == ("allow" in response.headers)


def test_failing_store_fails_no_request(gateway, upstream, sdk, http):
    upstream.answers(COMPLETION)
    running = gateway()
    running.store.failing = True
    client = sdk(running)
    for _ in range(3):
        client.chat.completions.create(model="m", messages=MESSAGES)
    deadline = time.monotonic() + 2
    while not health(http, running)["capture"]["failed"] and time.monotonic() < deadline:
        time.sleep(0.01)
    report = health(http, running)
    assert report["status"] == "degraded"
    assert report["capture"]["error"] == "the disk is full"
    assert report["capture"]["queued"] == 3
    running.store.failing = False
    running.exchanges(3)
    assert health(http, running)["status"] == "ok"
