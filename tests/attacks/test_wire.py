"""Bytes on the wire: one request does not pass for two, nor for another, and none fails a gateway.

What a gateway and a server behind it frame differently is smuggled past the first: so whatever can
be read in two ways is refused, with all that comes after it.
"""

import contextlib
import json
import logging
import socket
from itertools import pairwise

import pytest
from hypothesis import strategies as st

from fuzz import fuzz
from gateway.conftest import WordServing
from gateway.keyed import whole
from gateway.raw import GET, Client, Response, health
from openwheel.gateway import create_app, gateway_thread
from openwheel.settings import GatewaySection
from openwheel.teachers import HttpTeacher
from teacher import Teacher

PATH = b"/v1/embeddings"
LAST = GET.replace(b"host: x\r\n", b"host: x\r\nconnection: close\r\n")


RUN = b"x-run: ******\r\n"
LINE = b"POST %s HTTP/1.1" % PATH


def post(body: bytes, framing: bytes, *, line: bytes = LINE, run: bytes = RUN) -> bytes:
    return b"%s\r\nhost: x\r\n%s%s\r\n\r\n%s" % (line, run, framing, body)


def sized(body: bytes, **more: bytes) -> bytes:
    return post(body, b"content-length: %d" % len(body), **more)


SMUGGLED = sized(b'{"smuggled":1}', run=b"")
BODIES = (b"", b"{}", SMUGGLED, SMUGGLED[:-1], b"0\r\n\r\n" + SMUGGLED, b"x" * 70_000)


class Served:
    """A gateway, whose teacher answers with what it was asked."""

    def __init__(self, port: int, teacher: Teacher, errors: list[str]) -> None:
        self.port, self.teacher, self.errors = port, teacher, errors
        self.run = 0

    def converse(self, data: bytes, cuts: list[int]) -> list[Response]:
        """Send bytes, in pieces; return all that is whole until the connection ends."""
        found = []
        self.run += 1
        data = data.replace(b"******", b"%06d" % self.run)
        ends = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
        with Client(self.port) as client, contextlib.suppress(EOFError, ConnectionError):
            client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.suppress(ConnectionError):
                for start, end in pairwise(ends):
                    client.send(data[start:end])
            while True:
                found.append(client.response())
        return found

    def take_asked(self) -> list[bytes]:
        """Return the bodies that reached the teacher in the latest conversation.

        What a refused client sent before may still reach it a little later.
        """
        received = [one for one in self.teacher.received if "x-run" in one.headers]
        assert received == self.teacher.received
        asked = [one for one in received if int(one.headers["x-run"]) == self.run]
        self.teacher.received.clear()
        assert {one.target for one in asked} <= {PATH.decode()}
        return [one.body for one in asked]

    def assert_well(self) -> None:
        with Client(self.port) as client:
            assert health(client)["status"] == "ok"
        assert self.errors == []


@pytest.fixture(scope="module")
def served():
    errors = []

    class Errors(logging.Handler):
        def emit(self, record):
            errors.append(self.format(record))

    async def echo(asked, writer):
        writer.write(whole({"asked": asked.body.decode("latin-1")}))

    handler = Errors(logging.ERROR)
    settings = GatewaySection(request_timeout=0.3)
    logging.getLogger().addHandler(handler)
    with Teacher(echo) as teacher:
        app = create_app(HttpTeacher(teacher.url), WordServing(student=""))
        with gateway_thread(app, settings=settings, look_every=0.05) as url:
            yield Served(int(url.rpartition(":")[2]), teacher, errors)
    logging.getLogger().removeHandler(handler)


def in_chunks(body: bytes, size: int, extension: bytes, trailer: bytes) -> bytes:
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    chunks = b"".join(b"%X%s\r\n%s\r\n" % (len(part), extension, part) for part in parts)
    return post(b"%s0%s\r\n%s\r\n" % (chunks, extension, trailer), b"Transfer-Encoding: chunked")


class Sound:
    """A request that can be read in one way only; it is shown in short."""

    def __init__(self, data: bytes, body: bytes) -> None:
        self.data, self.body = data, body

    def __repr__(self) -> str:
        return f"{self.data[:300]!r} of {len(self.data)}"


@st.composite
def sound(draw) -> Sound:
    body = draw(st.sampled_from(BODIES))
    if draw(st.booleans()):
        return Sound(sized(body), body)
    size = draw(st.sampled_from([1, 7, 4_096])) if len(body) < 1_000 else 30_000
    extension = draw(st.sampled_from([b"", b";a=b", b';a="b"']))
    trailer = draw(st.sampled_from([b"", b"x: y\r\n"]))
    return Sound(in_chunks(body, size, extension, trailer), body)


