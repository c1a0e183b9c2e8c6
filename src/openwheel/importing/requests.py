"""Reads a request of any API as it can be sent again."""

import math
from typing import Any, Final

import msgspec

from openwheel.importing.messages import as_messages, is_messages, with_system
from openwheel.importing.values import (
    JsonObject,
    SkippedRecordError,
    at,
    embedded,
    first_object,
    listed,
    one_of,
    squeezed,
)
from openwheel.wire import ApiName

PARAMETERS: Final = {
    squeezed(name): name
    for name in (
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "stop",
        "stop_sequences",
        "seed",
        "n",
        "frequency_penalty",
        "presence_penalty",
        "repetition_penalty",
        "logit_bias",
        "logprobs",
        "top_logprobs",
        "reasoning_effort",
        "verbosity",
        "response_format",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "functions",
        "function_call",
    )
}
"""Settings that tools write beside a request's messages, by their names without punctuation."""

_GENERATION: Final = {
    "maxoutputtokens": "max_tokens",
    "maxtokens": "max_tokens",
    "maxtokenstosample": "max_tokens",
    "maxgenlen": "max_tokens",
    "maxtokencount": "max_tokens",
    "numpredict": "max_tokens",
    "stopsequences": "stop",
}
_ENVELOPES: Final = ("body", "kwargs", "json", "params", "data", "args", "request")
_SAYS: Final = ("messages", "prompt", "contents", "input", "instructions", "inputText")
_ANTHROPIC: Final = ("system", "anthropic_version", "stop_sequences", "thinking", "betas")
_ANTHROPIC_PARTS: Final = frozenset({"tool_use", "tool_result", "document", "thinking"})
# What an endpoint is called in a URL, a path, or a tool's name of the call, and the API it is.
_NAMED: Final[tuple[tuple[str, ApiName], ...]] = (
    ("chat/completions", "chat"),
    ("responses", "responses"),
    ("messages", "messages"),
    ("completions", "completions"),
)
_CALLS: Final[dict[str, ApiName]] = {
    "chat": "chat",
    "completion": "chat",
    "acompletion": "chat",
    "textcompletion": "completions",
    "atextcompletion": "completions",
    "completions": "completions",
    "responses": "responses",
    "aresponses": "responses",
    "messages": "messages",
    "anthropicmessages": "messages",
}
_OTHERS: Final = (
    "embedding",
    "moderation",
    "image",
    "audio",
    "transcription",
    "speech",
    "rerank",
    "search",
    "realtime",
)


class Asked(msgspec.Struct, frozen=True):
    """A request.

    Attributes:
        body: Its body.
        api: The API that the body is of.
        vendor: Whose API it was sent to, where that is another.
    """

    body: JsonObject
    api: ApiName = "chat"
    vendor: str = ""


def api_named(*hints: Any) -> ApiName | None:
    """Return the API that a URL, a path or the name of a call says, ``None`` if none does.

    Raises:
        SkippedRecordError: It names a call that has no answer in words, such as an embedding.
    """
    for hint in hints:
        if not isinstance(hint, str) or not hint:
            continue
        path = hint.split("?")[0].rstrip("/").lower()
        for end, api in _NAMED:
            if path.endswith("/" + end) or path == end:
                return api
        name = squeezed(path.rsplit("/", 1)[-1])
        if name in _CALLS:
            return _CALLS[name]
        for other in _OTHERS:
            if other in name:
                raise SkippedRecordError(f"a call of another kind ({path.rsplit('/', 1)[-1][:40]})")
    return None


