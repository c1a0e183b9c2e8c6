"""Reads single values of a log's record: embedded JSON, text, and numbers."""

import ast
import json
import math
import warnings
from collections.abc import Collection
from functools import lru_cache
from typing import Any, TypeAlias, TypeGuard

import msgspec

from openwheel.wire.prompt import canonical_json

JsonObject: TypeAlias = dict[str, Any]

LONGEST_LITERAL = 2**20
"""Characters of a printed Python value that are parsed."""

_NO = frozenset(
    {"", "false", "none", "null", "nan", "n/a", "na", "no", "0", "0.0", "-", "[]", "{}"}
)


class UnreadableRecordError(Exception):
    """A record is not what a log may hold; the message is the reason. Never leaves `read_log`."""


class SkippedRecordError(Exception):
    """A record holds nothing to learn from; the message is the reason. Never leaves `read_log`."""


def embedded(value: Any) -> Any:
    """Return the value in a string that holds a JSON object or array, else the value itself.

    Tables of objects in CSV files hold them as Python prints them, which is read too.
    """
    if not isinstance(value, str) or value.lstrip()[:1] not in {"{", "["}:
        return value
    decoded = parsed(value)
    return value if decoded is None else decoded


def parsed(text: str) -> Any:
    """Return the JSON or printed Python value that a text is, ``None`` if it is neither."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        pass
    try:
        if "NaN" in text or "Infinity" in text:
            return whole(json.loads(text, parse_constant=lambda _: None))
        if "'" in text and len(text) <= LONGEST_LITERAL:
            with warnings.catch_warnings():  # of what only looks like Python
                warnings.simplefilter("ignore", SyntaxWarning)
                return whole(plain_value(ast.literal_eval(text.strip())))
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        pass
    return None


def plain_value(value: Any) -> Any:
    """Return a printed Python value as JSON has it: tuples as lists, keys as text.

    Raises:
        ValueError: It holds something that JSON has not, such as bytes.
    """
    if isinstance(value, dict):
        return {str(key): plain_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(item) for item in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise ValueError(f"a {type(value).__name__} is no JSON value")


def whole(value: Any) -> Any:
    """Return a value, or raise `ValueError` if half of a surrogate pair in it cannot be written."""
    json.dumps(value, ensure_ascii=False).encode()
    return value


def json_text(value: Any) -> str:
    """Return a string as it is, and any other JSON value as its canonical JSON."""
    if isinstance(value, str):
        return value
    try:
        return canonical_json(value)
    except (OverflowError, RecursionError, UnicodeEncodeError) as error:
        raise UnreadableRecordError(f"a value cannot be written as JSON: {error}") from None


def is_set(value: Any) -> bool:
    """Return whether a field says something: tables write "no error" as ``False`` or ``nan`` too.

    >>> [is_set(value) for value in ("None", "nan", 0, {}, "timeout", {"code": 3})]
    [False, False, False, False, True, True]
    """
    if isinstance(value, str):
        return value.strip().lower() not in _NO
    return bool(value) and not (isinstance(value, float) and math.isnan(value))


def milliseconds(value: Any) -> float | None:
    """Return a duration that is a number, also as text, of at least 0; else ``None``."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < math.inf else None


def first_text(*values: Any) -> str:
    """Return the first value that is a text and not empty, else ``""``."""
    for value in values:
        if isinstance(value, str) and value:
            return value
    return ""


def first_object(value: Any) -> JsonObject:
    """Return a value that is an object, or a text that holds one; else an empty one."""
    value = embedded(value)
    return value if isinstance(value, dict) else {}


def at(value: Any, *path: str | int) -> Any:
    """Return what lies at a path of keys and places in a value, ``None`` if nothing does.

    >>> at({"choices": [{"text": "pumps"}]}, "choices", 0, "text"), at("x", "choices")
    ('pumps', None)
    """
    for step in path:
        if isinstance(step, str):
            value = value.get(step) if isinstance(value, dict) else None
        else:
            value = value[step] if isinstance(value, list) and len(value) > step else None
    return value


def listed(value: Any) -> list[Any]:
    """Return a value that is a list, else an empty one."""
    return value if isinstance(value, list) else []


def one_of(value: Any, names: Collection[str]) -> TypeGuard[str]:
    """Return whether a value of any type is one of these texts."""
    return isinstance(value, str) and value in names


@lru_cache(10_000)
def squeezed(name: str) -> str:
    """Return a key as keys are compared: without case, spaces and punctuation.

    >>> squeezed("Request Body"), squeezed("requestBody"), squeezed("request_body")
    ('requestbody', 'requestbody', 'requestbody')
    """
    return "".join(filter(str.isalnum, name)).lower()
