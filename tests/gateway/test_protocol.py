"""No client may hold a connection, or memory, without end: raw bytes against a served gateway."""

import asyncio
import contextlib
import logging
import threading
import time
from pathlib import Path

import pytest

from gateway.raw import BODY, COMPLETION, GET, Client, health, post, wait_for
from openwheel.gateway import Server, create_app, gateway_thread
from openwheel.settings import GatewaySection
from openwheel.sockets import listen
from openwheel.teachers import HttpTeacher


@pytest.fixture
def served(upstream, student):
    """Serve a gateway with these limits, and connect to it."""
    with contextlib.ExitStack() as stack:

        def start(**limits):
            app = create_app(HttpTeacher(upstream.url), student(student=""))
            settings = GatewaySection(**limits)
            url = stack.enter_context(gateway_thread(app, settings=settings, look_every=0.05))
            port = int(url.rpartition(":")[2])

            def connect(**options):
                return stack.enter_context(Client(port, **options))

            return connect

        yield start


@pytest.mark.parametrize("begin", [b"", BODY])
def test_a_head_byte_by_byte_is_cut_off(served, upstream, begin):
    """Also the second on a connection."""
    upstream.answers(COMPLETION)
    client = served(request_timeout=0.4)()
    if begin:
        client.send(post())
        assert client.response().status == 200
    sent = 0
    for byte in post(head=b"x-filler: %s\r\n" % (b"x" * 3_000)):
        if client.answered():
            break
        client.send(bytes([byte]))
        sent += 1
        time.sleep(0.02)
    assert 1 < sent < 1_000
    response = client.response()
    assert (response.status, response.code) == (408, "request_timeout")
    assert client.is_closed()


@pytest.mark.parametrize("framing", [b"content-length: 100\r\n", b"transfer-encoding: chunked\r\n"])
def test_a_body_that_stops_coming_is_cut_off(served, upstream, framing):
    client = served(request_timeout=0.2)()
    client.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n%s\r\n5\r\n12" % framing)
    assert client.response().code == "request_timeout"
    assert client.is_closed()
    assert not upstream.received


def test_a_second_host_is_refused(served, upstream):
    """Else a proxy before the gateway may have checked the other one."""
    client = served()()
    client.send(post(head=b"Host: other\r\n"))
    response = client.response()
    assert (response.status, response.code) == (400, "invalid_http")
    assert client.is_closed()
    assert not upstream.received


@pytest.mark.parametrize("sent", [b"", b"\r\n"])
@pytest.mark.parametrize("before", [False, True])
def test_who_asks_for_nothing_is_sent_away(served, sent, before):
    """Also who has asked for something before."""
    client = served(request_timeout=0.2, keep_alive=1)()
    if before:
        assert health(client)["status"] == "ok"
    client.send(sent)
    assert client.is_closed()


@pytest.mark.parametrize("rest", [b"", b"x" * 600])
def test_who_was_refused_for_a_large_body_does_not_stay(served, upstream, rest):
    """Whether the rest of the body comes or not."""
    client = served(request_timeout=0.3)()
    size = (32 << 20) + 1
    client.send(b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size)
    assert client.response().code == "request_too_large"
    client.send(rest)
    assert client.is_closed()
    assert not upstream.received


HUGE_HEADS = {
    "url": b"GET /v1/%s HTTP/1.1\r\nhost: x\r\n\r\n" % (b"x" * 20_000),
    "query": b"GET /v1/models?q=%s HTTP/1.1\r\nhost: x\r\n\r\n" % (b"x" * 20_000),
    "value": b"GET /healthz HTTP/1.1\r\nhost: x\r\nx: %s\r\n\r\n" % (b"x" * 20_000),
    "name": b"GET /healthz HTTP/1.1\r\nhost: x\r\n%s: x\r\n\r\n" % (b"x" * 20_000),
    "many": b"GET /healthz HTTP/1.1\r\nhost: x\r\n%s\r\n" % (b"a: b\r\n" * 4_000),
}


@pytest.mark.parametrize("size", [100_000, 1_000])
@pytest.mark.parametrize("head", HUGE_HEADS.values(), ids=list(HUGE_HEADS))
def test_too_large_a_head_is_refused(served, head, size):
    """In one piece, and in many."""
    client = served(max_header=8_000)()
    for start in range(0, len(head), size):
        client.send(head[start : start + size])
        if size < len(head):
            time.sleep(0.002)  # pieces of their own for the server, too
    response = client.response()
    assert (response.status, response.code) == (431, "headers_too_large")
    assert "8000 bytes" in response.body.decode()
    assert client.is_closed()


def test_a_head_of_nearly_the_limit_is_not_refused(served, upstream):
    """However large the body before it is, and however they are cut into pieces."""
    upstream.answers(COMPLETION)
    client = served(max_header=8_000)()
    request = post(b"x" * 50_000, head=b"x: %s\r\n" % (b"x" * 7_500))
    both = request + request
    cut = len(request) + 4_000  # in the middle of the second head
    client.send(both[:cut])
    assert client.response().status == 200
    client.send(both[cut:])
    assert client.response().status == 200


