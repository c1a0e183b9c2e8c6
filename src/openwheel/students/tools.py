"""The tools that a request offers, and whether it may be answered with a call of one of them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from openwheel.students.fields.schema import satisfies, unknown_keywords
from openwheel.wire import ToolCall, read_tools


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


def offered(tools: str) -> Offered:
    """Return the tools that a prompt offers, as far as its tool choice allows.

    Args:
        tools: As in `Prompt`.
    """
    read = read_tools(tools)
    return Offered(read.schemas, read.several)
