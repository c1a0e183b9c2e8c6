"""The engine's HTTP API, as OpenAI has it, for clients of this machine.

Source: the OpenAI API reference; adapters as vLLM's ``/v1/load_lora_adapter`` has them.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from openwheel.engine.answering import Progress
from openwheel.engine.engine import ContextError, Engine, Started, UnknownModelError
from openwheel.engine.replies import ChatChunks, TextChunks, chat_body, event, text_body
from openwheel.engine.requests import Request, read_chat, read_text
from openwheel.engine.scheduler import EngineFullError
from openwheel.errors import EngineError, ModelError, OpenwheelError, RequestError
from openwheel.wire import error_body

MOST_BODY = 32 << 20
_JSON = "application/json"


class _Adapter(msgspec.Struct):
    lora_name: str
    lora_path: str = ""


class _Serving:
    """Answers requests with an engine."""

    def __init__(self, engine: Engine, *, adapters: bool) -> None:
        self._engine = engine
        self._adapters = adapters
        self._since = int(time.time())
        # Reading a request is work for a millisecond or ten, in which streams must go on.
        self._readers = ThreadPoolExecutor(1, "openwheel-requests")

    async def chat(self, request: HttpRequest) -> Response:
        return await self._answer(request, read_chat, ChatChunks, chat_body)

    async def text(self, request: HttpRequest) -> Response:
        return await self._answer(request, read_text, TextChunks, text_body)

    async def models(self, _: HttpRequest) -> Response:
        return JSONResponse({"object": "list", "data": [self._model(m) for m in self._served()]})

    async def model(self, request: HttpRequest) -> Response:
        name = request.path_params["name"]
        if name not in self._served():
            return _refusal(UnknownModelError(f"The model {name!r} is not served here"))
        return JSONResponse(self._model(name))

    async def health(self, _: HttpRequest) -> Response:
        alive = self._engine.alive
        shown = {
            "status": "ok" if alive else "ended",
            "models": self._served(),
            "context": self._engine.context,
            "abilities": msgspec.to_builtins(self._engine.abilities),
            "counts": msgspec.to_builtins(self._engine.counts()),
        }
        return JSONResponse(shown, status_code=200 if alive else 503)

    async def load(self, request: HttpRequest) -> Response:
        return await self._change(
            request, lambda one: self._engine.load_adapter(one.lora_name, one.lora_path), "added"
        )

    async def unload(self, request: HttpRequest) -> Response:
        return await self._change(
            request, lambda one: self._engine.unload_adapter(one.lora_name), "removed"
        )

    def close(self) -> None:
        self._readers.shutdown(wait=False)

    def _served(self) -> list[str]:
        return self._engine.models()

    def _model(self, name: str) -> dict[str, Any]:
        base = self._engine.name
        return {
            "id": name,
            "object": "model",
            "created": self._since,
            "owned_by": "openwheel",
            "parent": None if name == base else base,
            "max_model_len": self._engine.context,
        }

    async def _change(
        self, request: HttpRequest, work: Callable[[_Adapter], None], done: str
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
            await asyncio.to_thread(work, one)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return _refusal(RequestError(f"The request body is not one of an adapter: {error}"))
        except OpenwheelError as error:
            return _refusal(error)
        return Response(f"Success: LoRA adapter '{one.lora_name}' {done} successfully.")

    async def _answer(
        self,
        request: HttpRequest,
        read: Callable[[bytes, Engine], Request],
        chunks: Callable[[Request, Engine, Sequence[Started]], ChatChunks | TextChunks],
        whole: Callable[[Request, Sequence[Started], Engine], bytes],
    ) -> Response:
        loop = asyncio.get_running_loop()
        progress: asyncio.Queue[tuple[int, Progress]] = asyncio.Queue()

        def listener(index: int, *, stream: bool) -> Callable[[Progress], None]:
            def listen(one: Progress) -> None:
                if not stream and not one.finish:
                    return
                with contextlib.suppress(RuntimeError):  # the server is gone already
                    loop.call_soon_threadsafe(progress.put_nowait, (index, one))

            return listen

        def start(body: bytes) -> tuple[Request, list[Started]]:
            asked = read(body, self._engine)
            count = len(asked.wanted)
            listeners = [listener(index, stream=asked.stream) for index in range(count)]
            return asked, self._engine.start(asked.wanted, listeners)

        try:
            body = await _body(request)
            asked, started = await loop.run_in_executor(self._readers, start, body)
        except OpenwheelError as error:
            return _refusal(error)
        if asked.stream:
            writer = chunks(asked, self._engine, started)
            return StreamingResponse(
                _stream(writer, started, progress),
                media_type="text/event-stream",
                headers={"cache-control": "no-store"},
            )
        try:
            await _finished(request, started, progress)
        finally:
            _cancel(started)
        failed = next((one.answering.error for one in started if one.answering.error), None)
        if failed is not None:
            return _refusal(failed)
        return Response(whole(asked, started, self._engine), media_type=_JSON)


def create_engine_app(engine: Engine, *, adapters: bool = False) -> Starlette:
    """Return the HTTP API of an engine.

    Args:
        engine: Answers; it is not closed here.
        adapters: Whether clients may load and unload adapters. They name folders of this
            machine, so it is for a loopback address only.
    """
    serving = _Serving(engine, adapters=adapters)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        serving.close()

    return Starlette(
        routes=[
            Route("/v1/chat/completions", serving.chat, methods=["POST"]),
            Route("/v1/completions", serving.text, methods=["POST"]),
            Route("/v1/models", serving.models),
            Route("/v1/models/{name:path}", serving.model),
            Route("/health", serving.health),
            Route("/v1/load_lora_adapter", serving.load, methods=["POST"]),
            Route("/v1/unload_lora_adapter", serving.unload, methods=["POST"]),
        ],
        exception_handlers={HTTPException: _http_error},
        lifespan=lifespan,
    )


async def _stream(
    writer: ChatChunks | TextChunks,
    started: Sequence[Started],
    progress: asyncio.Queue[tuple[int, Progress]],
) -> AsyncIterator[bytes]:
    try:
        for chunk in writer.first():
            yield chunk
        left = len(started)
        while left:
            index, one = await progress.get()
            if one.error is not None:
                kind, _, code = _kind(one.error)
                message = {"message": str(one.error), "type": kind, "param": None, "code": code}
                yield event({"error": message})
                return  # without [DONE]: it is no whole answer
            left -= bool(one.finish)
            if chunks := writer.more(index, one):
                yield b"".join(chunks)
        yield b"".join(writer.end())
    finally:
        _cancel(started)  # also where the client went away


async def _finished(
    request: HttpRequest,
    started: Sequence[Started],
    progress: asyncio.Queue[tuple[int, Progress]],
) -> None:
    """Wait until all answers have ended, or nobody waits for them any more."""

    async def give_up() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        _cancel(started)

    watch = asyncio.create_task(give_up())
    try:
        for _ in started:
            await progress.get()
    finally:
        watch.cancel()


def _cancel(started: Sequence[Started]) -> None:
    for one in started:
        one.job.cancelled = True


async def _body(request: HttpRequest) -> bytes:
    """Return a request's body.

    Raises:
        BodyTooLargeError: It is larger than any conversation.
    """
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > MOST_BODY:
            raise BodyTooLargeError(f"The request body must have at most {MOST_BODY} bytes")
        pieces.append(piece)
    return b"".join(pieces)


class BodyTooLargeError(RequestError):
    """A request's body is larger than any conversation."""


