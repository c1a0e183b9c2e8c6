"""Forwarding: a request to the teacher and its response to the client, bytes as they are."""

import asyncio
import logging
import re
import time
import unicodedata
from collections.abc import Awaitable, Callable
from typing import Protocol
from urllib.parse import unquote_to_bytes

from starlette.types import Receive, Scope, Send

from openwheel.access import Key, RefusedError
from openwheel.endpoints import (
    Headers,
    TeacherNotReachedError,
    TeacherResponse,
    TeacherTimeoutError,
    named_model,
    without_credentials,
)
from openwheel.errors import TeacherError
from openwheel.gateway.asgi import (
    JSON,
    BodyTooLargeError,
    ClientGoneError,
    Pairs,
    not_found,
    read_body,
    send_body,
    send_too_large,
    while_connected,
)
from openwheel.gateway.guard import OWN_KEY, api_of, credential, send_refusal
from openwheel.gateway.parts import Parts
from openwheel.gateway.passage import Passage
from openwheel.gateway.reach import DOWN
from openwheel.gateway.spans import request_span
from openwheel.gateway.tap import CostTap

logger = logging.getLogger(__name__)

# Whoever comes back waits again, so it need not be long.
_RETRY = (b"retry-after", b"1")
# A teacher behind two proxies may have a path decoded three times.
_DECODINGS = 4


class Tap(Protocol):
    """Sees a response's body as it passes."""

    def chunk(self, chunk: bytes) -> bool:
        """Take a chunk, and return whether it must wait for `before_end`."""

    async def before_end(self) -> None:
        """Judge, when the last chunk has come, whether this may be told to be the end.

        Raises:
            TeacherError: The body is not whole; the client's connection is to break.
        """

    def after_end(self) -> None:
        """Take note that the client has been sent the whole response."""

    def left(self) -> None:
        """Take note that the client went away before the response had ended."""

    def close(self) -> None:
        """Let go, however it ended."""


class Forward:
    """Passes every request under ``/v1`` that has no handler of its own to the teacher."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward one request."""
        if may_leave_v1(scope["raw_path"]):
            await not_found(scope, receive, send)
            return
        parts, passage = self._parts, Passage(api_of(scope["path"]))
        try:
            passage.key = parts.guard.identify(scope)
            passage.body = await read_body(scope, receive, parts.max_body)
            model = named_model(passage.body)
            if model or scope["method"] not in {"GET", "HEAD"}:
                parts.guard.check(passage.key, model)
                parts.guard.check_task(passage.key, "")
        except BodyTooLargeError as error:
            passage.status = 413
            await send_too_large(send, error, passage.api)
        except RefusedError as error:
            passage.status = error.status
            await send_refusal(send, error, passage.api)
        except ClientGoneError:
            parts.meter.cancelled += 1
            return
        else:
            passage.source = "forwarded"
            work = forward(
                parts,
                scope,
                send,
                passage,
                model=model,
                tap=lambda response: CostTap(response, passage, parts.recorder),
            )
            if not await while_connected(receive, work):
                parts.meter.cancelled += 1
        seconds = time.perf_counter() - passage.started
        parts.meter.request(
            "other", passage.source, passage.status, seconds, passage.first_byte, ""
        )
        if parts.tracer is not None:
            parts.tracer.record(request_span(scope, passage, None))


