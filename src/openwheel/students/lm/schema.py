"""A JSON Schema for a task's records: the request's own, or what all answers have in common."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

FEWEST_RECORDS = 20
"""With fewer records a schema would forbid what was merely not seen yet; there is then none."""

OPTIONAL_SEEN = 3
"""A key seen in fewer records than this is not known well enough to close the set of keys."""


def requested_schema(response_format: str) -> str:
    """Return the JSON Schema that a request's response format names, ``""`` if none.

    Args:
        response_format: Canonical JSON, as :class:`openwheel.wire.Prompt` has it.
    """
    if not response_format:
        return ""
    asked = msgspec.json.decode(response_format)
    match asked:
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return msgspec.json.encode(schema).decode()
        case {"type": "json_schema", "schema": dict(schema)}:  # the Responses API
            return msgspec.json.encode(schema).decode()
    return ""


def inferred_schema(records: Sequence[Mapping[str, Any]]) -> str:
    """Return a JSON Schema that every record satisfies, ``""`` if there are too few.

    It says which keys there are, which are always there, and which types they have; never which
    values, lengths or patterns, since what was not seen yet may come. Keys stand in the order in
    which they first came. Constrained decoding writes them so, whatever order an answer had: see
    `in_schema_order`.
    """
    if len(records) < FEWEST_RECORDS:
        return ""
    return msgspec.json.encode(_object(records)).decode()


def _object(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    values: dict[str, list[Any]] = {}
    for record in records:
        for key, value in record.items():
            values.setdefault(key, []).append(value)
    if not values or min(map(len, values.values())) < OPTIONAL_SEEN:
        return {"type": "object"}  # keys are data here: any may come
    return {
        "type": "object",
        "properties": {key: _any(found) for key, found in values.items()},
        "required": [key for key, found in values.items() if len(found) == len(records)],
        "additionalProperties": False,
    }


def _any(values: Sequence[Any]) -> dict[str, Any]:
    kinds = [kind for kind in ("object", "array") if any(_kind(v) == kind for v in values)]
    scalars = sorted({_kind(v) for v in values} - {"object", "array"})
    if {"integer", "number"} <= set(scalars):
        scalars.remove("integer")
    options: list[dict[str, Any]] = []
    if scalars:
        options.append({"type": scalars[0] if len(scalars) == 1 else scalars})
    if "object" in kinds:
        options.append(_object([v for v in values if isinstance(v, dict)]))
    if "array" in kinds:
        items = [item for v in values if isinstance(v, list) for item in v]
        options.append({"type": "array", "items": _any(items)} if items else {"type": "array"})
    return options[0] if len(options) == 1 else {"anyOf": options}


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    # bool before int, which it is one of
    kinds = ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"))
    return next((name for kind, name in kinds if isinstance(value, kind)), _container(value))


def _container(value: Any) -> str:
    return "array" if isinstance(value, list) else "object"


class _Member(NamedTuple):
    """A member of a JSON object as text: its key, and the whole of it from quote to value."""

    key: str
    text: str


def in_schema_order(text: str, json_schema: str) -> str:
    """Return a JSON object with the keys in its schema's order, otherwise as it was written.

    Decoding within a schema writes keys in that order alone, and no escape for a character that
    needs none, so an answer with others is one that a student could learn and never write. Keys
    that the schema does not name stand last.

    Args:
        text: An answer; what stands around its object, as a fence does, is left out, since a
            schema forbids it. A text without an object is returned as it is.
        json_schema: The JSON Schema, as text.
    """
    schema = msgspec.json.decode(json_schema)
    start = text.find("{")
    if start < 0:
        return text
    try:
        _, end = _DECODER.raw_decode(text, start)
        return _ordered(text[start:end], (schema,), schema)
    except (ValueError, RecursionError):
        return text


_DECODER = json.JSONDecoder()
_SPACE = " \t\n\r"


def _ordered(text: str, options: Sequence[Any], root: Any) -> str:
    """Return a JSON value with the keys of its objects in the order of whichever schema it has."""
    schemas = [one for option in options for one in _alternatives(option, root, frozenset())]
    if text[0] == "{":
        places: dict[str, list[Any]] = {}
        for schema in schemas:
            for key, value in schema.get("properties", {}).items():
                places.setdefault(key, []).append(value)
        order = {key: place for place, key in enumerate(places)}
        seams, values = _parts(text)
        members = []
        for key, colon, value in map(_member, values):
            name = _DECODER.decode(key)
            inner = _ordered(value, places.get(name, ()), root)
            members.append(_Member(name, _ordered(key, (), root) + colon + inner))
        members.sort(key=lambda member: order.get(member.key, len(order)))
        return _joined(seams, [member.text for member in members])
    if text[0] == "[":
        items = [schema["items"] for schema in schemas if "items" in schema]
        seams, values = _parts(text)
        return _joined(seams, [_ordered(value, items, root) for value in values])
    if text[0] == '"' and ("\\" in text or "\x7f" in text):
        # JSON allows the character DEL as it is, grammars of JSON only escaped.
        return json.dumps(_DECODER.decode(text), ensure_ascii=False).replace("\x7f", "\\u007f")
    return text


def _alternatives(schema: Any, root: Any, seen: frozenset[str]) -> Iterator[dict[str, Any]]:
    """Yield what a schema may stand for: itself, its alternatives, what it refers to."""
    if not isinstance(schema, dict):
        return
    yield schema
    for word in ("anyOf", "oneOf", "allOf"):
        for option in schema.get(word, ()):
            yield from _alternatives(option, root, seen)
    pointer = schema.get("$ref")
    if isinstance(pointer, str) and pointer.startswith("#/") and pointer not in seen:
        found: Any = root
        for step in pointer[2:].split("/"):
            found = found.get(step) if isinstance(found, dict) else None
        yield from _alternatives(found, root, seen | {pointer})


def _parts(text: str) -> tuple[list[str], list[str]]:
    """Return what stands before, between and after the members of an object or array, and these."""
    seams: list[str] = []
    values: list[str] = []
    at, closing = 1, "}" if text[0] == "{" else "]"
    start = 0
    while True:
        while text[at] in _SPACE or text[at] == ",":
            at += 1
        seams.append(text[start:at])
        if text[at] == closing:
            seams[-1] += text[at:]
            return seams, values
        end = at
        if closing == "}":
            _, end = _DECODER.raw_decode(text, end)
            end = _value_at(text, end)
        _, end = _DECODER.raw_decode(text, end)
        values.append(text[at:end])
        start = at = end


def _member(text: str) -> tuple[str, str, str]:
    """Return a member's key as written, what stands between, and its value."""
    _, key_end = _DECODER.raw_decode(text)
    value_at = _value_at(text, key_end)
    return text[:key_end], text[key_end:value_at], text[value_at:]


def _value_at(text: str, at: int) -> int:
    while text[at] in _SPACE or text[at] == ":":
        at += 1
    return at


def _joined(seams: Sequence[str], values: Sequence[str]) -> str:
    """Return the members between their seams, of which there is one more."""
    return seams[0] + "".join(v + s for v, s in zip(values, seams[1:], strict=True))
