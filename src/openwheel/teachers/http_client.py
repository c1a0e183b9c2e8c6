"""Speaks HTTP/1.1 to one host, with connections that are kept, and answers as they arrive.

llhttp parses, through httptools, as on the side of the clients; header values and bodies pass as
bytes. A general client also handles URLs, cookies, redirects and encodings, which a gateway must
not touch, and takes three times the CPU.

Of teachers it knows only their errors. Source: RFC 9112.
"""

import asyncio
import collections
import os
import select
import ssl
from collections.abc import Callable, Sequence
from typing import Self, cast

import httptools

from openwheel.errors import TeacherError
from openwheel.teachers.teacher import (
    TeacherConnectTimeoutError,
    TeacherNotReachedError,
    TeacherTimeoutError,
)

# Uvicorn, and so vLLM and SGLang, close idle connections after 5 s; a request sent into such a
# close is lost, and a POST is not safe to send again.
_KEEP_IDLE_S = 4.0
_MOST_BUFFERED = 256 << 10
_LARGEST_HEAD = 256 << 10
_JOINED = 64 << 10
_CAN_POLL = hasattr(select, "poll")  # Windows has none


class Answer:
    """A response: its head, and its body as it arrives. Iterating raises TeacherError.

    Attributes:
        status: The HTTP status.
        headers: As sent, in order.
        delimited: Whether the end of the body differs from a broken connection.
    """

    def __init__(self, connection: "_Connection", *, bodiless: bool) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.delimited = True
        self.bodiless = bodiless
        self.done = False
        self.head = connection.loop.create_future()
        self._connection = connection
        self._chunks: collections.deque[bytes] = collections.deque()
        self._buffered = 0
        self._error: TeacherError | None = None
        self._waiting: asyncio.Future[None] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self.done:
                raise StopAsyncIteration
            self._waiting = self._connection.loop.create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        chunk = self._chunks.popleft()
        self._buffered -= len(chunk)
        if self._buffered <= _MOST_BUFFERED // 2 and not self.done:
            self._connection.resume()
        return chunk

    def close(self) -> None:
        """Release the connection, or break it if the body was not read to its end."""
        if not self.done and self._error is None:
            self._connection.abort()

    def feed(self, chunk: bytes) -> None:
        """Take a piece of the body."""
        self._chunks.append(chunk)
        self._buffered += len(chunk)
        if self._buffered > _MOST_BUFFERED:
            self._connection.pause()
        self._wake()

    def finish(self) -> None:
        """Note that the body is whole."""
        self.done = True
        self._wake()

    def fail(self, error: TeacherError) -> None:
        """Note that no more bytes will come."""
        self._error = error
        if not self.head.done():
            self.head.set_exception(error)
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class HttpClient:
    """Sends requests to one host, over as many connections as it takes.

    Args:
        host, port: Where.
        secure: Whether to use TLS.
        label: The host as messages name it.
        connect_timeout: Seconds to get a connection.
        read_timeout: Seconds without a byte of an answer.
        keep_idle: Seconds for which a connection that is not in use can be used again.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        secure: bool,
        label: str,
        connect_timeout: float,
        read_timeout: float,
        keep_idle: float = _KEEP_IDLE_S,
    ) -> None:
        self._host = host
        self._port = port
        self._secure = secure
        self._tls: ssl.SSLContext | None = None
        self.label = label
        self._connect_timeout = connect_timeout
        self.read_timeout = read_timeout
        self._keep_idle = keep_idle
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()
        self._purging: asyncio.TimerHandle | None = None

    async def request(
        self,
        head: bytes,
        body: bytes,
        *,
        bodiless: bool = False,
        sent: Callable[[], None] | None = None,
    ) -> Answer:
        """Send a request and return as soon as the head of its answer is there.

        Args:
            head: Request line and headers, with the empty line that ends them.
            body: As the head announces it.
            bodiless: Whether the answer has no body whatever its head says, as that to HEAD.
            sent: Called when the request was sent, before there is any answer.

        Raises:
            TeacherConnectTimeoutError: There was no connection in time; nothing was sent.
            TeacherNotReachedError: There was no connection; nothing was sent.
            TeacherTimeoutError: Nothing came for too long.
            TeacherError: The host broke off.
        """
        connection = self._take() or await self._connect()
        return await connection.ask(head, body, bodiless=bodiless, sent=sent)

    def close(self) -> None:
        """Close every connection."""
        for connection in list(self._open):
            connection.abort()
        self._open.clear()
        self._idle.clear()
        if self._purging is not None:
            self._purging.cancel()
            self._purging = None  # the next event loop's connections need one of theirs

    def made(self, connection: "_Connection") -> None:
        """Record a connection; it may be lost before its caller has it."""
        self._open.add(connection)

    def keep(self, connection: "_Connection") -> None:
        """Keep a connection for reuse."""
        self._idle.append(connection)
        if self._purging is None:
            self._purging = connection.loop.call_later(self._keep_idle, self._purge)

    def lost(self, connection: "_Connection") -> None:
        """Forget a connection that has closed."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def _take(self) -> "_Connection | None":
        """Return the connection that was used last: the one least likely to be about to close."""
        while self._idle:
            connection = self._idle.pop()
            if connection.fresh(self._keep_idle):
                return connection
            connection.abort()
        return None

    def _purge(self) -> None:
        self._purging = None
        stale = [connection for connection in self._idle if not connection.fresh(self._keep_idle)]
        for connection in stale:
            self._idle.remove(connection)
            connection.abort()
        if self._idle:
            self._purging = self._idle[0].loop.call_later(self._keep_idle / 4, self._purge)

    async def _connect(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        if self._secure and self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        try:
            async with asyncio.timeout(self._connect_timeout):
                _, connection = await loop.create_connection(
                    lambda: _Connection(self, loop), self._host, self._port, ssl=self._tls
                )
        except TimeoutError:
            raise TeacherConnectTimeoutError(
                f"The teacher at {self.label} did not answer in time: no connection"
            ) from None
        except ssl.SSLError as error:
            raise TeacherNotReachedError(
                f"The teacher at {self.label} could not be reached over TLS: {_reason(error)}"
            ) from None
        except OSError as error:
            raise TeacherNotReachedError(
                f"The teacher at {self.label} could not be reached: {_reason(error)}"
            ) from None
        return connection


class _Connection(asyncio.Protocol):
    """One connection, which answers one request at a time."""

    def __init__(self, client: HttpClient, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._client = client
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: Answer | None = None
        self._interim = False
        self._between = 0
        self._paused = False
        self._heard = loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._descriptor = -1

    async def ask(
        self, head: bytes, body: bytes, *, bodiless: bool, sent: Callable[[], None] | None
    ) -> Answer:
        """Send a request, and return its answer when the head of that is there."""
        transport = self._transport
        if transport is None or transport.is_closing():
            raise TeacherNotReachedError(
                f"The teacher at {self._client.label} could not be reached: the connection closed"
            )
        answer = self._answer = Answer(self, bodiless=bodiless)
        self._between = 0
        if len(body) > _JOINED:
            transport.write(head)
            # In pieces, since a TLS transport counts as unsent only what the one below it, once
            # full, no longer takes.
            rest = memoryview(body)
            for start in range(0, len(body), _JOINED):
                transport.write(rest[start : start + _JOINED])
        else:
            transport.write(head + body)
        if sent is not None:
            sent()
        self._heard = self.loop.time()
        self._timer = self.loop.call_later(self._client.read_timeout, self._look)
        try:
            await answer.head
        except BaseException:
            # Not if the answer is whole: another request may be using the connection already.
            answer.close()
            raise
        return answer

    def fresh(self, seconds: float) -> bool:
        """Return whether it is open and was in use shortly before."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        if self.loop.time() - self._heard >= seconds:
            return False
        # The host may have closed it a moment ago, or sent an unrequested answer.
        return not _is_readable(self._descriptor)

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        """Read no more until the reader of the answer catches up."""
        transport = self._transport
        if not self._paused and transport is not None and not transport.is_closing():
            self._paused = True
            transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        transport = self._transport
        if self._paused and transport is not None and not transport.is_closing():
            self._paused = False
            self._heard = self.loop.time()
            transport.resume_reading()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        self._descriptor = -1 if sock is None else sock.fileno()
        self._client.made(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        self._heard = self.loop.time()
        if self._answer is None:  # no request is open
            self.abort()
            return
        self._between += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(self._broke_off("what it sent is not HTTP"))
        if self._answer is not None and self._between > _LARGEST_HEAD:
            self._fail(self._broke_off("its headers have no end"))

    def eof_received(self) -> None:
        """Note that the other side sends no more; the event loop then closes."""
        answer = self._answer
        if answer is not None and answer.head.done() and not answer.delimited:
            self._finish()
        else:
            self._fail(self._broke_off("the connection closed"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the connection is gone."""
        self._client.lost(self)
        self._transport = None
        self._fail(
            self._broke_off(_reason(exc) if isinstance(exc, OSError) else "the connection closed")
        )

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Close if an unrequested answer follows another."""
        if self._answer is None:
            self.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; one after the body is not passed on."""
        answer = self._answer
        if answer is not None and not answer.head.done():
            answer.headers.append((name, value.rstrip(b" \t")))  # RFC 9112, section 5.1

    def on_headers_complete(self) -> None:
        """Take the head."""
        answer = self._answer
        if answer is None:
            return
        status = self._parser.get_status_code()
        if status == 101:
            self._fail(self._broke_off("it switched protocols"))
            return
        if 100 <= status < 200:
            self._interim = True
            answer.headers.clear()
            return
        names = {name.lower() for name, _ in answer.headers}
        framed = b"transfer-encoding" in names or b"content-length" in names
        answer.status = status
        answer.bodiless = answer.bodiless or status in {204, 304}
        answer.delimited = answer.bodiless or framed
        if not answer.head.done():  # the caller may have left
            answer.head.set_result(None)
        if answer.bodiless and (framed or status not in {204, 304}):
            # The parser does not know, and would wait for a body.
            self._finish()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._between = 0
        if self._answer is not None:
            self._answer.feed(body)

    def on_message_complete(self) -> None:
        """Take the end of an answer."""
        if self._interim:
            self._interim = False
        elif self._answer is not None:
            self._finish(reusable=self._parser.should_keep_alive())

    def _finish(self, *, reusable: bool = False) -> None:
        answer, self._answer = self._answer, None
        self._stop_timer()
        transport = self._transport
        if answer is not None:
            answer.finish()
        if transport is None:
            return
        # An answer that came before the request was sent whole says that it will not be read.
        if reusable and not transport.is_closing() and not transport.get_write_buffer_size():
            if self._paused:
                self.resume()
            self._client.keep(self)
        else:
            # Not close(), which waits for what is unsent to be taken.
            transport.abort()

    def _fail(self, error: TeacherError) -> None:
        answer, self._answer = self._answer, None
        self._stop_timer()
        if answer is not None:
            answer.fail(error)
        self.abort()

    def _look(self) -> None:
        """Fail if nothing has come for too long; a client that does not read is not the host."""
        quiet = 0.0 if self._paused else self.loop.time() - self._heard
        remaining = self._client.read_timeout - quiet
        if remaining > 0.001:
            self._timer = self.loop.call_later(remaining, self._look)
        else:
            self._fail(
                TeacherTimeoutError(f"The teacher at {self._client.label} did not answer in time")
            )

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _broke_off(self, reason: str) -> TeacherError:
        return TeacherError(f"The teacher at {self._client.label} broke off: {reason}")


def write_head(
    method: str, path: bytes, headers: Sequence[tuple[bytes, bytes]], length: int | None
) -> bytes:
    """Return a request's head, with the length of its body unless it has none."""
    lines = [b"%s %s HTTP/1.1" % (method.encode("ascii"), path)]
    lines += [name + b": " + value for name, value in headers]
    if length is not None:
        lines.append(b"content-length: %d" % length)
    lines.append(b"\r\n")
    return b"\r\n".join(lines)


def _is_readable(descriptor: int) -> bool:
    """Return whether a connection has something to read, its end included.

    The event loop notices only at its next poll; by then a request may have been sent in vain.
    """
    if descriptor < 0 or not _CAN_POLL:
        return False
    look = select.poll()
    look.register(descriptor, select.POLLIN)
    return bool(look.poll(0))


def _reason(error: OSError) -> str:
    """Return the system's reason for an error, however the event loop words it."""
    if isinstance(error, ssl.SSLError):
        return getattr(error, "verify_message", "") or error.reason or "the connection failed"
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or type(error).__name__
