"""What the engine's HTTP API sends back: whole answers and the chunks of streams."""

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from openwheel.engine.answering import Answering, Progress
from openwheel.engine.choose import Chosen
from openwheel.engine.engine import Engine, Started
from openwheel.engine.reasoning import Piece
from openwheel.engine.requests import Request
from openwheel.engine.tools import read_bare, read_calls
from openwheel.wire import ToolCall, random_id

_encoder = msgspec.json.Encoder()


class Shaped(msgspec.Struct, frozen=True):
    """An answer as chat completions have it.

    Attributes:
        text: The content.
        reasoning: What the model thought.
        calls: The tools it calls.
        finish: Why it ended.
    """

    text: str
    reasoning: str
    calls: tuple[ToolCall, ...]
    finish: str


def shaped(answering: Answering, request: Request) -> Shaped:
    """Return a finished answer with its tool calls told from its text."""
    text = answering.text()
    calls: list[ToolCall] = []
    if request.forced:
        calls = forced_calls(text, request)
    else:
        for piece in answering.pieces:
            if piece.kind == "tool":
                found = read_calls(piece, request.tools)
                calls += found
                text += "" if found else piece.text  # nothing that was written is lost
        if not calls and request.tools:
            calls = read_bare(text, request.tools)
            text = "" if calls else text
    if calls and (request.forced or not text.strip()):
        text = ""
    finish = "tool_calls" if calls and answering.finish == "stop" else answering.finish
    return Shaped(text, answering.reasoning(), tuple(calls), finish)


def forced_calls(text: str, request: Request) -> list[ToolCall]:
    """Return the call that an answer was made to be; none if it was cut short."""
    if request.forced == "*":
        return read_bare(text, request.tools)
    bare = read_bare(text, request.tools)
    return bare or read_calls(Piece("tool", text, request.forced), request.tools)


def chat_body(request: Request, started: Sequence[Started], engine: Engine) -> bytes:
    """Write a chat completion."""
    choices = []
    for index, one in enumerate(started):
        answer = shaped(one.answering, request)
        message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
        if answer.reasoning:
            message["reasoning_content"] = answer.reasoning
        if answer.calls:
            message["content"] = answer.text or None
            message["tool_calls"] = [call_json(call) for call in answer.calls]
        choice: dict[str, Any] = {
            "index": index,
            "message": message,
            "logprobs": logprobs_json(one.answering.scored, request, engine),
            "finish_reason": answer.finish,
        }
        if request.token_scores:
            choice["token_scores"] = scores_json(one.answering.scored)
        choices.append(choice)
    body = head("chat.completion", "chatcmpl", request.model)
    return _encoder.encode({**body, "choices": choices, "usage": usage_json(started)})


def text_body(request: Request, started: Sequence[Started], engine: Engine) -> bytes:
    """Write a completion of a text."""
    choices = [
        {
            "index": index,
            "text": one.answering.text(),
            "logprobs": text_logprobs_json(one.answering.scored, request, engine),
            "finish_reason": one.answering.finish,
        }
        for index, one in enumerate(started)
    ]
    body = head("text_completion", "cmpl", request.model)
    return _encoder.encode({**body, "choices": choices, "usage": usage_json(started)})