def test_a_refusal_can_be_read_while_the_client_still_sends(served):
    client = served()()
    client.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\n")
    for _ in range(60):  # 6 MB, sent whole before anything is read
        client.send(b"x: %s\r\n" % (b"x" * 100_000))
    assert client.response().code == "headers_too_large"


@pytest.mark.parametrize(
    "endless",
    [
        b"GET /healthz HTTP/1.1\r\nhost: x\r\nx: ",
        b"GET /healthz HTTP/1.1\r\nhost: x\r\n",
        b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n",
        b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1;x=",
    ],
    ids=["header", "headers", "trailers", "chunk extension"],
)
def test_memory_does_not_grow_with_a_flood(served, endless):
    connect = served()
    health(connect())
    before = resident()
    client = connect()
    flood = b"x: y\r\n" * 10_000 if endless.endswith(b"\n") else b"x" * 60_000
    client.send(endless)
    # Some 90 MB in all, or several times that if each header is kept.
    with pytest.raises(ConnectionError):
        client.send_again(flood, times=1_500)
    assert resident() - before < 40 << 20
    assert health(connect())["status"] == "ok"


def resident():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def test_trailers_do_not_pass_for_headers(served, upstream):
    upstream.answers(b"{}")
    client = served()()
    client.send(
        b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        b"2\r\n{}\r\n0\r\nauthorization: Bearer other\r\n\r\n"
    )
    assert client.response().status == 200
    assert "authorization" not in upstream.received[0].headers


def test_too_many_connections_are_refused_until_one_closes(served):
    connect = served(max_connections=2)
    one, two = connect(), connect()
    health(one), health(two)
    refused = [connect() for _ in range(2)]  # they stay, and take nobody's place
    for client in refused:
        response = client.response()
        assert (response.status, response.code) == (503, "too_many_connections")
        assert int(response.headers["retry-after"]) > 0
    assert health(one)["status"] == "ok"
    two.__exit__()

    def is_let_in():
        client = connect()
        client.send(GET)
        return client.response().status == 200

    assert wait_for(is_let_in)


def test_who_does_not_read_is_cut_off_and_others_are_served(served, upstream):
    gone = threading.Event()

    async def endless(request, writer):
        if b"stream" not in request.body:
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(COMPLETION), COMPLETION)
            )
            return
        writer.write(upstream.stream_head)
        try:
            while True:
                writer.write(upstream.chunked(b"data: %s\n\n" % (b"x" * 60_000)))
                await writer.drain()
        finally:
            gone.set()

    upstream.answer = endless
    connect = served(send_timeout=0.5)
    idle = connect(receive_buffer=4_096)
    idle.send(post(BODY[:-1] + b',"stream":true}'))
    other = connect()
    deadline = time.monotonic() + 10
    while not gone.is_set():
        assert time.monotonic() < deadline
        other.send(post())
        assert other.response().status == 200
        assert health(other)["status"] == "ok"
    wait_for(lambda: health(other)["requests"]["cancelled"] == 1)
    with pytest.raises((ConnectionError, ValueError)):
        idle.response()  # not whole


def test_a_slow_teacher_is_waited_for(served, upstream):
    upstream.answer = slow(0.5)
    client = served(request_timeout=0.2)()
    client.send(post())
    assert client.response().status == 200


def slow(seconds):
    async def script(_, writer):
        await asyncio.sleep(seconds)
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(COMPLETION), COMPLETION)
        )

    return script


def test_a_request_that_waits_for_the_answer_before_it_is_not_cut_off(served, upstream):
    """Neither a whole one nor one whose body the gateway did not want to read yet."""
    upstream.answer = slow(0.5)
    client = served(request_timeout=0.3)()
    large = post(b"x" * 300_000)
    client.send(post() + post() + large[:200_000])
    assert client.response().status == 200
    assert client.response().status == 200
    time.sleep(0.1)
    client.send(large[200_000:])
    assert client.response().status == 200
    assert len(upstream.received) == 3
    assert len(upstream.received[2].body) == 300_000


