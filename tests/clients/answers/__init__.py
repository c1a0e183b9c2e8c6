"""What the teacher answers to clients, written by hand, one module an API.

It knows one key. What it answers follows from the request alone: a model named ``error-STATUS``
gets that error, ``retry-STATUS`` gets it until the SDK sends the request again, ``cut`` breaks off
half-way, ``overloaded`` ends its stream with an error, and offered tools are called. All else gets
the same words.
"""

import asyncio
import itertools
import json
from collections.abc import Iterator
from typing import Any

from clients.answers import anthropic, decisions, openai
from teacher import Asked, Teacher, respond

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
    "/v1/decisions": decisions.decisions,
    "/v1/systemone": decisions.system_one,
    "/v1/messages": anthropic.messages,
    "/v1/messages/count_tokens": anthropic.count_tokens,
}


async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Answer as the vendor whose API is asked would."""
    claude = "anthropic-version" in asked.headers or asked.path.startswith("/v1/messages")
    named = {"request-id" if claude else "x-request-id": "req_teacher", **LIMITS}
    headers = [f"{name}: {value}" for name, value in named.items()]

    def whole(status: int, body: Any, *more: str) -> bytes:
        reason = f"{status} {REASONS.get(status, 'Other')}"
        return respond(json.dumps(body).encode(), *headers, *more, status=reason)

    model, status, found = "", _refusal(asked), None
    if not status and asked.path.startswith("/v1/models"):
        name = asked.path.removeprefix("/v1/models").strip("/")
        found = (anthropic if claude else openai).models(name)
        status = 0 if found else 404
    elif not status:
        try:
            request = json.loads(asked.body, parse_constant=_not_json)
            model = request["model"]
            status = _failure(asked, model)
            found = None if status else POSTS[asked.path](request)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            status = 400
    cut = found is not None and model == "cut"
    if isinstance(found, Iterator):
        await _stream(found, writer, headers, model, _error(529, claude))
    else:
        said = whole(status, _error(status, claude), "retry-after: 0.05")
        if found is not None:
            said = whole(200, found)
        size = said.index(b"\r\n\r\n") + 4
        if asked.method != "HEAD":
            size = (size + len(said)) // 2 if cut else len(said)
        writer.write(said[:size])
        await writer.drain()
    if cut:
        writer.close()


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


def _error(status: int, claude: bool) -> dict[str, Any]:
    if status not in ERRORS:
        return {}
    kind, message = ERRORS[status]
    error: dict[str, Any] = {"type": kind, "message": message}
    if claude:
        return {"type": "error", "error": error, "request_id": "req_teacher"}
    return {"error": {**error, "param": "temperature" if status == 400 else None, "code": None}}


async def _stream(
    events: Iterator[str],
    writer: asyncio.StreamWriter,
    headers: list[str],
    model: str,
    error: dict[str, Any],
) -> None:
    more = "\r\n".join(headers).encode() + b"\r\n\r\n"
    writer.write(Teacher.stream_head.removesuffix(b"\r\n") + more)
    if model in {"cut", "overloaded"}:
        events = itertools.islice(events, 5)
    if model == "overloaded":
        events = itertools.chain(events, [f"event: error\ndata: {json.dumps(error)}\n\n"])
    for event in events:
        writer.write(Teacher.chunked(event.encode()))
        await writer.drain()
    if model != "cut":
        writer.write(b"0\r\n\r\n")
