"""``POST /v1/completions``, the older API that continues a text, as an `Api`.

The prompt is one message, its role ``text``. Only a teacher answers token arrays, several prompts,
``n`` or ``best_of`` above 1, ``echo``, ``suffix`` and ``logprobs``.

Source: the OpenAI API reference, "Create completion" and "The completion object".
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from openwheel.errors import RequestError, TeacherError
from openwheel.wire.answer import Answer, Reply, Usage, as_answer, ended
from openwheel.wire.api import Api
from openwheel.wire.chat import read_fingerprint
from openwheel.wire.content import check_error
from openwheel.wire.ids import random_id
from openwheel.wire.prompt import Prompt, StreamOptions, task_of
from openwheel.wire.request import Request, settings_of
from openwheel.wire.sse import is_done
from openwheel.wire.tools import PromptMessage
from openwheel.wire.usage import read_counts, token_counts

_NEUTRAL = frozenset(
    {
        "prompt",
        "n",
        "best_of",
        "echo",
        "suffix",
        "logprobs",
        "stream",
        "stream_options",
        "user",
        "seed",
        "metadata",
    }
)
# Its own finish reasons are stop, length and content_filter.
_FINISH: Final[Mapping[str, str]] = MappingProxyType(
    {
        "tool_calls": "stop",
        "function_call": "stop",
        "refusal": "content_filter",
    }
)


class _Request(msgspec.Struct):
    """The fields that are looked at."""

    prompt: str | list[str | int | list[int]] | None = None
    model: str = ""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    best_of: int | None = None
    echo: bool | None = None
    suffix: str | None = None
    logprobs: int | bool | None = None
    metadata: dict[str, Any] | None = None


class _Choice(msgspec.Struct):
    index: int | None = None
    text: str | None = None
    finish_reason: Any = None


class _Completion(msgspec.Struct):
    choices: list[_Choice] | None = None
    error: Any = None
    usage: Any = None
    model: str | None = None
    system_fingerprint: Any = None


_request_decoder = msgspec.json.Decoder(_Request)
_decoder = msgspec.json.Decoder(_Completion)
_encoder = msgspec.json.Encoder()


def read_completion_request(body: bytes) -> Request:
    """Read a request; see `Api`."""
    try:
        request = _request_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"The request body is not a completion request: {error}") from None
    if request.prompt is None or request.prompt == []:
        raise RequestError("The request body has no prompt: one is needed")
    options = request.stream_options
    return Request(
        prompt=_prompt(request),
        model=request.model,
        stream=bool(request.stream),
        include_usage=bool(options and options.include_usage),
        task=task_of(request.metadata),
        settings=settings_of(body, _NEUTRAL),
    )


def read_text(body: bytes) -> Reply:
    """Read a whole answer; see `Api`."""
    completion = _read(body)
    check_error(completion.error, "The answer is")
    if not completion.choices or completion.choices[0].text is None:
        raise TeacherError("The answer is not a completion: it has no text")
    choice = completion.choices[0]
    answer = Answer(choice.text or "", finish_reason=ended(choice.finish_reason))
    return Reply(
        answer,
        completion.model or "",
        _usage(completion),
        read_fingerprint(completion.system_fingerprint),
    )


def read_text_stream(events: Iterable[bytes]) -> Reply:
    """Read a stream; see `Api`."""
    texts: list[str] = []
    finish: Any = None
    model, fingerprint = "", ""
    usage: Usage | None = None
    for event in events:
        if event.strip() == b"[DONE]":
            break
        chunk = _read(event)
        if chunk.error is not None:
            check_error(chunk.error, "The stream ended with")
        usage = _usage(chunk) or usage
        model = chunk.model or model
        fingerprint = read_fingerprint(chunk.system_fingerprint) or fingerprint
        for choice in chunk.choices or ():
            if not choice.index:
                texts.append(choice.text or "")
                finish = choice.finish_reason or finish
    if not finish:
        raise TeacherError("The stream ended before the answer was finished")
    answer = Answer("".join(texts), finish_reason=ended(finish))
    return Reply(answer, model, usage, fingerprint)


def text_body(
    answer: str | Answer,
    request: Request,
    usage: Usage | None = None,
    *,
    identity: str = "",
) -> bytes:
    """Write a whole answer; see `Api`. Tool calls cannot be said here."""
    body = _head(request.model, identity)
    body["choices"] = [_choice(as_answer(answer))]
    body["usage"] = token_counts(usage)
    return _encoder.encode(body)


def text_events(
    answer: str | Answer,
    request: Request,
    usage: Usage | None = None,
    *,
    identity: str = "",
) -> Iterator[bytes]:
    """Write a stream; see `Api`."""
    head = _head(request.model, identity)
    chunk = {**head, "choices": [_choice(as_answer(answer))]}
    # No null usage, as chat completions have it: here, usage may be left out but not be null.
    yield b"data: " + _encoder.encode(chunk) + b"\n\n"
    if request.include_usage:
        last = {**head, "choices": [], "usage": token_counts(usage)}
        yield b"data: " + _encoder.encode(last) + b"\n\n"
    yield b"data: [DONE]\n\n"


def _prompt(request: _Request) -> Prompt:
    prompts = [request.prompt] if isinstance(request.prompt, str) else request.prompt or []
    texts = [text for text in prompts if isinstance(text, str)]
    plain = (
        len(prompts) == 1
        and len(texts) == 1
        and request.n in {None, 1}
        and request.best_of in {None, 1}
        and not request.echo
        and not request.suffix
        # 0 asks for the log-probabilities of the tokens that were chosen.
        and (request.logprobs is None or request.logprobs is False)
    )
    return Prompt(tuple([PromptMessage("text", text) for text in texts or [""]]), plain=plain)


def _read(body: bytes) -> _Completion:
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TeacherError(f"The answer is not a completion: {error}") from None


def _usage(completion: _Completion) -> Usage | None:
    return read_counts(completion.usage, ("prompt_tokens",), "completion_tokens")


def _head(model: str, identity: str) -> dict[str, Any]:
    return {
        "id": f"cmpl-{identity or random_id()}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": model,
    }


def _choice(answer: Answer) -> dict[str, Any]:
    finish = ended(answer.finish_reason)
    return {
        "text": answer.text,
        "index": 0,
        "logprobs": None,
        "finish_reason": _FINISH.get(finish, finish),
    }


COMPLETIONS: Final = Api(
    name="completions",
    path="/v1/completions",
    read_request=read_completion_request,
    read_reply=read_text,
    read_stream=read_text_stream,
    ends=is_done,
    body=text_body,
    events=text_events,
)
