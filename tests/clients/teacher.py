"""A teacher that speaks the OpenAI and Anthropic APIs, each answer written by hand.

It knows one key. What it answers follows from the request alone: a model named ``error-STATUS``
gets that error, ``retry-STATUS`` gets it until the SDK sends the request again, ``cut`` breaks off
half-way, ``overloaded`` ends its stream with an error, and offered tools are called. All else gets
the same words.
"""

import asyncio
import contextlib
import itertools
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from clients.answers import anthropic, openai

KEY = "sk-the-teachers-own"
LIMITS = {"x-ratelimit-limit-requests": "500", "x-ratelimit-remaining-requests": "499"}
REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found"}
ERRORS = {
    400: ("invalid_request_error", "The temperature must be at most 2."),
    401: ("authentication_error", "Incorrect API key provided."),
    404: ("not_found_error", "There is no such model."),
    405: ("invalid_request_error", "This takes POST."),
    429: ("rate_limit_error", "Rate limit reached; try again."),
    500: ("server_error", "The server had an error."),
    529: ("overloaded_error", "Overloaded."),
}
POSTS = {
    "/v1/chat/completions": openai.chat,
    "/v1/completions": openai.completions,
    "/v1/responses": openai.responses,
    "/v1/embeddings": openai.embeddings,
    "/v1/messages": anthropic.messages,
    "/v1/messages/count_tokens": anthropic.count_tokens,
}


@dataclass(frozen=True)
class Asked:
    """A request as the teacher received it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def anthropic(self) -> bool:
        return "anthropic-version" in self.headers or self.path.startswith("/v1/messages")


@dataclass
class ScriptedTeacher:
    """The teacher that is running, and what it was asked."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)

    def last(self, model: str) -> list[Asked]:
        """Return the requests that asked for a model."""
        return [asked for asked in self.asked if model.encode() in asked.body]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                asked = await _read(reader)
                self.asked.append(asked)
                if not await _answer(asked, writer):
                    break
        writer.close()


async def _read(reader: asyncio.StreamReader) -> Asked:
    line, *rest = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (h.partition(": ") for h in rest)}
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readuntil(b"\r\n")
    else:
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    method, target, _ = line.split(" ", 2)
    return Asked(method, target.partition("?")[0], headers, body)


async def _answer(asked: Asked, writer: asyncio.StreamWriter) -> bool:
    """Answer, and return whether the connection goes on."""
    if status := _refusal(asked):
        return await _error(asked, writer, status)
    if asked.path.startswith("/v1/models"):
        name = asked.path.removeprefix("/v1/models").strip("/")
        listed = (anthropic if asked.anthropic else openai).models(name)
        return await _whole(asked, writer, 200 if listed else 404, listed)
    try:
        request = json.loads(asked.body, parse_constant=_not_json)
        model = request["model"]
        if status := _failure(asked, model):
            return await _error(asked, writer, status)
        answer = POSTS[asked.path](request)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return await _error(asked, writer, 400)
    if isinstance(answer, dict):
        return await _whole(asked, writer, 200, answer, cut=model == "cut")
    return await _stream(asked, writer, answer, model)


def _not_json(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _refusal(asked: Asked) -> int:
    """Return the status that refuses a request whatever its body says, 0 if none does."""
    known = (asked.headers.get("authorization"), asked.headers.get("x-api-key"))
    if known[0] != f"Bearer {KEY}" and known[1] != KEY:
        return 401
    if asked.path == "/v1/models" or asked.path.startswith("/v1/models/"):
        return 0 if asked.method in {"GET", "HEAD"} else 405
    if asked.path not in POSTS:
        return 404
    return 0 if asked.method == "POST" else 405


def _failure(asked: Asked, model: str) -> int:
    """Return the status that a model of this name answers with, 0 if it answers."""
    wanted, _, status = model.partition("-")
    again = asked.headers.get("x-stainless-retry-count", "0") != "0"
    if wanted == "error" or (wanted == "retry" and not again):
        return int(status) if status.isdecimal() and int(status) in ERRORS else 0
    return 0


async def _error(asked: Asked, writer: asyncio.StreamWriter, status: int) -> bool:
    return await _whole(asked, writer, status, _error_body(asked, status), {"retry-after": "0.05"})


def _error_body(asked: Asked, status: int) -> dict[str, Any]:
    kind, message = ERRORS[status]
    error: dict[str, Any] = {"type": kind, "message": message}
    if asked.anthropic:
        return {"type": "error", "error": error, "request_id": "req_teacher"}
    return {"error": {**error, "param": "temperature" if status == 400 else None, "code": None}}


def _head(asked: Asked, status: int, more: dict[str, str]) -> bytes:
    named = {"request-id" if asked.anthropic else "x-request-id": "req_teacher"}
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Other')}"]
    lines += [f"{name}: {value}" for name, value in {**named, **LIMITS, **more}.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _whole(
    asked: Asked,
    writer: asyncio.StreamWriter,
    status: int,
    answer: dict[str, Any] | None,
    more: dict[str, str] | None = None,
    *,
    cut: bool = False,
) -> bool:
    if answer is None:
        return await _error(asked, writer, status)
    body = json.dumps(answer).encode()
    head = {"content-type": "application/json", "content-length": str(len(body)), **(more or {})}
    writer.write(_head(asked, status, head))
    if asked.method != "HEAD":
        writer.write(body[: len(body) // 2] if cut else body)
    await writer.drain()
    return not cut


async def _stream(
    asked: Asked, writer: asyncio.StreamWriter, events: Iterator[str], model: str
) -> bool:
    head = {"content-type": "text/event-stream; charset=utf-8", "transfer-encoding": "chunked"}
    writer.write(_head(asked, 200, head))
    if model in {"cut", "overloaded"}:
        events = itertools.islice(events, 5)
    if model == "overloaded":
        error = json.dumps(_error_body(asked, 529))
        events = itertools.chain(events, [f"event: error\ndata: {error}\n\n"])
    for event in events:
        data = event.encode()
        writer.write(b"%x\r\n%s\r\n" % (len(data), data))
        await writer.drain()
    if model == "cut":
        return False
    writer.write(b"0\r\n\r\n")
    await writer.drain()
    return True


@contextlib.contextmanager
def scripted_teacher() -> Iterator[ScriptedTeacher]:
    """Serve the teacher from a thread for as long as the context lasts."""
    teacher, started, stop = ScriptedTeacher(), threading.Event(), []

    async def main() -> None:
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        stop.append(lambda: loop.call_soon_threadsafe(over.set))
        server = await asyncio.start_server(teacher.serve, "127.0.0.1", 0, limit=1 << 26)
        teacher.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        started.set()
        await over.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    thread = threading.Thread(target=lambda: asyncio.run(main()), name="scripted-teacher")
    thread.start()
    started.wait()
    try:
        yield teacher
    finally:
        stop[0]()
        thread.join()
