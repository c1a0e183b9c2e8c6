"""Whether a record satisfies the JSON Schema that its request carries.

The keywords that structured output takes are checked. One with another keyword that could forbid a
record cannot be told to be satisfied, so no student answers it.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

_IGNORED: Final = frozenset(
    {
        *("title", "description", "default", "examples", "format", "$schema", "$id", "$comment"),
        *("$defs", "definitions", "deprecated", "readOnly", "writeOnly", "strict"),
    }
)
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "null": (type(None),),
    "number": (int, float),
    "integer": (int, float),
}
_KNOWN: Final = frozenset(
    {
        *("type", "enum", "const", "properties", "required", "additionalProperties", "items"),
        *("minItems", "maxItems", "uniqueItems", "minLength", "maxLength", "pattern"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("anyOf", "oneOf", "allOf", "$ref", "minProperties", "maxProperties"),
    }
)
DEEPEST: Final = 64
MOST_LOOKS: Final = 20_000
"""Parts of a schema that are looked at for one value: references may make it endless."""

LONGEST: Final = 2_000
"""Characters of a text that a pattern is tried on."""

_REPEATS: Final = re.compile(r"[+*}?|][^()]*\)\s*[+*{]|[+*}]\s*[+*{]|\\\d")
"""In a pattern: a repeated group that repeats or chooses within, or a reference to a group."""


def unknown_keywords(schema: Any) -> set[str]:
    """Return the keywords of a schema that are not checked and may forbid a record."""
    if isinstance(schema, list):
        return set().union(*(unknown_keywords(part) for part in schema))
    if not isinstance(schema, Mapping):
        return set()
    found = {name for name in schema if name not in _KNOWN and name not in _IGNORED}
    for name in ("properties", "$defs", "definitions"):
        parts = schema.get(name)
        if isinstance(parts, Mapping):
            found |= unknown_keywords(list(parts.values()))
    for name in ("items", "additionalProperties", "anyOf", "oneOf", "allOf"):
        found |= unknown_keywords(schema.get(name))
    return found


def satisfies(value: Any, schema: Any) -> bool:
    """Return whether a JSON value satisfies a schema of known keywords.

    Clients send schemas: one that is malformed, or takes too long to check, is not satisfied.
    """
    try:
        return _satisfied(value, schema, _Root(schema), 0)
    except (TypeError, AttributeError, ValueError, ArithmeticError):
        return False


class _Root:
    """The whole schema, which parts may refer to, and how many more may be looked at."""

    def __init__(self, schema: Any) -> None:
        self.schema = schema
        self.left = MOST_LOOKS

    def look(self) -> bool:
        """Count a part that is looked at; return whether it may be."""
        self.left -= 1
        return self.left >= 0


def _satisfied(value: Any, schema: Any, root: _Root, depth: int) -> bool:
    if not root.look():
        return False
    if isinstance(schema, bool):
        return schema
    if not isinstance(schema, Mapping) or depth > DEEPEST:
        return False
    return (
        _refers(value, schema, root, depth)
        and _is_of_type(value, schema.get("type"))
        and ("enum" not in schema or any(_equal(value, one) for one in schema["enum"]))
        and ("const" not in schema or _equal(value, schema["const"]))
        and _by_kind(value, schema, root, depth)
    )


def _refers(value: Any, schema: Mapping[str, Any], root: _Root, depth: int) -> bool:
    """Whether a value satisfies the schemas that one refers to."""
    if "$ref" in schema:
        target = _resolved(root.schema, schema["$ref"])
        if target is None or not _satisfied(value, target, root, depth + 1):
            return False

    def of(name: str) -> list[bool]:
        return [_satisfied(value, part, root, depth + 1) for part in schema.get(name, ())]

    if "anyOf" in schema and not any(of("anyOf")):
        return False
    if "oneOf" in schema and sum(of("oneOf")) != 1:
        return False
    return all(of("allOf"))


def _by_kind(value: Any, schema: Mapping[str, Any], root: _Root, depth: int) -> bool:
    if isinstance(value, dict):
        return _object(value, schema, root, depth)
    if isinstance(value, list):
        return _array(value, schema, root, depth)
    if isinstance(value, str):
        return _string(value, schema)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number(value, schema)
    return True


def _resolved(root: Any, reference: Any) -> Any:
    if not isinstance(reference, str) or not reference.startswith("#"):
        return None
    at = root
    for name in reference[1:].split("/")[1:]:
        plain = name.replace("~1", "/").replace("~0", "~")
        if not isinstance(at, Mapping) or plain not in at:
            return None
        at = at[plain]
    return at


def _is_of_type(value: Any, types: Any) -> bool:
    if types is None:
        return True
    names = [types] if isinstance(types, str) else types
    if isinstance(value, bool):
        return "boolean" in names
    if isinstance(value, float) and not value.is_integer():
        return "number" in names
    return any(isinstance(value, _TYPES.get(name, ())) for name in names)


def _equal(one: Any, other: Any) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _object(value: dict[str, Any], schema: Mapping[str, Any], root: _Root, depth: int) -> bool:
    properties = schema.get("properties", {})
    if not all(name in value for name in schema.get("required", ())):
        return False
    if not schema.get("minProperties", 0) <= len(value) <= schema.get("maxProperties", len(value)):
        return False
    others = schema.get("additionalProperties", True)
    return all(
        _satisfied(part, properties.get(name, others), root, depth + 1)
        for name, part in value.items()
    )


def _array(value: list[Any], schema: Mapping[str, Any], root: _Root, depth: int) -> bool:
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        return False
    if schema.get("uniqueItems") and any(
        _equal(one, other) for i, one in enumerate(value) for other in value[:i]
    ):
        return False
    items = schema.get("items", True)
    return all(_satisfied(part, items, root, depth + 1) for part in value)


def _string(value: str, schema: Mapping[str, Any]) -> bool:
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
        return False
    if "pattern" not in schema:
        return True
    # A client's pattern and words may be made for each other, to hold a gateway up.
    if len(value) > LONGEST or _REPEATS.search(schema["pattern"]):
        return False
    try:
        return re.search(schema["pattern"], value) is not None
    except (re.error, RecursionError):
        return False


def _number(value: float, schema: Mapping[str, Any]) -> bool:
    step = schema.get("multipleOf")
    if step and abs(value / step - round(value / step)) > 1e-9:
        return False
    return not (
        ("minimum" in schema and value < schema["minimum"])
        or ("maximum" in schema and value > schema["maximum"])
        or ("exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"])
        or ("exclusiveMaximum" in schema and value >= schema["exclusiveMaximum"])
    )