# The first class that an error is of says its type, status and code in the OpenAI API.
_KINDS: Final[tuple[tuple[type[OpenwheelError], tuple[str, int, str | None]], ...]] = (
    (UnknownModelError, ("invalid_request_error", 404, "model_not_found")),
    (ContextError, ("invalid_request_error", 400, "context_length_exceeded")),
    (BodyTooLargeError, ("invalid_request_error", 413, "request_too_large")),
    (RequestError, ("invalid_request_error", 400, None)),
    (ModelError, ("invalid_request_error", 400, None)),
    (EngineFullError, ("rate_limit_error", 429, "engine_full")),
    (EngineError, ("server_error", 503, "engine_failed")),
)


def _kind(error: OpenwheelError) -> tuple[str, int, str | None]:
    fitting = (kind for one, kind in _KINDS if isinstance(error, one))
    return next(fitting, ("server_error", 500, None))


def _refusal(error: OpenwheelError, *, status: int | None = None) -> Response:
    kind, usual, code = _kind(error)
    headers = {"retry-after": "1"} if usual in {429, 503} else None
    return Response(
        error_body(str(error), type=kind, code=code),
        status_code=usual if status is None else status,
        media_type=_JSON,
        headers=headers,
    )


async def _http_error(_: HttpRequest, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    body = error_body(error.detail, type="invalid_request_error", code=None)
    return Response(body, status_code=error.status_code, media_type=_JSON)
