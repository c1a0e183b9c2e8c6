"""The tools that a request offers, and whether it may be answered with a call of one of them."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from openwheel.students.fields.schema import satisfies, unknown_keywords
from openwheel.wire import ToolCall

KEPT = 64
"""Offers that are kept as read: most requests offer the same tools."""

_NOTHING: Mapping[str, Any] = {"type": "object", "additionalProperties": False}
"""The schema of a tool that takes no arguments."""


class Offered(NamedTuple):
    """The tools that may be called.

    Attributes:
        schemas: The JSON Schema of the arguments of each, by its name.
        several: Whether one answer may have several calls.
    """

    schemas: Mapping[str, Any]
    several: bool = True

    def take_all(self, calls: Sequence[ToolCall]) -> bool:
        """Return whether these may be the calls of one answer."""
        most = len(calls) if self.several else 1
        return 0 < len(calls) <= most and all(self.take(call) for call in calls)

    def take(self, call: ToolCall) -> bool:
        """Return whether a call is of one of them, with arguments that satisfy its schema.

        Arguments of a tool whose schema has keywords that are not checked do not.
        """
        schema = self.schemas.get(call.name)
        if schema is None or unknown_keywords(schema):
            return False
        try:
            arguments = msgspec.json.decode(call.arguments)
        except msgspec.DecodeError:
            return False
        return isinstance(arguments, dict) and satisfies(arguments, schema)

    def unknown_keywords(self) -> set[str]:
        """Return the keywords of their schemas that are not checked and may forbid arguments."""
        return set().union(*(unknown_keywords(schema) for schema in self.schemas.values()))


@lru_cache(maxsize=KEPT)
def offered(tools: str) -> Offered:
    """Read the tools that a prompt of any API offers, as far as its tool choice allows.

    Nothing may be called where the choice is not understood, nor by the older ``functions``, whose
    calls are written otherwise.

    Args:
        tools: As in `Prompt`: the tools, then the choice, as canonical JSON.
    """
    if not tools:
        return Offered({})
    parts = msgspec.json.decode(tools)
    given, choice = parts[0] or [], parts[1]
    schemas = dict(_named(tool) for tool in given if isinstance(tool, dict))
    only = _chosen(choice)
    if only is None or any(parts[2:]):
        return Offered({})
    alone = isinstance(choice, dict) and bool(choice.get("disable_parallel_tool_use"))
    allowed = {name: s for name, s in schemas.items() if name and only in ("", name)}
    return Offered(allowed, not alone)


def _named(tool: Mapping[str, Any]) -> tuple[str, Any]:
    """Return a tool's name, ``""`` if it is no function, and the schema of its arguments."""
    function = tool.get("function")
    inner = function if isinstance(function, dict) else tool
    name = inner.get("name")
    if tool.get("type") not in (None, "function", "custom") or not isinstance(name, str):
        return "", None
    if "input_schema" in inner:
        return name, inner["input_schema"]
    if tool.get("type") == "custom":
        return "", None  # one that takes text
    return name, inner.get("parameters") or _NOTHING


def _chosen(choice: Any) -> str | None:
    """Return the one tool that a choice allows, ``""`` if any may be called, None if none may."""
    if choice in (None, "auto", "required"):
        return ""
    if not isinstance(choice, dict):
        return None
    if choice.get("type") in ("auto", "any"):
        return ""
    if choice.get("type") not in ("function", "tool"):
        return None
    function = choice.get("function")
    name = function.get("name") if isinstance(function, dict) else choice.get("name")
    return name if isinstance(name, str) and name else None
