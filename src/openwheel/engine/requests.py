"""What a client of the engine's HTTP API asks, and what is to be written for it."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from openwheel.engine.choose import Sampling
from openwheel.engine.engine import Engine, Wanted
from openwheel.engine.prompts import Rendered
from openwheel.engine.tools import call_prefix, call_schema
from openwheel.errors import RequestError
from openwheel.inference.writer import Constraint

_MOST_CHOICES = 128
_MOST_TOP = 20


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _StructuredOutputs(msgspec.Struct):
    choice: list[str] | None = None
    json: Any = None
    regex: str | None = None


class _Common(msgspec.Struct, kw_only=True):
    model: str = ""
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    n: int | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    structured_outputs: _StructuredOutputs | None = None
    regex: str | None = None
    json_schema: Any = None


class _Chat(_Common, kw_only=True):
    """The fields of ``POST /v1/chat/completions`` that are looked at.

    Source: the OpenAI API reference; ``structured_outputs`` and ``chat_template_kwargs`` as vLLM
    documents them, ``regex`` and ``json_schema`` as SGLang does.
    """

    messages: list[dict[str, Any]]
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    response_format: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    reasoning_effort: str | None = None
    token_scores: bool | None = None


class _Text(_Common, kw_only=True):
    """The fields of ``POST /v1/completions`` that are looked at."""

    prompt: str | list[str | int]
    logprobs: int | None = None
    echo: bool | None = None
    suffix: str | None = None
    best_of: int | None = None


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be written, and how it is sent.

    Attributes:
        model: The model that was asked.
        wanted: An answer for each choice.
        stream: Whether it is sent as it is written.
        include_usage: Whether a stream ends with its usage.
        logprobs: Whether log-probabilities are sent.
        token_scores: Whether all log-probabilities and margins are sent, as numbers alone.
        tools: The tools that were offered.
        forced: The tool that is called (``*``: any), ``""`` where the model may choose not to.
    """

    model: str
    wanted: tuple[Wanted, ...]
    stream: bool
    include_usage: bool
    logprobs: bool = False
    token_scores: bool = False
    tools: tuple[dict[str, Any], ...] = ()
    forced: str = ""


_chat_decoder = msgspec.json.Decoder(_Chat)
_text_decoder = msgspec.json.Decoder(_Text)


def read_chat(body: bytes, engine: Engine) -> Request:
    """Read ``POST /v1/chat/completions``.

    Raises:
        RequestError: It is not such a request, or asks for what the engine does not do.
    """
    try:
        asked = _chat_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"The request body is not a chat completion request: {error}") from None
    if not asked.messages:
        raise RequestError("The request body has no messages: at least one is needed")
    if not 0 <= (asked.top_logprobs or 0) <= _MOST_TOP:
        raise RequestError(f"top_logprobs must be 0 to {_MOST_TOP}, was {asked.top_logprobs}")
    constraint = _constraint(asked, asked.response_format)
    variables = dict(asked.chat_template_kwargs or {})
    if asked.reasoning_effort is not None:
        variables["reasoning_effort"] = asked.reasoning_effort
    thinking = variables.pop("enable_thinking", variables.pop("thinking", None))
    if thinking is not None and not isinstance(thinking, bool):
        raise RequestError(f"enable_thinking must be true or false, was {thinking!r}")
    tools = tuple(asked.tools or ()) if asked.tool_choice != "none" else ()
    forced = _forced(asked.tool_choice, tools)
    if forced:
        if constraint != Constraint():
            raise RequestError("An answer that must be a tool call cannot have another form too")
        name = "" if forced == "*" else forced
        constraint = Constraint(json_schema=call_schema(engine.tool_form, tools, name))
        thinking = False
    formed = constraint != Constraint()
    prompt = engine.render(
        [_turn(message) for message in asked.messages],
        thinking=thinking,
        tools=tools,
        variables=variables,
        formed=formed,
    )
    if forced:
        prompt = _begun(engine, prompt, "" if forced == "*" else forced)
    wanted = Wanted(
        model=asked.model or engine.name,
        prompt=prompt,
        constraint=constraint,
        max_tokens=_first(asked.max_completion_tokens, asked.max_tokens),
        stop=_stops(asked.stop),
        top=(asked.top_logprobs or 0) if asked.logprobs else 0,
        plain=bool(forced) or (formed and thinking is False),
        tools=bool(tools) and not formed,
    )
    return Request(
        model=wanted.model,
        wanted=_choices(wanted, asked, engine),
        stream=bool(asked.stream),
        include_usage=_include_usage(asked),
        logprobs=bool(asked.logprobs),
        token_scores=bool(asked.token_scores),
        tools=tools,
        forced=forced,
    )


def read_text(body: bytes, engine: Engine) -> Request:
    """Read ``POST /v1/completions``.

    Raises:
        RequestError: It is not such a request, or asks for what the engine does not do.
    """
    try:
        asked = _text_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"The request body is not a completion request: {error}") from None
    if asked.echo or asked.suffix or (asked.best_of or 1) != 1:
        raise RequestError("echo, suffix and best_of are not served here")
    if not 0 <= (asked.logprobs or 0) <= _MOST_TOP:
        raise RequestError(f"logprobs must be 0 to {_MOST_TOP}, was {asked.logprobs}")
    wanted: list[Wanted] = []
    for prompt in _prompts(asked.prompt, engine):
        one = Wanted(
            model=asked.model or engine.name,
            prompt=prompt,
            constraint=_constraint(asked, None),
            max_tokens=16 if asked.max_tokens is None else asked.max_tokens,
            stop=_stops(asked.stop),
            top=asked.logprobs or 0,
            plain=True,
        )
        wanted += _choices(one, asked, engine)
    return Request(
        model=asked.model or engine.name,
        wanted=tuple(wanted),
        stream=bool(asked.stream),
        include_usage=_include_usage(asked),
        logprobs=asked.logprobs is not None,
    )


