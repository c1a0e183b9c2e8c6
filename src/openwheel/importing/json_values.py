"""Decoding one JSON object of a log, also as Python's json module writes it."""

import json
from typing import Any

import msgspec

from openwheel.importing.values import JsonObject

NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding a line raises that is no JSON."""

_object = msgspec.json.Decoder(dict[str, Any])


def decode_object(raw: bytes) -> JsonObject:
    """Return the JSON object in bytes; NaN and infinities are null, huge numbers as they are.

    Raises:
        DecodeError, UnicodeDecodeError, RecursionError: It is none.
    """
    try:
        return _object.decode(raw)
    except msgspec.DecodeError as error:
        try:
            # What this reads and msgspec does not: NaN, numbers beyond 64 bits, control
            # characters in texts.
            value = json.loads(raw, strict=False, parse_constant=lambda _: None)
        except (ValueError, RecursionError):
            raise error from None
        if not isinstance(value, dict):
            raise error from None
        return value


def is_cut(error: BaseException) -> bool:
    """Return whether an error of decoding says that more was expected."""
    return "truncated" in str(error)