LINES = [
    b"POST %s HTTP/1.2",
    b"POST %s HTTP/1.10",
    b"POST %s HTTP/01.1",
    b"POST %s http/1.1",
    b"POST %s HTTP/1.1 ",
    b"POST %s HTTP/1.1\n",
    b"POST %s HTTP/1.1\r\n x: y",
    b"POST %s\tHTTP/1.1",
    b"POST\t%s HTTP/1.1",
    b" POST %s HTTP/1.1",
    b"post %s HTTP/1.1",
    b"P\0ST %s HTTP/1.1",
    b"POST %s\0 HTTP/1.1",
    b"POST %s\xff HTTP/1.1",
    b"PRI %s HTTP/2.0",
    b"CONNECT %s HTTP/1.1",
]
LENGTHS = [
    b"+2",
    b"-2",
    b"0x2",
    b"2 2",
    b"2,2",
    b"2;",
    b"2.0",
    b"",
    b"two",
    b"2\v",
    b"\xb2",
    b"9" * 30,
]
CODINGS = [
    *(b"identity", b"gzip", b"xchunked", b"\vchunked", b"chunked\0", b"chunked;q=1"),
    *(b"chunked, gzip", b"chunked, identity", b"chunked, chunked", b"\r\n chunked"),
    *(b"chunked\r\ntransfer-encoding: identity", b"chunked\r\ncontent-length: 0"),
]
HEADERS = [
    b"content-length: 2\r\ncontent-length: 3",
    b"content-length: 2\r\ncontent-length: 2",
    b"content-length: 2\r\ntransfer-encoding: chunked",
    b"content-length : 2",
    b"transfer-encoding : chunked",
    b" content-length: 2",
    b"x: y\r\n content-length: 2",
    b"content\0-length: 2",
    b"content-length: 2\rx: y",
    b"content-length: 2\nx: y",
    b"x: a\0b\r\ncontent-length: 2",
    b"x: a\x7fb\r\ncontent-length: 2",
    b"x: a\1b\r\ncontent-length: 2",
    b": y\r\ncontent-length: 2",
    b"x\r\ncontent-length: 2",
    b"(x): y\r\ncontent-length: 2",
]
CHUNKS = [
    *(
        b"%s\r\n{}\r\n0\r\n\r\n" % size
        for size in (b"zz", b"-2", b"+2", b"0x2", b"2_0", b"2 ", b" 2")
    ),
    *(
        b"%s\r\n{}\r\n0\r\n\r\n" % size
        for size in (b"1", b"3", b"f" * 17, b"2;\0", b"2;a\nb", b"\r\n2")
    ),
    *(b"2\r\n{}0\r\n\r\n", b"2\r{}\r\n0\r\n\r\n", b"2\n{}\n0\n\n", b"2\r\n{}\r\n0\n\n"),
    b"2\r\n{}\r\n0\r\ncontent-length: 3\r\n\r\n",
    *(b"2\r\n{}\r\n0\r\n a: b\r\n\r\n", b"2\r\n{}\r\n0\r\nx : y\r\n\r\n"),
]
CHUNKED = b"transfer-encoding: chunked"
ODD = [
    *(sized(b"{}", line=line % PATH) for line in LINES),
    *(post(b"{}", b"content-length: " + length) for length in LENGTHS),
    *(post(b"2\r\n{}\r\n0\r\n\r\n", b"transfer-encoding: " + coding) for coding in CODINGS),
    *(post(b"{}", headers) for headers in HEADERS),
    *(post(chunks, CHUNKED) for chunks in CHUNKS),
]
CUTS = st.lists(st.integers(0, 1 << 20), max_size=5)


def is_echo(response: Response, body: bytes) -> bool:
    asked = json.loads(response.body)["asked"] if response.status == 200 else None
    return asked == body.decode("latin-1")


@fuzz(st.lists(sound(), min_size=1, max_size=4), CUTS, short=15, long=4_000)
def test_each_request_has_its_own_answer_however_it_is_cut(served, requests, cuts):
    bodies = [one.body for one in requests]
    found = served.converse(b"".join(one.data for one in requests) + LAST, cuts)
    assert served.take_asked() == bodies
    assert len(found) == len(bodies) + 1
    assert all(map(is_echo, found, bodies))
    assert json.loads(found[-1].body)["status"] == "ok"


@fuzz(
    st.lists(sound(), max_size=2),
    st.sampled_from(ODD),
    st.lists(sound(), max_size=2),
    CUTS,
    short=40,
    long=6_000,
)
def test_nothing_behind_what_can_be_read_in_two_ways_is_answered(served, before, odd, after, cuts):
    bodies = [one.body for one in before]
    found = served.converse(
        b"".join([*(one.data for one in before), odd, *(one.data for one in after), LAST]), cuts
    )
    asked = served.take_asked()
    assert asked == bodies[: len(asked)]
    # Where the answers before it were not written yet, they are not written any more.
    *answered, last = found or [None]
    assert all(map(is_echo, answered, bodies))
    assert last is None or last.status == 400 or is_echo(last, bodies[len(answered)])
    served.assert_well()


EDITS = st.lists(
    st.tuples(st.integers(0, 1 << 20), st.integers(0, 3), st.binary(max_size=4)), max_size=4
)


@fuzz(st.lists(sound(), min_size=1, max_size=3), EDITS, CUTS, short=15, long=6_000)
def test_no_bytes_make_the_gateway_fail(served, requests, edits, cuts):
    data = b"".join(one.data for one in requests)
    for place, gone, come in edits:
        start = place % (len(data) + 1)
        data = data[:start] + come + data[start + gone :]
    found = served.converse(data + LAST, cuts)
    assert all(response.status < 500 for response in found)
    for response in found:
        assert response.status == 200 or "error" in json.loads(response.body)
    served.teacher.received.clear()
    served.assert_well()