@pytest.mark.parametrize(
    "garbage",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 60,  # TLS
        b"GET /healthz HTTP/1.1\r\nhost x\r\n\r\n",
        b"GET http://host HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST /v1/x HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v1/x HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_what_is_no_http_is_answered_as_an_api_would(served, upstream, garbage):
    client = served()()
    client.send(garbage)
    response = client.response()
    assert (response.status, response.code) == (400, "invalid_http")
    assert client.is_closed()
    assert not upstream.received


def test_a_refusal_does_not_get_into_an_answer(served, upstream):
    async def begun(_, writer):
        writer.write(upstream.stream_head + upstream.chunked(b"data: 1\n\n"))
        await asyncio.sleep(30)

    upstream.answer = begun
    client = served()()
    client.send(post())
    assert client.file.readline() == b"HTTP/1.1 200 OK\r\n"
    client.send(b"garbage\r\n\r\n")
    assert b"HTTP/1.1" not in client.file.read()
    assert upstream.disconnected.wait(10)


def test_the_teacher_is_let_go_when_a_client_with_two_requests_goes_away(served, upstream):
    async def endless(_, writer):
        writer.write(upstream.stream_head)
        while True:
            writer.write(upstream.chunked(b"data: 1\n\n"))
            await asyncio.sleep(0.01)

    upstream.answer = endless
    client = served()()
    client.send(post() + post())
    assert client.file.readline() == b"HTTP/1.1 200 OK\r\n"
    client.__exit__()
    assert upstream.disconnected.wait(10)


def test_a_connection_is_kept_and_closed_when_idle(served, upstream):
    upstream.answers(COMPLETION)
    client = served(keep_alive=1)()
    for _ in range(3):
        client.send(post())
        response = client.response()
        assert response.status == 200
        assert "connection" not in response.headers
    assert client.is_closed()


def test_http_1_0_knows_no_chunks(served, upstream):
    stream = b"data: 1\n\ndata: 2\n\n"
    upstream.writes(upstream.stream_head + upstream.chunked(stream) + b"0\r\n\r\n")
    client = served()()
    client.send(post(version=b"1.0"))
    response = client.response()
    assert response.headers["connection"] == "close"
    assert "transfer-encoding" not in response.headers
    assert response.body == stream


def test_http_1_0_with_a_length(served, upstream):
    upstream.answers(COMPLETION)
    client = served()()
    client.send(post(version=b"1.0"))
    response = client.response()
    assert response.headers["content-length"] == str(len(COMPLETION))
    assert response.body == COMPLETION
    assert client.is_closed()


def test_http_1_0_an_answer_that_breaks_off_does_not_look_whole(served, upstream):
    upstream.writes(upstream.stream_head + upstream.chunked(b"data: 1\n\n"), close=True)
    client = served()()
    client.send(post(version=b"1.0"))
    with pytest.raises(ConnectionResetError):
        client.response()


def test_expect_100_continue(served, upstream):
    upstream.answers(COMPLETION)
    client = served()()
    request = post(head=b"expect: 100-continue\r\n")
    client.send(request[: -len(BODY)])
    assert client.file.readline() == b"HTTP/1.1 100 Continue\r\n"
    assert client.file.readline() == b"\r\n"
    client.send(BODY)
    assert client.response().status == 200
    assert upstream.received[0].body == BODY


def test_expect_100_continue_is_not_said_to_what_is_too_large(served, upstream):
    client = served()()
    client.send(
        b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n"
        b"content-length: 999999999\r\n\r\n"
    )
    assert client.file.readline() == b"HTTP/1.1 413 Request Entity Too Large\r\n"
    assert not upstream.received


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_chunked_request_bodies_arrive_whole(served, upstream, size):
    upstream.answers(COMPLETION)
    client = served(max_header=1_000)()
    body = b"x" * 200_000 if size > 1_000 else b"x" * 3_000
    client.send(b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
    for start in range(0, len(body), size):
        client.send(upstream.chunked(body[start : start + size]))
    client.send(b"0\r\n\r\n")
    assert client.response().status == 200
    assert upstream.received[0].body == body


@pytest.mark.parametrize("offered", [b"h2c", b"websocket"])
def test_an_offered_upgrade_is_not_taken_and_not_logged(served, upstream, caplog, offered):
    upstream.answers(COMPLETION)
    head = b"upgrade: %s\r\nconnection: Upgrade, HTTP2-Settings\r\nhttp2-settings: AAMA\r\n"
    client = served()()
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            client.send(post(head=head % offered))
            response = client.response()
            assert (response.status, response.body) == (200, COMPLETION)
    assert caplog.records == []
    assert "upgrade" not in upstream.received[0].headers


def test_one_that_is_stopped_before_it_began_ends_without_an_error(student):
    """Its supervisor was killed while it started, and the socket is closed already."""
    app = create_app(HttpTeacher("http://127.0.0.1:9/v1"), student(student=""))
    sock = listen("127.0.0.1", 0)
    server = Server(app, sock)
    sock.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        server.run()
    server.stop()
    server.run()


def test_a_request_that_is_coming_in_is_answered_before_the_server_ends(student):
    app = create_app(HttpTeacher("http://127.0.0.1:9/v1"), student(student=""))
    started = threading.Event()
    with contextlib.closing(listen("127.0.0.1", 0)) as sock:
        server = Server(app, sock, ready=started.set)
        thread = threading.Thread(target=server.run)
        thread.start()
        assert started.wait(10)
        with Client(sock.getsockname()[1]) as client, Client(sock.getsockname()[1]) as idle:
            assert health(idle)["status"] == "ok"
            client.send(GET[:10])
            assert health(idle)["status"] == "ok"  # by now the server has those ten bytes
            server.stop()
            assert idle.is_closed()
            client.send(GET[10:])
            response = client.response()
            assert response.status == 200
            assert response.headers["connection"] == "close"
            assert client.is_closed()
        thread.join(10)
        assert not thread.is_alive()