def read_request(value: Any, *, response: Any = None, api: ApiName | None = None) -> Asked | None:
    """Return the request in a value, ``None`` if it is none: a text alone is no request here.

    A body of the OpenAI and Anthropic APIs is returned as it is, so that the same request on the
    wire is the same; those of other vendors become chat completion requests.

    Args:
        value: The body, in an envelope or not.
        response: What was answered, where it tells the API of the request.
        api: The API, where something else names it.
    """
    value = embedded(value)
    if isinstance(value, list):
        if is_messages(value) or (len(value) == 1 and is_messages(value[0])):
            return Asked({"messages": as_messages(value)})
        return None
    if not isinstance(value, dict):
        return None
    for key in _ENVELOPES:
        if key in value and not any(says in value for says in _SAYS):
            inner = embedded(value[key])
            if isinstance(inner, dict | list):
                hint = api or api_named(value.get("url"), value.get("path"), value.get("endpoint"))
                return read_request(inner, response=response, api=hint)
    return _read_body(value, first_object(response), api)


def _read_body(body: JsonObject, response: JsonObject, api: ApiName | None) -> Asked | None:
    if "contents" in body:
        return Asked(_from_gemini(body), vendor="Gemini")
    if "messages" in body:
        return _with_messages(body, response, api)
    if "inputText" in body:
        asks = [{"role": "user", "content": str(body["inputText"])}]
        return Asked(_chat(body, asks), vendor="Bedrock")
    if _is_of_responses(body, response, api):
        return Asked(body, "responses")
    if "prompt" in body:
        return _with_prompt(body, response, api)
    items = embedded(body.get("input"))
    return Asked(_chat(body, as_messages(items))) if is_messages(items) else None


def _is_of_responses(body: JsonObject, response: JsonObject, api: ApiName | None) -> bool:
    if "instructions" in body and "prompt" not in body:
        return True
    items = embedded(body.get("input"))
    return (isinstance(items, str) or is_messages(items)) and (
        api == "responses" or _is_response(response) or "model" in body
    )


def _with_prompt(body: JsonObject, response: JsonObject, api: ApiName | None) -> Asked | None:
    prompt = embedded(body["prompt"])
    if is_messages(prompt):
        return Asked(_chat(body, as_messages(prompt)))
    texts = isinstance(prompt, list) and prompt and all(isinstance(text, str) for text in prompt)
    if texts or api == "completions" or (api is None and _continues(response)):
        return Asked(body, "completions")
    if isinstance(prompt, str):
        messages = with_system(body.get("system"), [{"role": "user", "content": prompt}])
        return Asked(_chat(body, messages), vendor="Ollama" if "done" in response else "")
    return None


def _with_messages(body: JsonObject, response: JsonObject, api: ApiName | None) -> Asked:
    sent = embedded(body["messages"])
    if isinstance(sent, str) and sent.strip():
        sent = [{"role": "user", "content": sent}]
    if "choices" in response and api in {None, "chat"} and "system" not in body:
        return Asked({**body, "messages": as_messages(sent)})
    if _is_converse(body, sent):
        return Asked(_from_converse(body, sent), vendor="Bedrock")
    if api is None and _is_anthropic(body, sent, response):
        api = "messages"
    if api == "messages" and isinstance(sent, list):
        return Asked({**body, "messages": sent}, "messages")
    messages = as_messages(sent)
    if "system" in body:
        system = body["system"]
        body = {key: value for key, value in body.items() if key != "system"}
        messages = with_system(system, messages)
    if "done" in response and "message" in response:
        return Asked(_chat(body, messages), vendor="Ollama")
    return Asked({**body, "messages": messages}, "chat")


def _is_anthropic(body: JsonObject, messages: Any, response: JsonObject) -> bool:
    if any(body.get(key) is not None for key in _ANTHROPIC if key in body):
        return True
    if "choices" in response and "tools" not in body:
        return False
    if response.get("type") == "message" or "stop_reason" in response:
        return "choices" not in response
    if any(isinstance(t, dict) and "input_schema" in t for t in listed(body.get("tools"))):
        return True
    return any(one_of(at(part, "type"), _ANTHROPIC_PARTS) for part in _parts(messages))


