"""Joins recorded streams: the chunks of an answer, as a list or as the text that was sent."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from openwheel.errors import TeacherError
from openwheel.importing.values import (
    JsonObject,
    UnreadableRecordError,
    at,
    embedded,
    first_object,
    listed,
)
from openwheel.wire import APIS, Answer, Reply, ended, sse_data

_SSE: Final = ("data:", "event:", ": ", "id:", "retry:")
_OF_MESSAGES: Final = frozenset(
    {"message_start", "content_block_start", "content_block_delta", "ping"}
)
_OF_CONVERSE: Final = frozenset({"messageStart", "contentBlockStart", "contentBlockDelta"})


def is_event_stream(text: str) -> bool:
    """Return whether a text is a recorded stream of server-sent events."""
    start = text.lstrip()[:16]
    return start.startswith(_SSE) and ("\ndata:" in f"\n{text[:100_000]}")


def event_chunks(text: str) -> list[Any]:
    """Return the chunks of a recorded stream of server-sent events.

    Raises:
        UnreadableRecordError: An event is no JSON.
    """
    chunks = []
    for event in sse_data(text.encode("utf-8", "replace")):
        if event.strip() == b"[DONE]":
            break
        try:
            chunks.append(msgspec.json.decode(event))
        except (msgspec.DecodeError, RecursionError):
            raise UnreadableRecordError("a recorded stream has an event that is no JSON") from None
    return chunks


def json_lines(text: str) -> list[Any] | None:
    """Return the chunks of a stream that is a JSON object a line, ``None`` if it is no such."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2 or not all(line.lstrip().startswith("{") for line in lines):
        return None
    chunks = [embedded(line) for line in lines]
    return chunks if is_chunks(chunks) else None


def is_chunks(items: list[Any]) -> bool:
    """Return whether a list is that of a recorded stream's chunks."""
    return bool(items) and _kind(items) is not None


def join_chunks(items: list[Any]) -> Reply:
    """Join the chunks of a recorded stream.

    Raises:
        UnreadableRecordError: They are none of the known ones, or not whole.
    """
    items = [embedded(item) for item in items]
    kind = _kind(items)
    if kind is None:
        raise UnreadableRecordError("a recorded stream is in no form known")
    try:
        if kind in APIS:
            return APIS[kind].read_stream(msgspec.json.encode(item) for item in items)
        joined: Reply = _JOIN[kind](items)
    except TeacherError as error:
        raise UnreadableRecordError(f"a recorded stream cannot be joined: {error}") from None
    except (OverflowError, RecursionError) as error:
        raise UnreadableRecordError(f"a recorded stream cannot be joined: {error}") from None
    return joined


def merged_candidates(items: list[Any]) -> JsonObject | None:
    """Return Gemini's chunks as one response with all their parts, ``None`` if they are others'."""
    items = [embedded(item) for item in items]
    if _kind(items) != "gemini":
        return None
    parts: list[Any] = []
    finish = None
    for item in items:
        first = at(item, "candidates", 0)
        parts += listed(at(first, "content", "parts"))
        finish = at(first, "finishReason") or at(first, "finish_reason") or finish
    if finish is None:
        raise UnreadableRecordError("a recorded stream ended before the answer was finished")
    texts = "".join(str(p["text"]) for p in parts if isinstance(p, dict) and "text" in p)
    other_parts = [part for part in parts if not (isinstance(part, dict) and "text" in part)]
    content = {"parts": [{"text": texts}, *other_parts]}
    return {**first_object(items[-1]), "candidates": [{"content": content, "finishReason": finish}]}


def _kind(items: list[Any]) -> Any:
    """Return whose chunks these are, by the first that tells; ``None`` if they are none."""
    for item in map(embedded, items[:5]):
        if not isinstance(item, dict):
            return None
        for kind, tells in _TELLS.items():
            if tells(item, len(items)):
                return kind
        if not (item.get("choices") == [] or item.get("object") == "chat.completion.chunk"):
            return None
    return None


def _type(item: JsonObject) -> str:
    return str(item.get("type") or "")


_TELLS: Final[Mapping[str, Callable[[JsonObject, int], bool]]] = {
    "chat": lambda item, _: isinstance(at(item, "choices", 0, "delta"), dict),
    "completions": lambda item, n: (
        n > 1
        and str(item.get("object")).startswith("text_completion")
        and at(item, "choices", 0, "text") is not None
    ),
    "messages": lambda item, _: _type(item) in _OF_MESSAGES,
    "responses": lambda item, _: _type(item).startswith("response."),
    "bedrock": lambda item, _: not _OF_CONVERSE.isdisjoint(item),
    "gemini": lambda item, n: n > 1 and "candidates" in item,
    "ollama": lambda item, _: "done" in item and not {"message", "response"}.isdisjoint(item),
    "bedrock text": lambda item, n: n > 1 and not {"outputText", "generation"}.isdisjoint(item),
}


def _join_ollama(items: list[JsonObject]) -> Reply:
    texts = []
    for item in map(first_object, items):
        text = item.get("response", at(item, "message", "content"))
        texts.append(text if isinstance(text, str) else "")
        if at(item, "message", "tool_calls"):
            raise UnreadableRecordError("a recorded stream of tool calls is not read")
    last = first_object(items[-1])
    stop = (last.get("done_reason") or "stop") if last.get("done") else None
    return Reply(_whole(texts, stop), str(last.get("model") or ""))


def _join_bedrock(items: Iterable[JsonObject]) -> Reply:
    texts: list[str] = []
    stop = None
    for item in items:
        delta = first_object(first_object(item).get("contentBlockDelta")).get("delta")
        if isinstance(delta, dict):
            if "toolUse" in delta:
                raise UnreadableRecordError("a recorded stream of tool calls is not read")
            texts.append(str(delta.get("text") or ""))
        if isinstance(end := first_object(item).get("messageStop"), dict):
            stop = end.get("stopReason") or "end_turn"
    return Reply(_whole(texts, stop))


def _join_bedrock_text(items: Iterable[JsonObject]) -> Reply:
    texts: list[str] = []
    stop = None
    for item in map(first_object, items):
        texts.append(str(item.get("outputText") or item.get("generation") or ""))
        stop = item.get("completionReason") or item.get("stop_reason") or stop
    return Reply(_whole(texts, stop))


def _whole(texts: list[str], stop: Any) -> Answer:
    if stop is None:
        raise UnreadableRecordError("a recorded stream ended before the answer was finished")
    return Answer("".join(texts), finish_reason=ended(stop))


_JOIN: Any = {
    "ollama": _join_ollama,
    "bedrock": _join_bedrock,
    "bedrock text": _join_bedrock_text,
}
