"""Limits what a client of HTTP/1.1 may use: sizes, times and connections.

Uvicorn's protocol bounds neither the head of a request nor the time that a client takes to send
one or to read an answer.
"""

import asyncio
import logging
import socket
import struct
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from openwheel.gateway.cork import CorkedTransport
from openwheel.gateway.drain import Drain
from openwheel.settings import GatewaySection
from openwheel.wire import error_body

logger = logging.getLogger(__name__)

_STATUS = {
    400: b"400 Bad Request",
    408: b"408 Request Timeout",
    431: b"431 Request Header Fields Too Large",
    503: b"503 Service Unavailable",
}
_READ_PAST_REFUSAL = 8 << 20
_LINGER_S = 5.0
_LAST_REQUEST_S = 0.5
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class LimitedProtocol(HttpToolsProtocol):
    """One client's connection.

    No connection has a timer of its own, which every request would pay for: `sweep` checks all
    connections once a second.

    Args:
        limits: The sizes and times that a client may take, and the number of connections.
        refused: Connections that were refused and are about to close; shared by all.
        drain: Whether the gateway is about to stop.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: GatewaySection,
        refused: "set[LimitedProtocol]",
        drain: Drain,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self._all_refused = refused
        self._drain = drain
        self._refused = False
        self._read_past = 0
        self._in_head = False
        self._gained = False  # whether the last bytes brought a request further
        self._fruitless = 0  # bytes of a head, or of what is no body, since something did
        self._answering: RequestResponseCycle | None = None
        self._stopping = False
        self._asked_since: float | None = None  # when the request that is coming in began
        self._stuck_since: float | None = None  # since when the client reads nothing
        self._closing_since: float | None = None  # since when it leaves the last of it unread

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection, or refuse it where there are too many."""
        corked = CorkedTransport(cast(asyncio.Transport, transport), self.loop)
        super().connection_made(cast(asyncio.Transport, corked))
        self._asked_since = self.loop.time()
        if len(self.connections) <= self._limits.max_connections:
            return
        if len(self._all_refused) < self._limits.max_connections:
            self._refuse(503, "There are too many connections; try again", "too_many_connections")
        else:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop answering, also if a pipelined request waits behind the one being answered."""
        super().connection_lost(exc)
        self._all_refused.discard(self)
        self._stop_answering()

    def data_received(self, data: bytes) -> None:
        """Take bytes, unless there are too many before a request's body."""
        if self._refused:
            self._drop(data)
            return
        self._gained = False
        super().data_received(data)
        # What came before the head, or a body, in the same piece is not to count against it.
        self._fruitless = 0 if self._gained else self._fruitless + len(data)
        if self._fruitless > self._limits.max_header and not self._refused:
            self._refuse_head()
        if self._asked_since is None and self._is_idle():
            # Line ends, or the rest of a body already refused: they stop the timer of idleness.
            self._asked_since = self.loop.time()

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._in_head = True
        if self._asked_since is None:
            self._asked_since = self.loop.time()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; trailers of a chunked body are not headers."""
        if self._in_head:
            # As uvicorn does, without a call of it for every header.
            name = name.lower()
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        self._in_head = False
        if self._refused:
            return
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self._limits.max_header:
            self._refuse_head()
            return
        if [name for name, _ in self.headers].count(b"host") > 1:  # RFC 9112, 3.2
            self.send_400_response("The request must have one Host header, it has several")
            return
        self._gained = True
        super().on_headers_complete()
        if self._stopping or self._drain.begun:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._gained = True
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that the request is whole."""
        self._gained = True
        self._asked_since = None
        if not self._refused:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Start the time of a request that had to wait for this answer."""
        if self._asked_since is not None:
            self._asked_since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Note that the client does not read."""
        super().pause_writing()
        self._stuck_since = self.loop.time()

    def resume_writing(self) -> None:
        """Note that the client reads again."""
        super().resume_writing()
        self._stuck_since = None

    def send_400_response(self, msg: str) -> None:
        """Send the error for bytes that are no HTTP request."""
        self._refuse(400, msg, "invalid_http")

    def shutdown(self) -> None:
        """End after the request under way, or after one that may be on its way already."""
        self._stopping = True
        if self._is_idle():
            self.loop.call_later(_LAST_REQUEST_S, self._close_if_idle)
        else:
            self.cycle.keep_alive = False

    def sweep(self, now: float, *, stopping: bool) -> None:
        """Cut off a client that has taken too long."""
        if stopping and not self._stopping:  # it came while the server began to stop
            self.shutdown()
        if self._closing_since is None and self.transport.is_closing():
            self._closing_since = now
        unread_since = self._stuck_since or self._closing_since
        if unread_since is not None and now - unread_since > self._limits.send_timeout:
            logger.warning("A client left its answer unread for too long; it was cut off")
            _reset(self.transport)  # or the system would keep reporting unread bytes
        elif (
            self._asked_since is not None
            and now - self._asked_since > self._limits.request_timeout
            and self._waits_for_client()
        ):
            self._time_out()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        if cycle.scope["http_version"] == "1.0":
            app = _WithoutChunks(app, cycle)
        super()._start_asgi_task(cycle, app)

    def _unsupported_upgrade_warning(self) -> None:
        """Answer an offer of HTTP/2 or a websocket in HTTP/1.1; refuse a tunnel."""
        if self.scope["method"] == "CONNECT":  # what follows it is no HTTP
            self.send_400_response("This is no proxy: it takes no CONNECT")

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _close_if_idle(self) -> None:
        if self._is_idle() and not self._in_head:
            self.transport.close()

    def _waits_for_client(self) -> bool:
        """Whether it is the client's turn: a pipelined request may wait for an answer before it."""
        if self.pipeline or self._refused:
            return False
        return self._is_idle() or self.cycle.more_body

    def _time_out(self) -> None:
        if self._is_idle() and not self._in_head:
            self.transport.close()  # there is no request, or it is answered already
            return
        seconds = f"{self._limits.request_timeout:g}"
        self._refuse(408, f"The request was not whole after {seconds} seconds", "request_timeout")

    def _refuse_head(self) -> None:
        most = self._limits.max_header
        self._refuse(
            431, f"The request's headers must have at most {most} bytes", "headers_too_large"
        )

    def _refuse(self, status: int, message: str, code: str) -> None:
        """Send a refusal, and read no more requests from this client."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self.connections.discard(self)
        self._all_refused.add(self)
        self.loop.call_later(_LINGER_S, self.transport.abort)
        if self._stop_answering():
            self.transport.close()  # a refusal in the middle of an answer would pass for its end
            return
        body = error_body(message, type="invalid_request_error", code=code)
        retry = b"retry-after: 1\r\n" if status == 503 else b""
        head = (
            b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%s"
            b"connection: close\r\n\r\n"
        )
        self.transport.write(head % (_STATUS[status], len(body), retry) + body)
        # Closing at once would reset the connection while the client still sends, and the reset
        # may destroy the answer before it is read. The end of the connection is read, too.
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _stop_answering(self) -> bool:
        """Cancel the request being answered, if any; return whether its answer had begun."""
        cycle = self._answering
        if cycle is None or cycle.response_complete:
            return False
        cycle.disconnected = True
        cycle.message_event.set()
        return cycle.response_started

    def _drop(self, data: bytes) -> None:
        self._read_past += len(data)
        if self._read_past > _READ_PAST_REFUSAL:
            self.transport.abort()


class _WithoutChunks:
    """An app whose answers without a length end by closing, since HTTP/1.0 has no chunks."""

    def __init__(self, app: ASGIApp, cycle: RequestResponseCycle) -> None:
        self._app = app
        self._cycle = cycle
        self._bare = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_bare(message: Message) -> None:
            if message["type"] == "http.response.start":
                names = {name.lower() for name, _ in message.get("headers", ())}
                self._bare = b"content-length" not in names
                if self._bare:
                    self._cycle.chunked_encoding = False
            elif self._bare:
                self._cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, send_bare)
        except BaseException:
            if self._bare:
                _reset(self._cycle.transport)
            raise


def _reset(transport: asyncio.Transport) -> None:
    """Break a connection at once, so that a partial answer is not taken for a whole one."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()


def sweep(state: ServerState, *, stopping: bool = False) -> None:
    """Cut off every client that has taken too long.

    Args:
        state: Holds the connections.
        stopping: Whether the server is about to end.
    """
    now = asyncio.get_running_loop().time()
    for connection in list(state.connections):
        if isinstance(connection, LimitedProtocol):
            connection.sweep(now, stopping=stopping)
