"""Tools in a request of any API: those that it offers, and the calls and results in its messages.

Both are brought to one form, so that the same request of another API asks the same.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec

from openwheel.errors import RequestError

CALL, RESULT = "call", "tool"
"""The roles of a prompt's messages that are a call of a tool, and what the tool returned."""

NEARLY_ALL: Final = 0.98

KEPT: Final = 64
"""Offers that are kept as read: most requests offer the same tools."""

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType(
    {"type": "object", "additionalProperties": False}
)
"""The schema of a tool that takes no arguments."""

_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder()
_NAME = re.compile(r"\S*")


class PromptMessage(msgspec.Struct, frozen=True):
    """One message of a prompt: its role and its text, text parts joined by newlines."""

    role: str
    text: str


class _Function(msgspec.Struct, frozen=True):
    """A tool of the client's with a JSON Schema."""

    name: str
    parameters: Any
    description: str = ""


class _Offer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a request offers, as its prompt has it.

    Attributes:
        functions: The tools of the client's, ordered.
        others: Other tools, and the older ``functions``, as they were sent.
        choice: ``auto``, ``required``, ``none``, or the one tool that is to be called.
        named: Whether the choice is the name of a tool.
        unknown: A choice of another kind, as it was sent.
        alone: Whether an answer may have one call at most.
    """

    functions: tuple[_Function, ...] = ()
    others: tuple[Any, ...] = ()
    choice: str = "auto"
    named: bool = False
    unknown: Any = None
    alone: bool = False


_offers = msgspec.json.Decoder(_Offer)


def canonical_tools(
    tools: Sequence[Any] | None, choice: Any = None, older: Sequence[Any] | None = None
) -> str:
    """Return what a request offers as canonical JSON, ``""`` if it offers nothing.

    Neither the order of tools counts, nor how an API writes them, what is cached, or whether a
    schema is ``strict``.

    Args:
        tools: The tools as sent.
        choice: Which of them may be called.
        older: The ``functions`` of a chat completion and their ``function_call``, whose calls are
            written otherwise: they are none of the tools that may be called.
    """
    if not tools and not (older and older[0]):
        return ""
    functions, others = [], [part for part in older or () if part]
    for tool in tools or ():
        function = _function(tool)
        if function is None:
            others.append(tool)
        else:
            functions.append(function)
    functions.sort(key=lambda one: (one.name, _encoder.encode(one)))
    word, named, unknown = _chosen(choice)
    offer = _Offer(
        tuple(functions),
        tuple(others),
        word,
        named,
        unknown,
        alone=isinstance(choice, dict) and choice.get("disable_parallel_tool_use") is True,
    )
    try:
        return _encoder.encode(offer).decode()
    except RecursionError:
        raise RequestError("The request's tools are nested too deeply") from None


def _function(tool: Any) -> _Function | None:
    """Return a tool of the client's with a schema, None if it is another."""
    if not isinstance(tool, dict) or tool.get("type") not in (None, "function", "custom"):
        return None
    inner = tool["function"] if isinstance(tool.get("function"), dict) else tool
    name, description = inner.get("name"), inner.get("description")
    if not isinstance(name, str) or not name or not isinstance(description, str | None):
        return None
    if "input_schema" in inner:
        return _Function(name, inner["input_schema"], description or "")
    if tool.get("type") == "custom":
        return None  # one that takes text
    return _Function(name, inner.get("parameters") or dict(_NOTHING), description or "")


def _chosen(choice: Any) -> tuple[str, bool, Any]:
    """Return a choice in a word, whether that is the name of a tool, and one that is unknown."""
    if choice is None:
        return "auto", False, None
    if isinstance(choice, dict) and choice.get("type") in ("function", "tool"):
        function = choice.get("function")
        name = function.get("name") if isinstance(function, dict) else choice.get("name")
        if isinstance(name, str) and name:
            return name, True, None
    word = choice.get("type") if isinstance(choice, dict) else choice
    if word in ("auto", "none", "required", "any"):
        return "required" if word == "any" else word, False, None
    return "none", False, choice


class Tools(NamedTuple):
    """The tools of the client's that a request offers.

    Attributes:
        schemas: The JSON Schema of each tool that may be called, by its name.
        several: Whether one answer may have several calls.
        likeness: For each tool that is offered what makes it the same as one of another request: a
            hash of its name and schema, whatever their descriptions.
        rest: What else is offered and chosen, as canonical JSON; it must be equal within a task.
    """

    schemas: Mapping[str, Any]
    several: bool
    likeness: Mapping[str, str]
    rest: str


