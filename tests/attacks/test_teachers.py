"""Teachers that answer as no server should: a client is told no half answer is a whole one."""

import asyncio
import http.client
import socket
import threading

import pytest

from gateway.apis import request_of
from gateway.raw import COMPLETION, Client, post
from openwheel.teachers.http_client import HttpClient, write_head

BROKEN = (http.client.IncompleteRead, ConnectionError)
JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings"])
@pytest.mark.parametrize("cut", [0, 1, len(COMPLETION) // 2])
def test_json_that_only_its_connection_ends_is_whole_or_an_error(
    gateway, upstream, http, path, cut
):
    running = gateway()
    body = COMPLETION[: len(COMPLETION) - cut]
    upstream.writes(JSON + b"\r\n" + body, close=True)
    if cut:
        with pytest.raises(BROKEN):
            http("POST", running.url + path, request_of("chat", "x"))
    else:
        assert http("POST", running.url + path, request_of("chat", "x")).data == body
    running.exchanges(int(not cut and "chat" in path))


def test_what_is_no_json_by_the_book_passes_as_it_came(gateway, upstream, http):
    running = gateway()
    for body in (b'{"a":NaN}', b"[" * 5_000 + b"]" * 5_000, b"\xff"):
        upstream.writes(JSON + b"\r\n" + body, close=True)
        assert http("POST", f"{running.url}/v1/embeddings", b'{"model":"e"}').data == body


def test_no_content_with_a_length_is_no_content(gateway, upstream):
    running = gateway()
    upstream.answer = b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n"
    with Client(int(running.url.rpartition(":")[2])) as client:
        for path in (b"/v1/chat/completions", b"/v1/embeddings"):
            client.send(post(path=path))
            line = client.file.readline()
            headers = b"".join(iter(client.file.readline, b"\r\n"))
            assert line.startswith(b"HTTP/1.1 204")
            assert b"content-length" not in headers.lower()


def test_a_connection_that_the_teacher_closed_meanwhile_is_not_used():
    """The request is not sent in vain, and so needs no second try, which may do its work twice."""
    listener = socket.create_server(("127.0.0.1", 0))
    accepted = []

    def serve() -> None:
        connection, _ = listener.accept()
        accepted.append(connection)
        connection.recv(1 << 16)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    async def ask(client) -> bytes:
        head = write_head("POST", b"/", [(b"host", b"x")], 2)
        answer = await client.request(head, b"{}")
        return b"".join([chunk async for chunk in answer])

    async def main() -> None:
        port = listener.getsockname()[1]
        client = HttpClient(
            "127.0.0.1", port, secure=False, label="t", connect_timeout=5, read_timeout=5
        )
        try:
            for number in (1, 2):
                server = threading.Thread(target=serve)
                server.start()
                assert await ask(client) == b"ok"
                server.join()
                assert len(accepted) == number
                # Without a look of the event loop in between, which would tell it.
                accepted[-1].close()
        finally:
            client.close()

    with listener:
        asyncio.run(main())


def test_a_refused_stream_of_a_client_that_reads_nothing_leaves_no_traceback(
    gateway, upstream, caplog
):
    running = gateway()
    upstream.answer = JSON + b"content-length: 4000000\r\n\r\n" + b"x" * 4_000_000
    for _ in range(5):
        with Client(int(running.url.rpartition(":")[2])) as client:
            client.send(post())
            client.file.read(100)
    assert not [one for one in caplog.records if one.exc_info]
