"""The client against servers that write every byte themselves, on both event loops."""

import asyncio

import pytest

from openwheel.errors import TeacherError
from openwheel.teachers import TeacherTimeoutError
from teacher import Teacher
from teachers.clients import (
    CERTIFICATE,
    CHUNKED,
    HEAD,
    WHOLE,
    ask,
    client_of,
    closed,
    failure,
    fetch,
    reset,
    turn,
    whole,
)


def connections_for_two(run, answer, *, method="POST", between=None, **settings):
    """Ask twice, and return how many connections that took, and the two bodies."""

    async def main():
        async with Teacher(answer) as host:
            with client_of(host, **settings) as client:
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
        async with Teacher(WHOLE) as host:
            with client_of(host, keep_idle=0.05) as client:
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
        async with Teacher(WHOLE, reads_bodies=False, tls=tls) as host:
            with client_of(host, secure=secure) as client:
                for _ in range(2):
                    assert await fetch(client, body=bytes(16_000_000)) == b"{}"
                assert len(host.writers) == 2

    run(main())


def test_a_large_request_arrives_whole(run):
    body = b"".join(b"%07d " % number for number in range(500_000))

    async def echo(asked, writer):
        writer.write(HEAD + b"content-length: %d\r\n\r\n" % len(body) + asked.body)

    async def main():
        async with Teacher(echo) as host:
            with client_of(host) as client:
                assert await fetch(client, body=body) == body

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
        async with Teacher(answer) as host:
            with client_of(host) as client:
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
        async with Teacher(HEAD + b"\r\nabc") as host:
            with client_of(host) as client:
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
        async with Teacher(answer) as host:
            with client_of(host) as client:
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
