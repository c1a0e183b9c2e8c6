"""Finds the endpoint for paths written in other ways, and answers unknown paths."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from openwheel.access import RefusedError
from openwheel.gateway.asgi import header, send_error
from openwheel.gateway.authorization import Guard, api_of, send_refusal
from openwheel.teachers import Place, find_place, listed, named_model

PLACE: Final = "openwheel.place"
"""Key in a request's scope of its `Place`."""


class Places:
    """Finds the endpoint of a path, for any base URL that a client may have.

    Args:
        served: The endpoints, by their paths.
        forward: Forwards known paths without an endpoint.
        paths: Patterns of more paths to forward.
        guard: Checks the key before a client gets a 404.
    """

    def __init__(
        self,
        served: Mapping[str, ASGIApp],
        forward: ASGIApp,
        paths: tuple[str, ...],
        guard: Guard,
    ) -> None:
        self._served = served
        self._forward = forward
        self._paths = paths
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application that serves a request's path."""
        if scope["type"] != "http":  # a websocket: refused before it is accepted
            await send({"type": "websocket.close", "code": 1000})
            return
        place = find_place(scope["raw_path"])
        if place is not None:
            handler = self._served.get(place.path)
            if handler is None and (place.kind or listed(place, self._paths)):
                handler = self._forward
            if handler is not None:
                await handler(_moved(scope, place), receive, send)
                return
            try:
                self._guard.identify(scope)
            except RefusedError as error:
                await send_refusal(send, error, api_of(place.path))
                return
        await not_found(scope, receive, send)


def with_deployment(scope: Scope, body: bytes) -> bytes:
    """Return a request's body, with the path's model if the body names none."""
    place: Place | None = scope.get(PLACE)
    if place is None or not place.deployment or named_model(body):
        return body
    start, brace, rest = body.partition(b"{")
    if not brace or start.strip():
        return body
    comma = b"" if rest.lstrip().startswith(b"}") else b","
    return b'{"model":' + msgspec.json.encode(place.deployment) + comma + rest


async def not_found(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI's
    """Send the error for an unknown path."""
    host = header(scope, b"host").decode("latin-1")
    server = f"{scope['scheme']}://{host}" if host.isprintable() and host else "http://HOST:PORT"
    await send_error(
        send,
        404,
        f"There is no {scope['method']} {scope['path']} here. The base URL of this gateway is "
        f"{server}/v1 for OpenAI's clients and {server} for Anthropic's and Azure's.",
        code="unknown_url",
    )


def _moved(scope: Scope, place: Place) -> Scope:
    path = place.path
    return {**scope, "path": unquote(path), "raw_path": path.encode("latin-1"), PLACE: place}
