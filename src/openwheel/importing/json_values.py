"""Decodes one JSON object of a log, also as Python's json module writes it."""

import json
import re
from typing import Any, Final

import msgspec

from openwheel.importing.values import JsonObject, whole

NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding a line raises that is no JSON."""

_BEHIND: Final = re.compile(rb"([^{,;|]{1,200}?[\s:\]])(\{.*\})\Z", re.DOTALL)
_STAMP: Final = re.compile(rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?")
_scanner = json.JSONDecoder(strict=False, parse_constant=lambda _: None)
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
            value = whole(json.loads(raw, strict=False, parse_constant=lambda _: None))
        except (ValueError, RecursionError):
            raise error from None
        if not isinstance(value, dict):
            raise error from None
        return value


def joined_objects(raw: bytes) -> list[tuple[bytes, JsonObject]]:
    """Return the objects of a line that has several without anything but spaces between them.

    Streams that deliver to files write so. Empty if the line is anything else.
    """
    objects: list[tuple[bytes, JsonObject]] = []
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return objects
    place = 0
    while place < len(text):
        try:
            value, end = _scanner.raw_decode(text, place)
            whole(value)
        except (ValueError, RecursionError):
            return []
        if not isinstance(value, dict):
            return []
        objects.append((text[place:end].encode(), value))
        place = end
        while place < len(text) and text[place] in " \t,":
            place += 1
    return objects


def object_behind(raw: bytes) -> tuple[bytes, JsonObject] | None:
    """Return the object at the end of a line that begins with words of who wrote it.

    Such a line is that of a logger or of a container: a time, a level, a name. A time there is
    the object's, if it has none.
    """
    match = _BEHIND.match(raw)
    if match is None:
        return None
    try:
        values = decode_object(match.group(2))
    except NOT_JSON:
        return None
    stamp = _STAMP.search(match.group(1))
    if stamp is not None and len(values) > 1:
        values.setdefault("timestamp", stamp.group().decode())
    return raw, values


def is_cut(error: BaseException) -> bool:
    """Return whether an error of decoding says that more was expected."""
    return "truncated" in str(error)
