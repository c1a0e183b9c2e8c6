"""A raw HTTP/1.1 client: as little CPU as Python allows, so that it is not what is measured."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple, cast

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)")
_SOURCE = re.compile(rb"\r\nx-openwheel-source: *(\w+)")
_CHECK_EVERY = 50
_LONGEST_S = 3600.0


class Reply(NamedTuple):
    """A whole response: its head in lower case and its body, chunk framing included."""

    head: bytes
    body: bytes


class Load(NamedTuple):
    """What came of many requests.

    Attributes:
        seconds: How long each took, from its first byte sent to the last received.
        sources: Who answered, by the gateway's header; ``""`` where there is none.
        wall: Seconds from the first request to the last answer.
        reads: Pieces that the responses arrived in, so that chunks joined on the way are seen.
    """

    seconds: list[float]
    sources: Counter[str]
    wall: float
    reads: int


class Connection(asyncio.Protocol):
    """A keep-alive connection with at most one request under way."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head = 0
        self._whole = -1
        self._reply: asyncio.Future[Reply] | None = None
        self._transport: asyncio.Transport | None = None
        self.reads = 0
        self.first_byte: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the first byte of the first response's body is there."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def ask(self, request: bytes) -> "asyncio.Future[Reply]":
        """Send a request; the future has its whole response."""
        assert self._transport is not None
        self._reply = asyncio.get_running_loop().create_future()
        if self._transport.is_closing():
            self.connection_lost(None)
        else:
            self._transport.write(request)
        return self._reply

    def data_received(self, data: bytes) -> None:
        """Take bytes; finish the response when it is whole."""
        self.reads += 1
        buffer = self._buffer
        buffer += data
        if not self._head:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            self._head = end + 4
            length = _LENGTH.search(bytes(buffer[:end]).lower())
            self._whole = self._head + int(length[1]) if length else -1
        if not self.first_byte.done() and len(buffer) > self._head:
            self.first_byte.set_result(None)
        if self._whole >= 0:
            done = len(buffer) >= self._whole
        else:
            done = buffer.endswith(b"\r\n0\r\n\r\n") or buffer[self._head :] == b"0\r\n\r\n"
        if done and self._reply is not None:
            reply = Reply(bytes(buffer[: self._head]).lower(), bytes(buffer[self._head :]))
            buffer.clear()
            self._head = 0
            if not self._reply.done():
                self._reply.set_result(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        """Say so to whoever waits."""
        error = ConnectionError(f"the connection broke ({exc}) after {bytes(self._buffer[:300])!r}")
        for waiting in (self._reply, self.first_byte):
            if waiting is not None and not waiting.done():
                waiting.set_exception(error)
                waiting.exception()  # nobody need be waiting

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


async def connect(port: int) -> Connection:
    """Open a connection on loopback."""
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, "127.0.0.1", port)
    return connection


async def send_all(
    port: int,
    requests: Iterable[bytes],
    connections: int,
    *,
    events: int = 0,
    done: Callable[[int], None] = lambda _: None,
) -> Load:
    """Send requests over some connections, each sending its next when its last is answered.

    Args:
        events: The fewest server-sent events a response must have; 0 if it is not streamed.
        done: Called with the count of answers after each.

    Raises:
        SystemExit: A response is an error, or not whole.
    """
    seconds: list[float] = []
    sources: Counter[str] = Counter()
    waiting = iter(requests)
    opened: list[Connection] = []

    async def client() -> None:
        connection = await connect(port)
        opened.append(connection)
        for request in waiting:
            began = time.perf_counter()
            reply = await connection.ask(request)
            seconds.append(time.perf_counter() - began)
            sources[source(reply)] += 1
            if not reply.head.startswith(b"http/1.1 200"):
                raise SystemExit(f"port {port}: {reply.head!r} {reply.body[:500]!r}")
            if events and len(seconds) % _CHECK_EVERY == 1:
                check_stream(reply, events)
            done(len(seconds))
        connection.close()

    began = time.perf_counter()
    async with asyncio.timeout(_LONGEST_S):
        await asyncio.gather(*(client() for _ in range(connections)))
    reads = sum(connection.reads for connection in opened)
    return Load(seconds, sources, time.perf_counter() - began, reads)


def source(reply: Reply) -> str:
    """Return who answered, by the gateway's header; ``""`` if it has none."""
    found = _SOURCE.search(reply.head)
    return found[1].decode() if found else ""


def check_stream(reply: Reply, events: int) -> None:
    """Check that a stream is whole.

    Raises:
        SystemExit: It has fewer events, or does not end as streams do.
    """
    body, rest = b"", reply.body
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    if body.count(b"data:") < events or b"data: [DONE]" not in body[-100:]:
        raise SystemExit(f"a stream of {body.count(b'data:')} events ends {body[-300:]!r}")
