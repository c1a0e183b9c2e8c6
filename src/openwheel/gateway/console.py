"""Passes requests for the console on to its process, so that no worker renders a page."""

import logging
from typing import Final

from starlette.types import Receive, Scope, Send

from openwheel.errors import TeacherError
from openwheel.gateway.asgi import (
    BodyTooLargeError,
    ClientGoneError,
    Pairs,
    read_body,
    send_error,
    while_connected,
)
from openwheel.teachers.http_client import HttpClient

logger = logging.getLogger(__name__)

MOST_BODY: Final = 256 << 10
_METHODS: Final = frozenset({"GET", "HEAD", "POST"})
_CONNECTION: Final = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade",
     b"transfer-encoding")
)  # fmt: skip
_NOT_PASSED_ON: Final = _CONNECTION | {b"content-length", b"expect"}
_OWN: Final = b"x-openwheel-"
_SILENCE_S: Final = 60.0
"""The console sends something more often than this."""


class ConsoleProxy:
    """``/console`` and what is below it.

    Args:
        port: The console's, on this machine.
        secret: What a request has to carry.
    """

    def __init__(self, port: int, secret: str) -> None:
        self._secret = secret.encode()
        self._stopping = False
        self._client = HttpClient(
            "127.0.0.1",
            port,
            secure=False,
            label="the console",
            connect_timeout=2.0,
            read_timeout=_SILENCE_S,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request with what the console answers."""
        if scope["method"] not in _METHODS:
            await send_error(send, 405, "The console takes GET and POST.")
            return
        try:
            body = await read_body(scope, receive, MOST_BODY)
        except BodyTooLargeError as error:
            await send_error(send, 413, str(error))
            return
        except ClientGoneError:
            return
        await while_connected(receive, self._pass_on(scope, body, send))

    def stop(self) -> None:
        """End the streams of open pages, which would hold up the gateway's end."""
        self._stopping = True
        self._client.close()

    async def _pass_on(self, scope: Scope, body: bytes, send: Send) -> None:
        bodiless = scope["method"] == "HEAD"
        try:
            answer = await self._client.request(self._head(scope, body), body, bodiless=bodiless)
        except TeacherError as error:
            logger.warning("The console does not answer: %s", error)
            message = "The console does not answer at the moment; it is started again. Try again."
            await send_error(send, 503, message, type="server_error")
            return
        try:
            headers = [pair for pair in answer.headers if pair[0].lower() not in _CONNECTION]
            start = {"type": "http.response.start", "status": answer.status, "headers": headers}
            await send(start)
            async for chunk in answer:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TeacherError:
            if not self._stopping:
                raise  # the client must not take what it has for a whole page
        finally:
            answer.close()

    def _head(self, scope: Scope, body: bytes) -> bytes:
        client = scope.get("client")
        target: bytes = scope["raw_path"]
        if scope["query_string"]:
            target += b"?" + scope["query_string"]
        headers: Pairs = [
            (name, value)
            for name, value in scope["headers"]
            if name not in _NOT_PASSED_ON and not name.startswith(_OWN)
        ]
        headers += [
            (b"x-openwheel-console", self._secret),
            (b"x-openwheel-client", (client[0] if client else "").encode()),
            (b"x-openwheel-scheme", scope["scheme"].encode()),
            (b"content-length", b"%d" % len(body)),
        ]
        lines = b"".join(b"%s: %s\r\n" % pair for pair in headers)
        return b"%s %s HTTP/1.1\r\n%s\r\n" % (scope["method"].encode(), target, lines)
