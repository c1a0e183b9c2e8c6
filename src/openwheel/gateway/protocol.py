"""HTTP/1.1 with limits: no client may hold a connection, or memory, without end.

Uvicorn's protocol bounds neither the head of a request nor the time that a client takes to send
one or to read an answer.
"""

import asyncio
import logging
from typing import Any, cast

import msgspec
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from openwheel.wire import error_body

logger = logging.getLogger(__name__)

SWEEP_EVERY_S = 1.0

_STATUS = {
    400: b"400 Bad Request",
    408: b"408 Request Timeout",
    431: b"431 Request Header Fields Too Large",
    503: b"503 Service Unavailable",
}
_READ_PAST_REFUSAL = 8 << 20
_LINGER_S = 5.0


class ConnectionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a client may take.

    Attributes:
        max_header: The most bytes of a request line and headers.
        max_connections: The most connections at the same time.
        request_timeout: Seconds from the first byte of a request, or from connecting, to its last.
        send_timeout: Seconds that an answer may wait for the client to read.
        keep_alive: Seconds that a connection may be idle between requests.
    """

    max_header: int = 64 << 10
    max_connections: int = 10_000
    request_timeout: float = 60.0
    send_timeout: float = 120.0
    # Longer than clients and load balancers keep idle connections, so that it is they who close.
    keep_alive: float = 75.0


class LimitedProtocol(HttpToolsProtocol):
    """One client's connection.

    Nothing is timed by a timer of its own, which every request would pay for: `sweep` looks at
    all connections once a second.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: ConnectionLimits,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self._head = 0  # bytes of a head that is not whole
        self._in_head = False
        self._refused = False
        self._read_past = 0
        self._asked_since: float | None = None  # when the request that is coming in began
        self._stuck_since: float | None = None  # since when the client reads nothing

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection, or refuse it where there are too many."""
        super().connection_made(cast(asyncio.Transport, transport))
        self._asked_since = self.loop.time()
        if len(self.connections) > self._limits.max_connections:
            self._refuse(503, "There are too many connections; try again", "too_many_connections")

    def data_received(self, data: bytes) -> None:
        """Take bytes, as long as there are not too many before a request's body."""
        if self._refused:
            self._drop(data)
            return
        super().data_received(data)
        if self._in_head:
            self._head += len(data)
            if self._head > self._limits.max_header:
                self._refuse_head()

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._in_head, self._head = True, 0
        if self._asked_since is None:
            self._asked_since = self.loop.time()

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        self._in_head = False
        if self._refused:
            return
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self._limits.max_header:
            self._refuse_head()
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that the request is whole."""
        self._asked_since = None
        if not self._refused:
            super().on_message_complete()

    def pause_writing(self) -> None:
        """Note that the client does not read."""
        super().pause_writing()
        self._stuck_since = self.loop.time()

    def resume_writing(self) -> None:
        """Note that the client reads again."""
        super().resume_writing()
        self._stuck_since = None

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP request."""
        if not self._refused:
            self._refuse(400, msg, "invalid_http")

    def sweep(self, now: float) -> None:
        """Cut off a client that has taken too long."""
        if self._stuck_since is not None and now - self._stuck_since > self._limits.send_timeout:
            logger.warning("A client left its answer unread for too long; it was cut off")
            self.transport.abort()
        elif (
            self._asked_since is not None
            and now - self._asked_since > self._limits.request_timeout
            and self._waits_for_client()
        ):
            self._time_out()

    def _waits_for_client(self) -> bool:
        """Whether it is the client's turn: a pipelined request may wait for an answer before it."""
        if self.pipeline or self._refused:
            return False
        return self.cycle is None or self.cycle.response_complete or self.cycle.more_body

    def _time_out(self) -> None:
        started = self.cycle is not None and (
            self.cycle.response_started and not self.cycle.response_complete
        )
        if started or (self.cycle is None and not self._in_head):
            self.transport.close()  # nothing was asked, or the answer has begun
            return
        seconds = f"{self._limits.request_timeout:g}"
        self._refuse(408, f"The request was not whole after {seconds} seconds", "request_timeout")

    def _refuse_head(self) -> None:
        most = self._limits.max_header
        self._refuse(
            431, f"The request's headers must have at most {most} bytes", "headers_too_large"
        )

    def _refuse(self, status: int, message: str, code: str) -> None:
        """Answer by itself, and read no more requests from this client."""
        self._refused = True
        body = error_body(message, type="invalid_request_error", code=code)
        retry = b"retry-after: 1\r\n" if status == 503 else b""
        head = (
            b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%s"
            b"connection: close\r\n\r\n"
        )
        self.transport.write(head % (_STATUS[status], len(body), retry) + body)
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        # Closing at once would reset the connection while the client still sends, and the reset
        # may destroy the answer before it is read.
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER_S, self.transport.abort)

    def _drop(self, data: bytes) -> None:
        self._read_past += len(data)
        if self._read_past > _READ_PAST_REFUSAL:
            self.transport.abort()


def sweep(state: ServerState) -> None:
    """Cut off every client that has taken too long."""
    now = asyncio.get_running_loop().time()
    for connection in list(state.connections):
        if isinstance(connection, LimitedProtocol):
            connection.sweep(now)
