"""Forwards a request to the teacher and its response to the client, without changing bytes."""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable
from typing import Protocol
from urllib.parse import unquote_to_bytes

from starlette.types import Receive, Scope, Send

from openwheel.access import Key, RefusedError
from openwheel.errors import TeacherError
from openwheel.gateway.asgi import (
    JSON,
    BodyTooLargeError,
    ClientGoneError,
    Pairs,
    header_text,
    method_not_allowed,
    read_body,
    send_body,
    send_too_large,
    while_connected,
)
from openwheel.gateway.authorization import OWN_KEY, api_of, credential, send_refusal
from openwheel.gateway.call import Call
from openwheel.gateway.other_paths import PLACE, with_deployment
from openwheel.gateway.patient_teacher import DOWN
from openwheel.gateway.spans import request_span
from openwheel.gateway.state import GatewayState
from openwheel.gateway.tap import CostTap
from openwheel.teachers import (
    Headers,
    NoTeacherError,
    Place,
    Sending,
    TeacherNotReachedError,
    TeacherRequest,
    TeacherResponse,
    TeacherTimeoutError,
    named_model,
    without_credentials,
)

logger = logging.getLogger(__name__)

# A client that comes back waits again, so it need not be long.
_RETRY = (b"retry-after", b"1")
_MAY_BE_OWN = OWN_KEY.encode()
_OWN = re.compile(rb"(?<![A-Za-z0-9])ow-[\w-]{43}")


class Tap(Protocol):
    """Sees a response's body as it passes."""

    def chunk(self, chunk: bytes) -> bool:
        """Take a chunk, and return whether it must wait for `before_end`."""

    async def before_end(self) -> None:
        """Check, when the last chunk has come, whether the response is complete.

        Raises:
            TeacherError: The body is not whole; the client's connection is to break.
        """

    def after_end(self) -> None:
        """Note that the client has been sent the whole response."""

    def left(self) -> None:
        """Note that the client went away before the response had ended."""

    def close(self) -> None:
        """Release resources, however the response ended."""


