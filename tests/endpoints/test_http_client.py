"""The client against servers that write every byte themselves, on both event loops."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest
import uvloop

from openwheel.endpoints import HttpTeacher, TeacherTimeoutError
from openwheel.endpoints.http_client import HttpClient, write_head
from openwheel.errors import TeacherError

# Self-signed, for 127.0.0.1, until 2126; it stands for nothing else.
CERTIFICATE = Path(__file__).with_name("loopback.crt")
KEY = Path(__file__).with_name("loopback.key")
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\n"

Serve = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Host:
    """Answers each request with some bytes, or by a function; it reads bodies only if told to."""

    answer: bytes | Serve
    read_bodies: bool = True
    tls: ssl.SSLContext | None = None
    heads: list[bytes] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    async def __aenter__(self) -> Self:
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", 0, ssl=self.tls, backlog=256
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self.writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.current_task())
        self.writers.append(writer)
        # Cancelled is what it is at the end, of which asyncio's streams would complain.
        gone = (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError)
        with contextlib.suppress(*gone):
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                if self.read_bodies and b"content-length: " in head:
                    length = head.split(b"content-length: ")[1].split(b"\r\n")[0]
                    await reader.readexactly(int(length))
                if isinstance(self.answer, bytes):
                    writer.write(self.answer)
                else:
                    await self.answer(head, writer)
                if not self.read_bodies:
                    await asyncio.Event().wait()
        self.left.set()

    def client(self, **settings) -> "contextlib.closing[HttpClient]":
        settings = {
            "secure": False,
            "label": "the-host",
            "connect_timeout": 5,
            "read_timeout": 5,
            **settings,
        }
        return contextlib.closing(HttpClient("127.0.0.1", self.port, **settings))


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request):
    """Run a coroutine; whatever the event loop complains of fails the test."""
    complaints = []

    async def watched(main):
        asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
        async with asyncio.timeout(20):
            return await main

    def run(main):
        with asyncio.Runner(loop_factory=request.param) as runner:
            result = runner.run(watched(main))
        assert not complaints
        return result

    return run


async def ask(client, method="POST", body=b"{}", path=b"/v1/x"):
    head = write_head(method, path, [(b"host", b"the-host")], len(body))
    return await client.request(head, body, bodiless=method == "HEAD")


async def whole(answer):
    return b"".join([chunk async for chunk in answer])


async def fetch(client, *args, **settings):
    return await whole(await ask(client, *args, **settings))


async def closed(writer, left):
    """Write what is left to write, and end the connection in order."""
    writer.write(left)
    await writer.drain()
    writer.close()


async def turn():
    """Let what has been sent arrive."""
    await asyncio.sleep(0.05)


def reset(writer):
    """End the connection as a process that dies does."""
    writer.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    writer.transport.abort()


def connections_for_two(run, answer, *, method="POST", between=None, **settings):
    """Ask twice, and return how many connections that took, and the two bodies."""

    async def main():
        async with Host(answer) as host:
            with host.client(**settings) as client:
                first = await fetch(client, method)
                await (between(host) if between else turn())
                second = await fetch(client, method)
                return len(host.writers), first, second

    return run(main())


@pytest.mark.parametrize(
    "answer",
    [
        WHOLE,
        CHUNKED + b"2\r\n{}\r\n0\r\n\r\n",
        CHUNKED + b"1;a=b\r\n{\r\n1;c\r\n}\r\n0;d\r\nx-sum: 1\r\nx-more: 2\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE,
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + WHOLE,
        b"HTTP/1.1 200\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
def test_connections_are_used_again(run, answer):
    assert connections_for_two(run, answer) == (1, b"{}", b"{}")


@pytest.mark.parametrize(
    ("answer", "method", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}", "POST", b"{}"),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}", "POST", b"{}"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", "HEAD", b""),
        (b"HTTP/1.1 200 OK\r\n\r\n", "HEAD", b""),
        (WHOLE + WHOLE, "POST", b"{}"),
        (WHOLE + b"more", "POST", b"{}"),
    ],
)
def test_connections_are_not_used_again(run, answer, method, body):
    assert connections_for_two(run, answer, method=method) == (2, body, body)


def test_bytes_that_nobody_asked_for_close_an_idle_connection(run):
    async def between(host):
        host.writers[0].write(WHOLE)
        await host.left.wait()

    assert connections_for_two(run, WHOLE, between=between)[0] == 2


def test_an_idle_connection_that_the_host_closed_is_not_used(run):
    async def between(host):
        host.writers[0].close()
        await turn()

    assert connections_for_two(run, WHOLE, between=between)[0] == 2


def test_a_connection_idle_for_too_long_is_closed_and_not_used(run):
    async def between(host):
        await host.left.wait()

    assert connections_for_two(run, WHOLE, between=between, keep_idle=0.05)[0] == 2


def test_idle_connections_are_closed_after_the_client_was_closed_and_used_again(run):
    async def main():
        async with Host(WHOLE) as host:
            with host.client(keep_idle=0.05) as client:
                await fetch(client)
                client.close()
                await host.left.wait()
                host.left.clear()
                await fetch(client)
                await host.left.wait()

    run(main())


@pytest.mark.parametrize("secure", [False, True])
def test_an_answer_before_the_request_was_sent_whole_ends_the_connection(
    run, secure, server_tls, monkeypatch
):
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))

    async def main():
        tls = server_tls if secure else None
        async with Host(WHOLE, read_bodies=False, tls=tls) as host:
            with host.client(secure=secure) as client:
                for _ in range(2):
                    assert await fetch(client, body=bytes(50_000_000)) == b"{}"
                assert len(host.writers) == 2

    run(main())


def test_a_large_request_arrives_whole(run):
    body = b"".join(b"%07d " % number for number in range(500_000))

    async def main():
        async def echo(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            received = await reader.readexactly(len(body))
            await closed(writer, HEAD + b"content-length: %d\r\n\r\n" % len(body) + received)

        server = await asyncio.start_server(echo, "127.0.0.1", 0, limit=1 << 23)
        host = Host(b"", port=server.sockets[0].getsockname()[1])
        with host.client() as client:
            assert await fetch(client, body=body) == body
        server.close()

    run(main())


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\netag: a\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\ncontent-length: 10\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n",
    ],
)
def test_statuses_that_have_no_body(run, head):
    assert connections_for_two(run, head)[1:] == (b"", b"")


async def read_into(got, client):
    async for chunk in await ask(client):
        got.append(chunk)


def failure(run, answer, **settings):
    """Return the message of the error that an answer ends in, and what came before it."""

    async def main():
        got = []
        async with Host(answer) as host:
            with host.client(**settings) as client:
                with pytest.raises(TeacherError) as caught:
                    await read_into(got, client)
                return str(caught.value), b"".join(got), caught.type

    return run(main())


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
            "switch",
        ),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "switch"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "not HTTP"),
        (b"GET / HTTP/1.1\r\n\r\n", "not HTTP"),
        (HEAD + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}", "not HTTP"),
        (HEAD + b"x: " + b"y" * 2_000_000, "headers have no end"),
        (HEAD + b"x: y\r\n" * 200_000, "headers have no end"),
        (b"HTTP/1.1 200 " + b"y" * 2_000_000, "headers have no end"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 50_000, "headers have no end"),
        (CHUNKED + b"0\r\n" + b"x: y\r\n" * 200_000, "headers have no end"),
        (CHUNKED + b"1;" + b"x" * 2_000_000, "headers have no end"),
        (CHUNKED + b"no number\r\n", "not HTTP"),
    ],
)
def test_what_is_not_an_answer(run, answer, why):
    message, got, _ = failure(run, answer)
    assert message.startswith("The teacher at the-host broke off: ")
    assert why in message
    assert got == b""


@pytest.mark.parametrize(
    ("sent", "got"),
    [
        (b"", b""),
        (b"HTTP/1.1 200 O", b""),
        (HEAD + b"content-length: 5\r\n\r\nabc", b"abc"),
        (CHUNKED + b"3\r\nabc\r\n", b"abc"),
        (CHUNKED + b"3\r\nabc\r\n0\r\n", b"abc"),
    ],
)
@pytest.mark.parametrize("how", ["closed", "reset"])
def test_answers_cut_short(run, sent, got, how):
    async def answer(_, writer):
        writer.write(sent)
        await turn()
        if how == "reset":
            reset(writer)
        else:
            writer.close()

    message, came, _ = failure(run, answer)
    assert came == got
    reasons = {"closed": "the connection closed", "reset": "Connection reset by peer"}
    assert message == f"The teacher at the-host broke off: {reasons[how]}"


def test_a_body_may_end_with_its_connection(run):
    async def answer(_, writer):
        writer.write(HEAD + b"\r\nabc")
        await turn()
        await closed(writer, b"def")

    async def main():
        async with Host(answer) as host:
            with host.client() as client:
                first = await ask(client)
                assert not first.delimited
                assert await whole(first) == b"abcdef"

    run(main())


def test_a_body_that_ends_with_its_connection_is_not_whole_after_a_reset(run):
    async def answer(_, writer):
        writer.write(HEAD + b"\r\nabc")
        await turn()
        reset(writer)

    message, came, _ = failure(run, answer)
    assert came == b"abc"
    assert "Connection reset by peer" in message


def test_a_body_that_ends_with_its_connection_is_not_whole_when_the_client_closes(run):
    async def main():
        async with Host(HEAD + b"\r\nabc") as host:
            with host.client() as client:
                answer = await ask(client)
                assert await anext(answer) == b"abc"
                client.close()
                with pytest.raises(TeacherError, match="broke off"):
                    await anext(answer)

    run(main())


@pytest.mark.parametrize("size", [1, 7])
def test_answers_may_come_in_any_pieces(run, size):
    sent = (
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
        b"HTTP/1.1 203 So So\r\nX-One: first\r\nx-empty:\r\nX-One:  second \r\n"
        b"x-raw: \xff\xe9 caf\xc3\xa9\r\ntransfer-encoding: chunked\r\n\r\n"
        b"3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nx-sum: 1\r\n\r\n"
    )

    async def answer(_, writer):
        for start in range(0, len(sent), size):
            writer.write(sent[start : start + size])
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    async def main():
        async with Host(answer) as host:
            with host.client() as client:
                answered = await ask(client)
                assert answered.status == 203
                assert await whole(answered) == b"abcde"
                assert answered.headers == [
                    (b"X-One", b"first"),
                    (b"x-empty", b""),
                    (b"X-One", b"second"),
                    (b"x-raw", b"\xff\xe9 caf\xc3\xa9"),
                    (b"transfer-encoding", b"chunked"),
                ]

    run(main())


@pytest.mark.parametrize(
    ("sent", "got"), [(b"", b""), (HEAD, b""), (CHUNKED + b"3\r\nabc\r\n", b"abc")]
)
def test_a_host_that_says_no_more(run, sent, got):
    message, came, kind = failure(run, sent, read_timeout=0.1)
    assert (message, came) == ("The teacher at the-host did not answer in time", got)
    assert kind is TeacherTimeoutError


def serve_megabytes(count):
    """Serve a body of a known length, and count the MiB of it that could be sent."""
    sent = []

    async def answer(_, writer):
        writer.write(HEAD + b"content-length: %d\r\n\r\n" % (count << 20))
        for _ in range(count):
            writer.write(bytes(1 << 20))
            await writer.drain()
            sent.append(1)

    return answer, sent


@pytest.mark.parametrize("secure", [False, True])
def test_a_slow_reader_is_not_read_ahead_for_nor_does_it_time_out(
    run, secure, server_tls, monkeypatch
):
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))

    async def main():
        answer, sent = serve_megabytes(50)
        async with Host(answer, tls=server_tls if secure else None) as host:
            with host.client(secure=secure, read_timeout=0.1) as client:
                slow = await ask(client)
                for _ in range(3):
                    await asyncio.sleep(0.15)
                # The kernel's buffers, at both ends, are most of this.
                assert len(sent) < 25
                assert len(await whole(slow)) == 50 << 20
                assert len(sent) == 50
                assert await ask(client)
                assert len(host.writers) == 1

    run(main())


def test_closing_an_answer_half_way_tells_the_host(run):
    async def main():
        async with Host(CHUNKED + b"3\r\nabc\r\n") as host:
            with host.client() as client:
                answer = await ask(client)
                assert await anext(answer) == b"abc"
                answer.close()
                await host.left.wait()

    run(main())


def test_closing_an_answer_that_is_whole_keeps_its_connection(run):
    async def main():
        async with Host(WHOLE) as host:
            with host.client() as client:
                for _ in range(3):
                    answer = await ask(client)
                    await whole(answer)
                    answer.close()
                assert len(host.writers) == 1

    run(main())


def test_giving_up_before_the_head_tells_the_host(run):
    async def main():
        async with Host(b"") as host:
            with host.client() as client:
                asking = asyncio.create_task(ask(client))
                while not host.heads:
                    await asyncio.sleep(0.001)
                asking.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await asking
                await host.left.wait()

    run(main())


def test_two_hundred_requests_at_once(run):
    async def answer(head, writer):
        path = head.split(b" ")[1]
        await asyncio.sleep(0.01)
        writer.write(HEAD + b"content-length: %d\r\n\r\n" % len(path) + path)

    async def main():
        async with Host(answer) as host:
            with host.client() as client:
                for _ in range(2):
                    asked = [b"/v1/%d" % number for number in range(200)]
                    got = await asyncio.gather(*(fetch(client, path=path) for path in asked))
                    assert got == asked
                assert len(host.writers) == 200

    run(main())


def test_headers_and_paths_reach_the_host_as_they_must(run):
    async def main():
        async with Host(WHOLE) as host:
            async with HttpTeacher(f"http://127.0.0.1:{host.port}") as teacher:
                raw = [(b"x-raw", b"\xff\xe9 caf\xc3\xa9")]
                response = await teacher.send("GET", "/v1/a b/é?q=%20ü", raw, b"")
                response.close()
            assert host.heads[0].startswith(b"GET /v1/a%20b/%C3%A9?q=%20%C3%BC HTTP/1.1\r\n")
            assert b"x-raw: \xff\xe9 caf\xc3\xa9\r\n" in host.heads[0]

    run(main())


@pytest.fixture
def server_tls():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, KEY)
    return context


def test_tls_to_a_host_that_speaks_none(run):
    async def main():
        async def plain(_, writer):
            await closed(writer, b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")

        server = await asyncio.start_server(plain, "127.0.0.1", 0)
        host = Host(b"", port=server.sockets[0].getsockname()[1])
        told = pytest.raises(TeacherError, match="the-host could not be reached over TLS: ")
        with host.client(secure=True) as client, told:
            await ask(client)
        server.close()

    run(main())


def test_a_certificate_that_nobody_vouches_for_is_refused(run, server_tls, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)

    async def main():
        async with Host(WHOLE, tls=server_tls) as host:
            told = pytest.raises(TeacherError, match="over TLS: self-signed certificate")
            with host.client(secure=True) as client, told:
                await ask(client)

    run(main())


def test_a_certificate_that_the_environment_names_is_taken(run, server_tls, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))

    async def main():
        async with Host(WHOLE, tls=server_tls) as host:
            with host.client(secure=True) as client:
                assert await fetch(client) == b"{}"
                assert await fetch(client) == b"{}"
                assert len(host.writers) == 1

    run(main())


def test_a_body_over_tls_may_end_with_its_connection(run, server_tls, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))

    async def answer(_, writer):
        await closed(writer, HEAD + b"\r\n" + bytes(3 << 20))

    async def main():
        async with Host(answer, tls=server_tls) as host:
            with host.client(secure=True) as client:
                slow = await ask(client)
                await turn()
                assert len(await whole(slow)) == 3 << 20

    run(main())