async def forward(
    parts: Parts,
    scope: Scope,
    send: Send,
    passage: Passage,
    *,
    model: str = "",
    headers: Pairs | None = None,
    tap: Callable[[TeacherResponse], Tap | None] | None = None,
    instead: Callable[[str], Awaitable[bool]] | None = None,
    patient: bool = True,
) -> None:
    """Send a request to the teacher and its response to the client.

    Args:
        passage: The request; told how it fares.
        model: That the request asks for.
        headers: Added to the response.
        tap: Given the head of the response, returns what is to see its body, if anything is.
        instead: Called with a short reason where no teacher answers, or it says that it cannot
            now, before the client was sent anything. Returns whether it answered the client.
        patient: Whether to wait for a teacher that cannot be reached, where that is wanted.

    Raises:
        TeacherError: The teacher broke off after its response had begun. The error leaves through
            the server, which then cuts the connection: the client must not take what it has for
            a whole answer.
    """
    added = headers or []
    ask = parts.teacher.send_patiently if patient else parts.teacher.send
    try:
        response = await ask(
            scope["method"], target(scope), passable(scope, passage.key), passage.body, model=model
        )
    except TeacherError as error:
        parts.meter.teacher_errors += 1
        logger.warning("%s", error)
        if instead is not None and await instead(_why(error)):
            return
        if parts.teacher.wait and isinstance(error, TeacherNotReachedError):
            added = [*added, _RETRY]
        await _send_failure(send, error, passage, added)
        return
    if instead is not None and response.status in DOWN:
        try:
            answered = await instead("teacher_unavailable")
        except BaseException:
            response.close()
            raise
        if answered:
            response.close()
            return
    passage.status, passage.teacher = response.status, response.teacher
    seen = tap(response) if tap else None
    try:
        await _relay(response, send, added, passage, seen)
    except TeacherError:
        parts.meter.teacher_errors += 1
        passage.error = "teacher_broke_off"
        raise
    except asyncio.CancelledError:
        if seen is not None:
            seen.left()
        raise
    finally:
        response.close()
        if seen is not None:
            seen.close()


async def _relay(
    response: TeacherResponse, send: Send, added: Pairs, passage: Passage, tap: Tap | None
) -> None:
    headers = [*response.headers, *added]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    held: list[bytes] = []
    async for chunk in response.chunks:
        if passage.first_byte is None:
            passage.first_byte = time.perf_counter() - passage.started
        if tap is not None and tap.chunk(chunk):
            held.append(chunk)
        else:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    if tap is not None:
        await tap.before_end()
    await send({"type": "http.response.body", "body": b"".join(held), "more_body": False})
    if tap is not None:
        tap.after_end()


async def _send_failure(send: Send, error: TeacherError, passage: Passage, added: Pairs) -> None:
    passage.status = 504 if isinstance(error, TeacherTimeoutError) else 502
    passage.error = _why(error)
    body = passage.api.error(str(error), type="teacher_error", code=passage.error)
    await send_body(send, passage.status, body, [JSON, *added])


def _why(error: TeacherError) -> str:
    late = isinstance(error, TeacherTimeoutError)
    return "teacher_timeout" if late else "teacher_unreachable"


def passable(scope: Scope, key: Key | None) -> Headers:
    """Return the headers that a teacher may see: a key of the gateway is none of its business.

    Nor is it where no key is needed, or not yet.
    """
    headers: Headers = scope["headers"]
    if key is None and not (credential(scope) or "").startswith(OWN_KEY):
        return headers
    return without_credentials(headers)


def may_leave_v1(raw_path: bytes) -> bool:
    """Return whether some server could take a path under ``/v1`` for one outside.

    The operator's key goes with it. Servers decode a path once or more often, take a backslash for
    a slash, cut what follows a semicolon, and normalise characters, before they resolve dots.

    Examples:
        >>> [may_leave_v1(path) for path in (b"/v1%2f..%2fadmin", b"/v1/x/%252e%252e/y")]
        [True, True]
        >>> [may_leave_v1(path) for path in (b"/v1/models/org%2Fmodel-1.5", b"/v1/files/a..b")]
        [False, False]
    """
    path = raw_path
    for _ in range(_DECODINGS):
        decoded = unquote_to_bytes(path)
        if decoded == path:
            break
        path = decoded
    else:
        return True
    try:
        text = unicodedata.normalize("NFKC", path.decode())
    except UnicodeDecodeError:  # as overlong encodings of a dot or a slash are
        return True
    segments = (part.partition(";")[0].strip() for part in re.split(r"[/\\]", text))
    dots = any(part and not part.strip(".") for part in segments)
    return dots or not text.isprintable()


def target(scope: Scope) -> str:
    """Return the path and query of a request, encoded as the client sent them."""
    path: str = scope["raw_path"].decode("latin-1")
    query: bytes = scope["query_string"]
    return f"{path}?{query.decode('latin-1')}" if query else path
