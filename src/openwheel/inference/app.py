"""The HTTP API of a `Front`: adapters as vLLM has them, all else as llama.cpp has it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from openwheel.errors import EngineError, ModelError, OpenwheelError, RequestError
from openwheel.inference.child import BrokenOffError, Reply
from openwheel.inference.front import Front, UnknownModelError
from openwheel.inference.slots import SlotsFullError
from openwheel.wire import error_body

MOST_BODY = 32 << 20
_JSON = "application/json"
# Of what llama.cpp serves: where it takes an adapter, and what reads alone. In `/v1/messages` it
# passes over which adapter is asked for, and would go on from what another left in a slot.
_FORWARDED = (
    *("/v1/chat/completions", "/v1/completions", "/completion"),
    *("/tokenize", "/detokenize", "/apply-template"),
)


class BodyTooLargeError(RequestError):
    """A request's body is larger than any conversation."""


class _Adapter(msgspec.Struct):
    lora_name: str
    lora_path: str = ""


class _Serving:
    """Answers requests by a front."""

    def __init__(self, front: Front, *, adapters: bool) -> None:
        self._front = front
        self._adapters = adapters

    async def forward(self, request: Request) -> Response:
        """Have llama.cpp answer."""
        stack = contextlib.AsyncExitStack()
        try:
            body = await _body(request)
            target = request.url.path
            asking = stack.enter_async_context(self._front.ask(request.method, target, body))
            reply = await _unless_gone(request, asking)
            kind = reply.headers.get("content-type", _JSON)
            if not kind.startswith("text/event-stream"):
                content = await reply.body()
                await stack.aclose()
                return Response(_as_openai(content, reply), reply.status, media_type=kind)
            return StreamingResponse(_stream(reply, stack), reply.status, media_type=kind)
        except (OpenwheelError, BrokenOffError) as error:
            await stack.aclose()
            return _refusal(error)
        except BaseException:
            await stack.aclose()
            raise

    async def models(self, _: Request) -> Response:
        names = self._front.models()
        return JSONResponse({"object": "list", "data": [self._model(name) for name in names]})

    async def health(self, _: Request) -> Response:
        shown = self._front.health()
        return JSONResponse(shown, 200 if shown["status"] == "ok" else 503)

    async def load(self, request: Request) -> Response:
        async def work(one: _Adapter) -> None:
            await self._front.load_adapter(one.lora_name, Path(one.lora_path))

        return await self._change(request, work, "added")

    async def unload(self, request: Request) -> Response:
        async def work(one: _Adapter) -> None:
            self._front.unload_adapter(one.lora_name)

        return await self._change(request, work, "removed")

    def _model(self, name: str) -> dict[str, object]:
        base = self._front.name
        parent = None if name == base else base
        shown: dict[str, object] = {
            "id": name,
            "object": "model",
            "owned_by": "openwheel",
            "parent": parent,
        }
        return shown if parent else {**shown, "fingerprint": self._front.fingerprint}

    async def _change(
        self, request: Request, work: Callable[[_Adapter], Awaitable[None]], done: str
    ) -> Response:
        if not self._adapters:
            return _refusal(
                RequestError("Adapters cannot be changed here: it was not started so"), status=403
            )
        # Pages of the web cannot send this type without asking first, and get no for an answer.
        if request.headers.get("content-type", "").partition(";")[0].strip() != _JSON:
            return _refusal(RequestError(f"The content-type must be {_JSON}"), status=415)
        try:
            one = msgspec.json.decode(await _body(request), type=_Adapter)
            await work(one)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return _refusal(RequestError(f"The request body is not one of an adapter: {error}"))
        except OpenwheelError as error:
            return _refusal(error)
        return Response(f"Success: LoRA adapter '{one.lora_name}' {done} successfully.")


def create_front_app(front: Front, *, adapters: bool = False) -> Starlette:
    """Return the HTTP API of a front, which it starts and stops.

    Args:
        front: Answers.
        adapters: Whether clients may load and unload adapters. They name folders of this
            machine, so it is for a loopback address only.
    """
    serving = _Serving(front, adapters=adapters)

    return Starlette(
        routes=[
            *(Route(path, serving.forward, methods=["POST"]) for path in _FORWARDED),
            Route("/v1/models", serving.models),
            Route("/health", serving.health),
            Route("/v1/load_lora_adapter", serving.load, methods=["POST"]),
            Route("/v1/unload_lora_adapter", serving.unload, methods=["POST"]),
        ],
        exception_handlers={HTTPException: _http_error},
    )


async def _unless_gone(request: Request, asking: Awaitable[Reply]) -> Reply:
    """Wait for an answer for as long as the client waits for it too."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    asked, left = asyncio.ensure_future(asking), asyncio.create_task(gone())
    try:
        await asyncio.wait({asked, left}, return_when=asyncio.FIRST_COMPLETED)
        if asked.done():
            return asked.result()
        raise ClientDisconnect
    finally:
        left.cancel()
        if not asked.done():
            asked.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asked


async def _stream(reply: Reply, stack: contextlib.AsyncExitStack) -> AsyncIterator[bytes]:
    """Yield an answer; one that breaks off is no whole answer, and the connection says so."""
    async with stack:
        async for piece in reply.pieces():
            yield piece


def _as_openai(content: bytes, reply: Reply) -> bytes:
    """Return an answer with an error of llama.cpp's as clients of the OpenAI API know it."""
    if reply.status < 400 or b"exceed_context_size_error" not in content:
        return content
    said = msgspec.json.decode(content)["error"]["message"]
    return error_body(said, type="invalid_request_error", code="context_length_exceeded")


async def _body(request: Request) -> bytes:
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > MOST_BODY:
            raise BodyTooLargeError(f"The request body must have at most {MOST_BODY} bytes")
        pieces.append(piece)
    return b"".join(pieces)


# The first class that an error is of says its type, status and code in the OpenAI API.
_KINDS: Final[tuple[tuple[type[Exception], tuple[str, int, str | None]], ...]] = (
    (UnknownModelError, ("invalid_request_error", 404, "model_not_found")),
    (BodyTooLargeError, ("invalid_request_error", 413, "request_too_large")),
    (RequestError, ("invalid_request_error", 400, None)),
    (ModelError, ("invalid_request_error", 400, None)),
    (SlotsFullError, ("rate_limit_error", 429, "engine_full")),
    (EngineError, ("server_error", 503, "engine_down")),
    (BrokenOffError, ("server_error", 503, "engine_down")),
)


def _refusal(error: Exception, *, status: int | None = None) -> Response:
    fitting = (said for one, said in _KINDS if isinstance(error, one))
    kind, usual, code = next(fitting, ("server_error", 500, None))
    headers = {"retry-after": "1"} if usual in {429, 503} else None
    body = error_body(str(error), type=kind, code=code)
    return Response(body, status or usual, media_type=_JSON, headers=headers)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    body = error_body(error.detail, type="invalid_request_error", code=None)
    return Response(body, status_code=error.status_code, media_type=_JSON)