@lru_cache(maxsize=KEPT)
def read_tools(tools: str) -> Tools:
    """Read what a prompt offers; a text that is no offer offers nothing.

    Nothing may be called where the choice is not understood, nor a tool whose name another has too.

    Args:
        tools: As in `Prompt`.
    """
    offer = _read(tools) if tools else _Offer()
    if offer is None:
        return Tools({}, several=False, likeness={}, rest=tools)
    names = [one.name for one in offer.functions]
    usable = offer.unknown is None and (offer.named or offer.choice != "none")
    only = offer.choice if offer.named else ""
    schemas = {
        one.name: one.parameters
        for one in offer.functions
        if usable and only in ("", one.name) and names.count(one.name) == 1
    }
    rest = msgspec.structs.replace(offer, functions=())
    return Tools(
        schemas,
        not offer.alone,
        {one.name: _likeness(one) for one in offer.functions},
        _encoder.encode(rest).decode(),
    )


def _read(tools: str) -> _Offer | None:
    try:
        return _offers.decode(tools.encode("utf-8", "surrogatepass"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def shared_tools(tools: Mapping[str, int]) -> str:
    """Return the offer of those tools alone that nearly all of some requests offer.

    Args:
        tools: How many requests have each offer, which is as in `Prompt`; at least one.
    """
    times: Counter[tuple[str, str]] = Counter()
    total = sum(tools.values())
    known: dict[tuple[str, str], _Function] = {}
    offers = [(_read(text) or _Offer(), text) for text in tools]
    for offer, text in offers:
        for one in offer.functions:
            same = one.name, read_tools(text).likeness[one.name]
            times[same] += tools[text]
            known.setdefault(same, one)
    functions = [one for same, one in known.items() if times[same] >= NEARLY_ALL * total]
    functions.sort(key=lambda one: one.name)
    first = msgspec.structs.replace(offers[0][0], functions=tuple(functions))
    return _encoder.encode(first).decode()


def _likeness(function: _Function) -> str:
    return f"{hash(_encoder.encode(_undescribed(function.parameters))):x}"


def _undescribed(schema: Any) -> Any:
    """Return a schema without its descriptions; a field of that name is none."""
    if isinstance(schema, list):
        return [_undescribed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: _undescribed(part)
        for name, part in schema.items()
        if name != "description" or not isinstance(part, str)
    }


class Turns:
    """The messages of a prompt, with calls of tools and their results as messages of their own.

    A call has the text ``NAME ARGUMENTS``, a result that of its tool; both as JSON without spaces
    where they are JSON. Results stand in the order of their calls. Ids are left out.

    Attributes:
        messages: In order.
        plain: Whether all calls and results could be read.
    """

    def __init__(self) -> None:
        """Begin without messages."""
        self._messages: list[PromptMessage] = []
        self.plain = True
        self._open: dict[str, int] = {}
        self._results: list[tuple[int, PromptMessage]] = []

    @property
    def messages(self) -> tuple[PromptMessage, ...]:
        """The messages so far."""
        self._settle()
        return tuple(self._messages)

    def say(self, role: str, text: str) -> None:
        """Add a message that is a text."""
        self._settle()
        self._messages.append(PromptMessage(role, text))

    def call(self, identity: Any, name: Any, arguments: Any) -> None:
        """Add a call of a tool; one that has no id, name or arguments is not plain."""
        self._settle()
        read = _value_of(arguments)
        known = isinstance(name, str) and isinstance(read, dict)
        self._messages.append(PromptMessage(CALL, f"{name} {_json(read)}" if known else ""))
        if known and isinstance(identity, str):
            self._open[identity] = len(self._open)
        else:
            self.plain = False

    def result(self, identity: Any, text: str | None) -> None:
        """Add what a tool returned; without a text, or of an unknown call, it is not plain."""
        place = self._open.get(identity) if isinstance(identity, str) else None
        self.plain = self.plain and text is not None and place is not None
        value = _value_of(text or "")
        said = _json(value) if isinstance(value, dict | list) else text or ""
        order = len(self._open) if place is None else place
        self._results.append((order, PromptMessage(RESULT, said)))

    def _settle(self) -> None:
        """Add results that wait for others of their turn, in the order of their calls."""
        self._results.sort(key=lambda one: one[0])
        self._messages += [message for _, message in self._results]
        self._results.clear()


def _value_of(value: Any) -> Any:
    """Return the value of a JSON text, else the value itself."""
    if not isinstance(value, str):
        return value
    try:
        return _decoder.decode(value.encode("utf-8", "surrogatepass"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return value


def _json(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except RecursionError:
        raise RequestError("The arguments or results of tools are nested too deeply") from None


def called_last(messages: Sequence[PromptMessage]) -> str:
    """Return the tools whose results the next answer goes on from, a name a line, ordered.

    ``""`` where the last message is no result of a tool.

    >>> said = [PromptMessage("call", "f {}"), PromptMessage("tool", "7")]
    >>> called_last(said), called_last(said[:1])
    ('f', '')
    """
    at = len(messages)
    while at and messages[at - 1].role == RESULT:
        at -= 1
    if at == len(messages):
        return ""
    names = set()
    while at and messages[at - 1].role == CALL:
        at -= 1
        names.add(_NAME.match(messages[at].text)[0])  # type: ignore[index]
    return "\n".join(sorted(names))