def _prompts(prompt: str | list[str | int], engine: Engine) -> list[Rendered]:
    if isinstance(prompt, str):
        return [Rendered(prompt, engine.tokens(prompt, special=True))]
    texts = [one for one in prompt if isinstance(one, str)]
    if texts:
        return [Rendered(one, engine.tokens(one, special=True)) for one in texts]
    ids = [one for one in prompt if isinstance(one, int)]
    if not ids or not all(0 <= one < engine.vocabulary.size for one in ids):
        raise RequestError(
            "The prompt must be a text, texts, or tokens that the model has; it was not"
        )
    return [Rendered("", ids)]


def _choices(wanted: Wanted, asked: _Common, engine: Engine) -> tuple[Wanted, ...]:
    """Return the same answer ``n`` times, each drawn again."""
    count = 1 if asked.n is None else asked.n
    if not 1 <= count <= _MOST_CHOICES:
        raise RequestError(f"n must be 1 to {_MOST_CHOICES}, was {count}")
    usual = engine.default_sampling
    temperature = usual.temperature if asked.temperature is None else asked.temperature
    top_p = usual.top_p if asked.top_p is None else asked.top_p
    if not 0 <= temperature <= 2:
        raise RequestError(f"temperature must be 0 to 2, was {temperature}")
    if not 0 < top_p <= 1:
        raise RequestError(f"top_p must be above 0 and at most 1, was {top_p}")
    return tuple(
        msgspec.structs.replace(
            wanted,
            sampling=Sampling(
                temperature=temperature,
                top_p=top_p,
                seed=None if asked.seed is None else asked.seed + number,
            ),
        )
        for number in range(count)
    )


def _constraint(asked: _Common, response_format: Mapping[str, Any] | None) -> Constraint:
    outputs = asked.structured_outputs or _StructuredOutputs()
    schemas = [_schema(one) for one in (outputs.json, asked.json_schema) if one is not None]
    kind = (response_format or {}).get("type", "text")
    if kind == "json_object":
        schemas.append('{"type":"object"}')
    elif kind == "json_schema":
        given = (response_format or {}).get("json_schema")
        schema = given.get("schema") if isinstance(given, dict) else None
        if not isinstance(schema, dict):
            raise RequestError("response_format.json_schema must have a schema, an object")
        schemas.append(_schema(schema))
    elif kind != "text":
        raise RequestError(
            f"response_format must be text, json_object or json_schema, was {kind!r}"
        )
    regexes = [one for one in (outputs.regex, asked.regex) if one is not None]
    if len(schemas) + len(regexes) + (outputs.choice is not None) > 1:
        raise RequestError("A request may ask for one form of the answer, not for several")
    if outputs.choice is not None and not outputs.choice:
        raise RequestError("structured_outputs.choice must have a text to choose")
    return Constraint(
        choices=tuple(outputs.choice or ()),
        json_schema=schemas[0] if schemas else "",
        regex=regexes[0] if regexes else "",
    )


def _schema(given: Any) -> str:
    """Return a JSON Schema as text; vLLM and SGLang take either an object or its text."""
    return given if isinstance(given, str) else json.dumps(given)


def _forced(choice: str | Mapping[str, Any] | None, tools: tuple[dict[str, Any], ...]) -> str:
    if choice is None or (isinstance(choice, str) and choice in {"auto", "none"}):
        return ""
    if not tools:
        raise RequestError("tool_choice needs tools to choose from")
    if choice == "required":
        return "*"
    function = choice.get("function") if isinstance(choice, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str) or not name:
        raise RequestError("tool_choice must be none, auto, required or name a function")
    return name


def _begun(engine: Engine, prompt: Rendered, name: str) -> Rendered:
    prefix = call_prefix(engine.tool_form, name)
    if not prefix:
        return prompt
    text = prompt.text + prefix
    return Rendered(text, engine.tokens(text, special=False))


def _turn(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message as chat templates read it: text alone, arguments of tools as objects."""
    if not isinstance(message.get("role"), str):
        raise RequestError("A message must have a role")
    turn = dict(message)
    content = turn.get("content")
    if isinstance(content, list):
        given = [part.get("text") for part in content if isinstance(part, dict)]
        texts = [text for text in given if isinstance(text, str)]
        if len(texts) < len(content):
            raise RequestError("The parts of a message must be text; this engine reads no other")
        turn["content"] = "\n".join(texts)
    elif content is None:
        turn["content"] = ""
    elif not isinstance(content, str):
        raise RequestError("The content of a message must be a text or a list of parts")
    if turn["role"] == "developer":
        turn["role"] = "system"
    if calls := turn.get("tool_calls"):
        if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
            raise RequestError("tool_calls must be a list of calls")
        turn["tool_calls"] = [_call(call) for call in calls]
    return turn


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise RequestError("A tool call must have a function with a name")
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            raise RequestError("The arguments of a tool call must be JSON") from None
    return {**call, "function": {**function, "arguments": arguments}}


def _stops(stop: str | list[str] | None) -> tuple[str, ...]:
    stops = [stop] if isinstance(stop, str) else stop or []
    return tuple(one for one in stops if one)


def _include_usage(asked: _Common) -> bool:
    return bool(asked.stream_options and asked.stream_options.include_usage)


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)
