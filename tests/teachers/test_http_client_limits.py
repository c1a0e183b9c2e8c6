"""The client: slow readers, going away, many at once, and TLS."""

import asyncio

import pytest

from openwheel.errors import TeacherError
from openwheel.teachers import HttpTeacher, TeacherRequest
from teacher import Teacher
from teachers.clients import (
    CERTIFICATE,
    CHUNKED,
    HEAD,
    WHOLE,
    ask,
    client_of,
    closed,
    fetch,
    turn,
    whole,
)


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
        async with Teacher(answer, tls=server_tls if secure else None) as host:
            with client_of(host, secure=secure, read_timeout=0.1) as client:
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
        async with Teacher(CHUNKED + b"3\r\nabc\r\n") as host:
            with client_of(host) as client:
                answer = await ask(client)
                assert await anext(answer) == b"abc"
                answer.close()
                await host.left.wait()

    run(main())


def test_closing_an_answer_that_is_whole_keeps_its_connection(run):
    async def main():
        async with Teacher(WHOLE) as host:
            with client_of(host) as client:
                for _ in range(3):
                    answer = await ask(client)
                    await whole(answer)
                    answer.close()
                assert len(host.writers) == 1

    run(main())


def test_giving_up_before_the_head_tells_the_host(run):
    async def main():
        async with Teacher(b"") as host:
            with client_of(host) as client:
                asking = asyncio.create_task(ask(client))
                while not host.received:
                    await asyncio.sleep(0.001)
                asking.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await asking
                await host.left.wait()

    run(main())


def test_two_hundred_requests_at_once(run):
    async def answer(asked, writer):
        path = asked.path.encode()
        await asyncio.sleep(0.01)
        writer.write(HEAD + b"content-length: %d\r\n\r\n" % len(path) + path)

    async def main():
        async with Teacher(answer) as host:
            with client_of(host) as client:
                for _ in range(2):
                    asked = [b"/v1/%d" % number for number in range(200)]
                    got = await asyncio.gather(*(fetch(client, path=path) for path in asked))
                    assert got == asked
                assert len(host.writers) == 200

    run(main())


def test_headers_and_paths_reach_the_host_as_they_must(run):
    async def main():
        async with Teacher(WHOLE) as host:
            async with HttpTeacher(f"http://127.0.0.1:{host.port}") as teacher:
                raw = [(b"x-raw", b"\xff\xe9 caf\xc3\xa9")]
                response = await teacher.send(TeacherRequest("GET", "/v1/a b/é?q=%20ü", raw, b""))
                response.close()
            assert host.received[0].head.startswith(
                b"GET /v1/a%20b/%C3%A9?q=%20%C3%BC HTTP/1.1\r\n"
            )
            assert b"x-raw: \xff\xe9 caf\xc3\xa9\r\n" in host.received[0].head

    run(main())


def test_tls_to_a_host_that_speaks_none(run):
    async def main():
        async def plain(_, writer):
            await closed(writer, b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")

        server = await asyncio.start_server(plain, "127.0.0.1", 0)
        host = Teacher(port=server.sockets[0].getsockname()[1])
        told = pytest.raises(TeacherError, match="the-host could not be reached over TLS: ")
        with client_of(host, secure=True) as client, told:
            await ask(client)
        server.close()

    run(main())


def test_a_certificate_that_nobody_vouches_for_is_refused(run, server_tls, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)

    async def main():
        async with Teacher(WHOLE, tls=server_tls) as host:
            told = pytest.raises(TeacherError, match="over TLS: self-signed certificate")
            with client_of(host, secure=True) as client, told:
                await ask(client)

    run(main())


def test_a_certificate_that_the_environment_names_is_taken(run, server_tls, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))

    async def main():
        async with Teacher(WHOLE, tls=server_tls) as host:
            with client_of(host, secure=True) as client:
                assert await fetch(client) == b"{}"
                assert await fetch(client) == b"{}"
                assert len(host.writers) == 1

    run(main())


def test_a_body_over_tls_may_end_with_its_connection(run, server_tls, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))

    async def answer(_, writer):
        await closed(writer, HEAD + b"\r\n" + bytes(3 << 20))

    async def main():
        async with Teacher(answer, tls=server_tls) as host:
            with client_of(host, secure=True) as client:
                slow = await ask(client)
                await turn()
                assert len(await whole(slow)) == 3 << 20

    run(main())
