"""Reads bodies and sends JSON and errors over ASGI."""

import asyncio
from collections.abc import Coroutine, Iterable
from urllib.parse import quote

import msgspec
from starlette.types import Receive, Scope, Send

from openwheel.errors import RequestError
from openwheel.wire import Api, error_body

Pairs = list[tuple[bytes, bytes]]

JSON = (b"content-type", b"application/json")

STOPPING = "openwheel.stopping"
"""Key in the lifespan's state of a callback for when the server begins to stop, before it waits for
the requests under way."""


class BodyTooLargeError(RequestError):
    """The request's body is larger than the gateway takes."""


class ClientGoneError(RequestError):
    """The client went away before its request was whole."""


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """Return the request's body.

    Raises:
        BodyTooLargeError: It has, or says it will have, more than ``limit`` bytes.
        ClientGoneError: The client went away first.
    """
    # Before anything is read, so that a client that waits for "100 Continue" gets a refusal.
    declared = header(scope, b"content-length")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        first: bytes = message.get("body", b"")
        if len(first) > limit:
            raise _too_large(limit)
        return first
    parts: list[bytes] = []
    size = 0
    while message["type"] == "http.request":
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise _too_large(limit)
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()
    raise ClientGoneError("The client went away before its request was whole")


def header(scope: Scope, name: bytes) -> bytes:
    """Return a request header's first value, ``b""`` if there is none."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return b""


def header_text(text: str) -> bytes:
    """Return ``text`` as a header value: printable ASCII as it is, the rest percent-encoded."""
    if text.isascii() and text.isprintable():
        return text.encode()
    return quote(text, safe=" !#$&'()*+,/:;=?@[]<>").encode()


async def send_body(
    send: Send, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]]
) -> None:
    """Send a whole response."""
    sized = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": sized})
    await send({"type": "http.response.body", "body": body})


async def send_json(send: Send, status: int, value: object) -> None:
    """Send a value as JSON."""
    await send_body(send, status, msgspec.json.encode(value), [JSON])


async def send_error(
    send: Send,
    status: int,
    message: str,
    *,
    type: str = "invalid_request_error",
    code: str | None = None,
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    """Send an error in the shape of the OpenAI API."""
    await send_body(send, status, error_body(message, type=type, code=code), [JSON, *headers])


async def method_not_allowed(
    scope: Scope, send: Send, allowed: str, api: Api | None = None
) -> None:
    """Send the error for a method that a path does not take, in the path's API if it has one."""
    error = error_body if api is None else api.error
    message = f"{scope['path']} takes {allowed}, not {scope['method']}"
    body = error(message, type="invalid_request_error", code="method_not_allowed")
    await send_body(send, 405, body, [JSON, (b"allow", allowed.encode())])


async def send_too_large(send: Send, error: BodyTooLargeError, api: Api) -> None:
    """Send the error for a body that is too large, in the shape of the API that was asked."""
    body = api.error(str(error), type="invalid_request_error", code="request_too_large")
    await send_body(send, 413, body, [JSON])


async def while_connected(receive: Receive, work: Coroutine[None, None, None]) -> bool:
    """Do ``work``; cancel it if the client goes away first. Return whether it finished."""
    task = asyncio.current_task()
    if task is None:
        raise AssertionError("while_connected runs outside a task")
    disconnected = done = False

    def client_went(watch: asyncio.Task[None]) -> None:
        nonlocal disconnected
        if not watch.cancelled() and not done:
            disconnected = True
            task.cancel()

    watch = asyncio.get_running_loop().create_task(_disconnected(receive))
    watch.add_done_callback(client_went)
    try:
        await work
    except asyncio.CancelledError:
        if not disconnected:  # the server is stopping
            raise
        task.uncancel()
        return False
    finally:
        done = True
        watch.cancel()
    return True


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _too_large(limit: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"The request body must have at most {limit} bytes, and has more")