class ChatChunks:
    """Writes the stream of a chat completion.

    Args:
        request: What was asked.
        engine: What its tokens stand for.
        started: The answers, one a choice.
    """

    def __init__(self, request: Request, engine: Engine, started: Sequence[Started]) -> None:
        self._request = request
        self._engine = engine
        self._started = started
        self._head = head("chat.completion.chunk", "chatcmpl", request.model)
        self._calls = [0] * len(started)
        # A call that no mark announces is known only at the end.
        self._waits = bool(request.forced) or (
            bool(request.tools) and engine.tool_form.around is None
        )

    def first(self) -> list[bytes]:
        """Return the chunks that come before any text."""
        delta = {"role": "assistant", "content": ""}
        return [self._chunk(index, delta) for index in range(len(self._started))]

    def more(self, index: int, progress: Progress) -> list[bytes]:
        """Return the chunks for what a token brought a choice."""
        chunks = []
        scored = [progress.scored] if progress.scored is not None else []
        logprobs = logprobs_json(scored, self._request, self._engine)
        if logprobs is not None and not logprobs["content"]:
            logprobs = None
        for piece in progress.pieces:
            for delta in self._deltas(index, piece):
                chunks.append(self._chunk(index, delta, logprobs=logprobs))
                logprobs = None
        if logprobs is not None:
            chunks.append(self._chunk(index, {"content": ""}, logprobs=logprobs))
        if progress.finish:
            chunks += self._last(index)
        return chunks

    def end(self) -> list[bytes]:
        """Return what ends the stream."""
        chunks = []
        if self._request.include_usage:
            usage = {**self._head, "choices": [], "usage": usage_json(self._started)}
            chunks.append(event(usage))
        return [*chunks, b"data: [DONE]\n\n"]

    def _deltas(self, index: int, piece: Piece) -> list[dict[str, Any]]:
        if piece.kind == "reasoning":
            return [{"reasoning_content": piece.text}]
        if piece.kind == "content":
            return [] if self._waits else [{"content": piece.text}]
        found = read_calls(piece, self._request.tools)
        return self._call_deltas(index, found) if found else [{"content": piece.text}]

    def _last(self, index: int) -> list[bytes]:
        answer = shaped(self._started[index].answering, self._request)
        chunks = []
        if self._waits:
            deltas = self._call_deltas(index, answer.calls[self._calls[index] :])
            if answer.text:
                deltas.append({"content": answer.text})
            chunks = [self._chunk(index, delta) for delta in deltas]
        return [*chunks, self._chunk(index, {}, finish=answer.finish)]

    def _call_deltas(self, index: int, calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
        deltas = []
        for call in calls:
            deltas.append({"tool_calls": [{"index": self._calls[index], **call_json(call)}]})
            self._calls[index] += 1
        return deltas

    def _chunk(
        self,
        index: int,
        delta: dict[str, Any],
        *,
        logprobs: dict[str, Any] | None = None,
        finish: str | None = None,
    ) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        chunk: dict[str, Any] = {**self._head, "choices": [choice]}
        if self._request.include_usage:
            chunk["usage"] = None
        return event(chunk)


class TextChunks:
    """Writes the stream of a completion of a text; see `ChatChunks`."""

    def __init__(self, request: Request, engine: Engine, started: Sequence[Started]) -> None:
        self._request = request
        self._engine = engine
        self._started = started
        self._head = head("text_completion", "cmpl", request.model)

    def first(self) -> list[bytes]:
        """Return the chunks that come before any text."""
        return []

    def more(self, index: int, progress: Progress) -> list[bytes]:
        """Return the chunks for what a token brought a choice."""
        text = "".join(piece.text for piece in progress.pieces)
        scored = [progress.scored] if progress.scored is not None else []
        if not text and not progress.finish and not (scored and self._request.logprobs):
            return []
        choice = {
            "index": index,
            "text": text,
            "logprobs": text_logprobs_json(scored, self._request, self._engine),
            "finish_reason": progress.finish or None,
        }
        return [event({**self._head, "choices": [choice]})]

    def end(self) -> list[bytes]:
        """Return what ends the stream."""
        chunks = []
        if self._request.include_usage:
            chunks.append(event({**self._head, "choices": [], "usage": usage_json(self._started)}))
        return [*chunks, b"data: [DONE]\n\n"]


def event(value: dict[str, Any]) -> bytes:
    """Return a server-sent event."""
    return b"data: " + _encoder.encode(value) + b"\n\n"


def head(kind: str, prefix: str, model: str) -> dict[str, Any]:
    """Return the fields that every answer begins with."""
    return {
        "id": f"{prefix}-{random_id()}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
    }


def call_json(call: ToolCall) -> dict[str, Any]:
    """Return a tool call as the API has it."""
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": f"call_{random_id()}", "type": "function", "function": function}


def usage_json(started: Sequence[Started]) -> dict[str, int]:
    """Return the tokens of some choices; a prompt that several share counts once."""
    prompts = {id(one.job.prompt): len(one.job.prompt) for one in started}
    prompt = sum(prompts.values())
    written = sum(one.answering.written for one in started)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
    }


def scores_json(scored: Sequence[Chosen]) -> dict[str, list[float]]:
    """Return the numbers of `Written`, which the API's own form has only in part."""
    return {
        "logprobs": [one.logprob for one in scored],
        "margins": [one.margin for one in scored],
    }


def logprobs_json(
    scored: Sequence[Chosen], request: Request, engine: Engine
) -> dict[str, Any] | None:
    """Return log-probabilities as chat completions have them, without the token that ended it."""
    if not request.logprobs:
        return None
    ends = engine.vocabulary.ends
    content = [
        {
            **_token_json(engine, one.token, one.logprob),
            "top_logprobs": [_token_json(engine, token, value) for token, value in one.top],
        }
        for one in scored
        if one.token not in ends
    ]
    return {"content": content, "refusal": None}


def text_logprobs_json(
    scored: Sequence[Chosen], request: Request, engine: Engine
) -> dict[str, Any] | None:
    """Return log-probabilities as the older API has them."""
    if not request.logprobs:
        return None
    shown = engine.vocabulary.shown
    kept = [one for one in scored if one.token not in engine.vocabulary.ends]
    return {
        "tokens": [shown(one.token) for one in kept],
        "token_logprobs": [one.logprob for one in kept],
        "top_logprobs": [{shown(token): value for token, value in one.top} for one in kept],
        "text_offset": _offsets([shown(one.token) for one in kept]),
    }


def _offsets(texts: Sequence[str]) -> list[int]:
    offsets, at = [], 0
    for text in texts:
        offsets.append(at)
        at += len(text)
    return offsets


def _token_json(engine: Engine, token: int, logprob: float) -> dict[str, Any]:
    return {
        "token": engine.vocabulary.shown(token),
        "logprob": logprob,
        "bytes": list(engine.vocabulary.raw(token)),
    }
