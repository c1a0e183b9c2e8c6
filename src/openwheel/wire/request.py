"""A request of any API that students may answer, as far as answering depends on it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from openwheel.errors import RequestError
from openwheel.wire.prompt import Prompt, canonical_json

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_any = msgspec.json.Decoder()


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked, and how the answer is to be sent.

    Attributes:
        prompt: The canonical form of what is asked.
        model: The model asked for, ``""`` if none was named.
        stream: Whether the answer is to be streamed.
        include_usage: Whether a stream is to end with a chunk that holds the usage.
        task: The task the client named, ``""`` if it named none.
        settings: The settings that shape an answer, `settings_of` them; None when the request is
            made up from a log that does not hold them.
        kept: Whether the server is asked to keep the answer, so that it can be fetched or
            continued later, which no student's can be.
        echo: What the API repeats of a request in its answer.
    """

    prompt: Prompt
    model: str = ""
    stream: bool = False
    include_usage: bool = False
    task: str = ""
    settings: Mapping[str, str] | None = None
    kept: bool = False
    echo: Mapping[str, Any] = {}


def settings_of(
    body: bytes, neutral: frozenset[str], in_prompt: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str] | None:
    """Return the settings of a request that can be read: each field's value as canonical JSON.

    Whatever is not known to be ``neutral`` counts, so that a setting this version has never heard
    of is one that a student was not certified for. A null is as good as none.

    Args:
        body: The request; it can be read.
        neutral: The fields that are no settings.
        in_prompt: Fields that hold several settings, and which of them the prompt has.

    Returns:
        None if the request names no model: then it was made up from a log of inputs and answers,
        which says nothing of settings.

    Raises:
        RequestError: A field's value cannot be read, such as a number out of range.

    >>> settings_of(b'{"model":"m","user":"u","top_p":null,"temperature":0.0}', frozenset({"user"}))
    {'model': '"m"', 'temperature': '0'}
    """
    settings = {}
    try:
        fields = _fields.decode(body)
        if "model" not in fields:
            return None
        for name, raw in fields.items():
            if name in neutral:
                continue
            value = _any.decode(raw)
            if name in in_prompt and isinstance(value, dict):
                value = _others(value, in_prompt[name])
            if value is not None:
                settings[name] = _canonical(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"The request body has a field that cannot be read: {error}") from None
    return settings


def _others(settings: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    other_settings = {
        key: value for key, value in settings.items() if key != name and value is not None
    }
    return other_settings or None


def _canonical(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return canonical_json(value)


def without_stream(body: bytes) -> bytes:
    """Return a request body without its stream settings, every other value byte for byte.

    >>> without_stream(b'{"stream": true, "temperature": 1.0, "stream_options": null}')
    b'{"temperature":1.0}'
    """
    fields = _fields.decode(body)
    fields.pop("stream", None)
    fields.pop("stream_options", None)
    return msgspec.json.encode(fields)