class Forward:
    """Forwards every request of a known path that has no handler of its own."""

    def __init__(self, state: GatewayState) -> None:
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward one request whose place `Places` has found."""
        place: Place = scope[PLACE]
        state, call = self._state, Call(api_of(scope["path"]))
        try:
            call.key = state.guard.identify(scope)
            if place.methods and scope["method"] not in place.methods:
                allowed = ", ".join(sorted(place.methods))
                await method_not_allowed(scope, send, allowed, call.api)
                return
            state.guard.admit(call.key)
            body = await read_body(scope, receive, state.settings.max_body)
            call.body = with_deployment(scope, body)
            call.model = named_model(call.body)
            self._check(call.key, place, scope["method"], call.model)
        except BodyTooLargeError as error:
            call.status = 413
            await send_too_large(send, error, call.api)
        except RefusedError as error:
            call.status = error.status
            await send_refusal(send, error, call.api)
        except ClientGoneError:
            state.meter.cancelled += 1
            return
        else:
            call.source = "forwarded"
            billed = place.kind not in {"list", "model", "kept"} and scope["method"] == "POST"
            work = forward(
                state,
                scope,
                send,
                call,
                tap=lambda response: CostTap(response, call, state.recorder, billed=billed),
                generates=billed,
            )
            if not await while_connected(receive, work):
                state.meter.cancelled += 1
        seconds = time.perf_counter() - call.started
        state.meter.request("other", call.source, call.status, seconds, call.first_byte, "")
        if state.tracer is not None:
            state.tracer.record(request_span(scope, call))

    def _check(self, key: Key | None, place: Place, method: str, model: str) -> None:
        """Check that a key may send a request, by the model and path that it names.

        Raises:
            RefusedError: It may not.
        """
        if place.kind == "list":
            return
        guard = self._state.guard
        if place.kind == "model" and method != "DELETE":
            about = place.model
        else:
            # Stored objects at a teacher may be any client's, and in a path outside the table the
            # model's name cannot be found.
            about = model if place.kind in {"any", "named"} else ""
        guard.check_model(key, about)
        guard.check_task(key, "")


async def forward(
    state: GatewayState,
    scope: Scope,
    send: Send,
    call: Call,
    *,
    headers: Pairs | None = None,
    tap: Callable[[TeacherResponse], Tap | None] | None = None,
    instead: Callable[[str], Awaitable[bool]] | None = None,
    patient: bool = True,
    generates: bool = True,
    whole: Call | None = None,
) -> None:
    """Send a request to the teacher and its response to the client.

    Args:
        call: The request; its outcome is set on it.
        headers: Added to the response.
        tap: Takes the head of the response and returns a `Tap` for its body, or None.
        instead: Called with a short reason if no teacher answers, or none is available, before the
            client was sent anything. Returns whether it answered the client.
        patient: Whether to wait for a teacher that cannot be reached, if the settings want it.
        generates: Whether the teacher generates tokens for it, which costs money even if the client
            has left.
        whole: The call that this one is a part of, if it is one.

    Raises:
        TeacherError: The teacher broke off after its response had begun. The error leaves through
            the server, which then cuts the connection: the client must not take what it has for
            a whole answer.
    """
    added = headers or []
    ask = state.teacher.send_patiently if patient else state.teacher.send
    instead = _stand_in(state, scope, send, whole or call, instead)
    sending = Sending()
    try:
        passed = passable(scope, call.key)
        request = TeacherRequest(
            scope["method"], target(scope), passed, call.body, call.model, sending, call.marks
        )
        response = await ask(request)
    except asyncio.CancelledError:
        _charge_unanswered(state, call, sending, generates)
        raise
    except TeacherError as error:
        _charge_unanswered(state, call, sending, generates)
        _count_failure(state, error)
        if instead is not None and await instead(_why(error)):
            return
        if state.teacher.wait and isinstance(error, TeacherNotReachedError):
            added = [*added, _RETRY]
        await _send_failure(send, error, call, added)
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
    call.status, call.teacher = response.status, response.teacher
    added = [*added, *_named_teacher(call, response)]
    seen = tap(response) if tap else None
    try:
        await _relay(response, send, added, call, seen)
    except TeacherError:
        _note_broken(state, scope, call, whole or call)
        raise
    except asyncio.CancelledError:
        if seen is not None:
            seen.left()
        raise
    finally:
        response.close()
        if seen is not None:
            seen.close()


def _stand_in(
    state: GatewayState,
    scope: Scope,
    send: Send,
    call: Call,
    instead: Callable[[str], Awaitable[bool]] | None,
) -> Callable[[str], Awaitable[bool]] | None:
    """Return who answers if no teacher does: students, and after them the edge, on one."""
    edge = state.edge
    if edge is None:
        return instead

    async def answered(reason: str) -> bool:
        if instead is not None and await instead(reason):
            return True
        return await edge.unanswered(scope, send, call, reason)

    return answered


def _note_broken(state: GatewayState, scope: Scope, call: Call, whole: Call) -> None:
    """Note that the teacher broke off after its response had begun."""
    state.meter.teacher_errors += 1
    call.error = "teacher_broke_off"
    if state.edge is not None:
        state.edge.broke_off(scope, whole)


def _named_teacher(call: Call, response: TeacherResponse) -> Pairs:
    """Return the header by which an edge knows which teacher answered."""
    return [(b"x-openwheel-teacher", header_text(response.teacher))] if call.teacher_only else []


async def _relay(
    response: TeacherResponse, send: Send, added: Pairs, call: Call, tap: Tap | None
) -> None:
    headers = [*response.headers, *added]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    chunks: list[bytes] = []
    async for chunk in response.chunks:
        if call.first_byte is None:
            call.first_byte = time.perf_counter() - call.started
        if tap is not None and tap.chunk(chunk):
            chunks.append(chunk)
        else:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    if tap is not None:
        await tap.before_end()
    await send({"type": "http.response.body", "body": b"".join(chunks), "more_body": False})
    if tap is not None:
        tap.after_end()


def _charge_unanswered(state: GatewayState, call: Call, sending: Sending, generates: bool) -> None:
    """Charge the tokens a teacher may have used for a request without beginning an answer."""
    if sending.teacher and generates:
        seconds = time.perf_counter() - call.started
        state.recorder.unanswered(sending.teacher, call.body, seconds, call.key)


def _count_failure(state: GatewayState, error: TeacherError) -> None:
    """Count and log that no teacher answered; that there is none was said at the start.

    An edge says once that its link is down.
    """
    if not isinstance(error, NoTeacherError):
        state.meter.teacher_errors += 1
        if state.edge is None:
            logger.warning("%s", error)


async def _send_failure(send: Send, error: TeacherError, call: Call, added: Pairs) -> None:
    # Without a teacher there is nothing to come back for; the SDKs try a 5xx again.
    late = 504 if isinstance(error, TeacherTimeoutError) else 502
    call.status = 404 if isinstance(error, NoTeacherError) else late
    call.error = _why(error)
    message = str(error)
    if isinstance(error, NoTeacherError):
        message = f"{error}, and not this: {_left(call)}."
    body = call.api.error(message, type="teacher_error", code=call.error)
    await send_body(send, call.status, body, [JSON, *added])


def _left(call: Call) -> str:
    """Return why no student answers a request, for each of its questions that none does."""
    if call.request is None:
        return "it is no request that a student reads"
    if not call.parts:
        return call.decision.why_not
    return "; ".join(
        f"{part.named}: {part.decision.why_not}"
        for part in call.parts
        if part.decision.answer is None
    )


def _why(error: TeacherError) -> str:
    if isinstance(error, NoTeacherError):
        return "no_teacher"
    late = isinstance(error, TeacherTimeoutError)
    return "teacher_timeout" if late else "teacher_unreachable"


def passable(scope: Scope, key: Key | None) -> Headers:
    """Return the headers that a teacher may see, without those that hold a key of the gateway.

    Such keys are left out even if no key is needed, and from every header.
    """
    headers: Headers = scope["headers"]
    # One search for all headers: nearly no request of a gateway without keys has a match.
    holds_own_key = _MAY_BE_OWN in b"\n".join([value for _, value in headers])
    if key is not None or (holds_own_key and (credential(scope) or "").startswith(OWN_KEY)):
        headers = without_credentials(headers)
    return [pair for pair in headers if not _OWN.search(pair[1])] if holds_own_key else headers


def target(scope: Scope) -> str:
    """Return the path and query of a request, encoded as the client sent them.

    Parts of the query for another server, or with a key of the gateway, are left out.
    """
    path: str = scope["raw_path"].decode("latin-1")
    query: bytes = scope["query_string"]
    if not query:
        return path
    foreign = PLACE in scope and scope[PLACE].foreign
    fields = [
        part
        for part in query.split(b"&")
        if not _OWN.search(unquote_to_bytes(part))
        and not (foreign and part.startswith(b"api-version="))
    ]
    return f"{path}?{b'&'.join(fields).decode('latin-1')}" if fields else path
