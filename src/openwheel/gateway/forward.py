"""Forwarding: a request to the teacher and its response to the client, bytes as they are."""

import logging
import re
from collections.abc import Callable

from starlette.types import Receive, Scope, Send

from openwheel.endpoints import Teacher, TeacherResponse, TeacherTimeoutError
from openwheel.errors import TeacherError
from openwheel.gateway.asgi import (
    BodyTooLargeError,
    ClientGoneError,
    Pairs,
    not_found,
    read_body,
    send_error,
    send_too_large,
    while_connected,
)
from openwheel.gateway.health import Counts

logger = logging.getLogger(__name__)

# Dots that a server may resolve would lead out of /v1, with the operator's key in hand.
_CLIMBS = re.compile(rb"/(\.|%2e){2}(/|%2f|\\|%5c|$)", re.IGNORECASE)


class Forward:
    """Passes every request under ``/v1`` that has no handler of its own to the teacher."""

    def __init__(self, teacher: Teacher, counts: Counts, max_body: int) -> None:
        self._teacher = teacher
        self._counts = counts
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward one request."""
        if _CLIMBS.search(scope["raw_path"]):
            await not_found(scope, receive, send)
            return
        try:
            body = await read_body(scope, receive, self._max_body)
        except BodyTooLargeError as error:
            await send_too_large(send, error)
            return
        except ClientGoneError:
            return
        self._counts.forwarded += 1
        work = forward(self._teacher, scope, send, body, self._counts)
        if not await while_connected(receive, work):
            self._counts.cancelled += 1


async def forward(
    teacher: Teacher,
    scope: Scope,
    send: Send,
    body: bytes,
    counts: Counts,
    *,
    headers: Pairs | None = None,
    tap: Callable[[TeacherResponse], "Tap | None"] | None = None,
) -> None:
    """Send a request to the teacher and its response to the client.

    Args:
        headers: Added to the response.
        tap: Given the head of the response, returns what is to see its body, if anything is.

    Raises:
        TeacherError: The teacher broke off after its response had begun. The error leaves through
            the server, which then cuts the connection: the client must not take what it has for
            a whole answer.
    """
    added = headers or []
    try:
        response = await teacher.send(scope["method"], target(scope), scope["headers"], body)
    except TeacherError as error:
        counts.teacher_errors += 1
        logger.warning("%s", error)
        late = isinstance(error, TeacherTimeoutError)
        await send_error(
            send,
            504 if late else 502,
            str(error),
            type="teacher_error",
            code="teacher_timeout" if late else "teacher_unreachable",
            headers=added,
        )
        return
    try:
        await _relay(response, send, added, tap(response) if tap else None)
    except TeacherError:
        counts.teacher_errors += 1
        raise
    finally:
        response.close()


class Tap:
    """Sees a response's body as it passes."""

    def chunk(self, chunk: bytes) -> None:
        """Take a chunk that the client was sent."""

    def before_end(self) -> None:
        """Judge, when the last chunk has passed, whether this may be told to be the end.

        Raises:
            TeacherError: The body is not whole; the client's connection is to break.
        """

    def after_end(self) -> None:
        """Take note that the client has been sent the whole response."""


async def _relay(response: TeacherResponse, send: Send, added: Pairs, tap: Tap | None) -> None:
    headers = [*response.headers, *added]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    async for chunk in response.chunks:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
        if tap is not None:
            tap.chunk(chunk)
    if tap is not None:
        tap.before_end()
    await send({"type": "http.response.body", "body": b"", "more_body": False})
    if tap is not None:
        tap.after_end()


def target(scope: Scope) -> str:
    """Return the path and query of a request, encoded as the client sent them."""
    path: str = scope["raw_path"].decode("latin-1")
    query: bytes = scope["query_string"]
    return f"{path}?{query.decode('latin-1')}" if query else path