def _is_converse(body: JsonObject, messages: Any) -> bool:
    """Return whether a body is of Bedrock's Converse API: parts without a type."""
    if "inferenceConfig" in body or "schemaVersion" in body:
        return True
    parts = [*listed(body.get("system")), *_parts(messages)]
    return bool(parts) and all(
        isinstance(part, dict) and "type" not in part and "text" in part for part in parts
    )


def _parts(messages: Any) -> list[Any]:
    return [part for message in listed(messages) for part in listed(at(message, "content"))]


def _is_response(response: JsonObject) -> bool:
    return response.get("object") == "response" or (
        isinstance(response.get("output"), list) and "choices" not in response
    )


def _continues(response: JsonObject) -> bool:
    first = at(response, "choices", 0)
    return response.get("object") == "text_completion" or (
        isinstance(first, dict) and "text" in first and "message" not in first
    )


def _from_converse(body: JsonObject, messages: Any) -> JsonObject:
    config = first_object(body.get("inferenceConfig"))
    rest: JsonObject = {key: body[key] for key in ("model", "modelId") if key in body}
    request = _chat({**rest, **config}, with_system(body.get("system"), as_messages(messages)))
    if isinstance(body.get("toolConfig"), dict):
        request["tools"] = body["toolConfig"].get("tools")
    return request


def _from_gemini(body: JsonObject) -> JsonObject:
    contents = embedded(body["contents"])
    if isinstance(contents, str):
        contents = [{"role": "user", "parts": [{"text": contents}]}]
    if isinstance(contents, dict):
        contents = [contents]
    if isinstance(contents, list):
        contents = [
            {"role": "user", **item} if isinstance(item, dict) else item for item in contents
        ]
    messages = as_messages(contents)
    system = body.get("systemInstruction", body.get("system_instruction"))
    config = first_object(body.get("generationConfig", body.get("generation_config")))
    config = config or first_object(body.get("config"))
    system = config.get("systemInstruction", config.get("system_instruction")) or system
    request = _chat({**config, "model": body.get("model")}, with_system(system, messages))
    schema = config.get("responseSchema", config.get("responseJsonSchema"))
    if schema is not None:
        shape = {"name": "response", "schema": schema}
        request["response_format"] = {"type": "json_schema", "json_schema": shape}
    elif config.get("responseMimeType") == "application/json":
        request["response_format"] = {"type": "json_object"}
    if body.get("tools"):
        request["tools"] = body["tools"]
    return request


def _chat(body: JsonObject, messages: list[JsonObject]) -> JsonObject:
    """Return a chat completion request with the messages, and with a body's model and settings."""
    model = body.get("model") or body.get("modelId")
    named = {"model": model} if isinstance(model, str) and model else {}
    options = first_object(body.get("options"))
    config = first_object(body.get("textGenerationConfig"))
    return {**named, "messages": messages, **settings_in({**options, **config, **body})}


def settings_in(place: Any, *, drop_defaults: bool = False) -> JsonObject:
    """Return the settings of a request that an object names, under chat completions' names.

    Args:
        place: The object, or JSON text of one; what is no setting is passed over.
        drop_defaults: Leave out settings that have the API's default, for tools that write them
            whether they were sent or not.
    """
    settings: JsonObject = {}
    for name, written in first_object(place).items():
        plain = squeezed(str(name))
        parameter = _GENERATION.get(plain) if name not in PARAMETERS.values() else None
        parameter = parameter or PARAMETERS.get(plain)
        value = _number(written) if isinstance(written, str) else written
        if parameter is None or value is None or value in ([], ""):
            continue
        if isinstance(value, float) and not math.isfinite(value):
            continue
        if drop_defaults and value == _DEFAULTS.get(parameter):
            continue
        settings[parameter] = embedded(value)
    return settings


_DEFAULTS: Final = {
    "temperature": 1,
    "top_p": 1,
    "n": 1,
    "frequency_penalty": 0,
    "presence_penalty": 0,
}


def _number(text: str) -> Any:
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if math.isfinite(number) and number.is_integer() else number
