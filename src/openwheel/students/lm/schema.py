"""A JSON Schema for a task's records: the request's own, or what all answers have in common."""

from collections.abc import Mapping, Sequence
from typing import Any

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
    which they first came: constrained decoding writes them so, as the teacher did.
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
