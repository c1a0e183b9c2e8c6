"""Calls of tools as records, as students learn them.

One call is ``{"name": ..., "arguments": {...}}``, several are ``{"calls": [...]}`` of these.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from openwheel.tasks.folds.objects import loaded
from openwheel.tasks.forms.form import AnswerForm
from openwheel.tasks.forms.record import leaves
from openwheel.wire import Answer, ToolCall

NO_CALL: Final = '{"name":null}'
"""The record of an answer that calls no tool, or with arguments that are no JSON object."""

MOST_CALLS: Final = 16
"""An answer with more calls is left to the teacher."""

BETWEEN: Final = "\n"
"""Stands between the names of several calls where these are one text."""

_COLON = re.compile(r'"(\s*:[ \t]*)')
_COMMA = re.compile(r'["\d\]}el](\s*,[ \t]*)"')
_encoder = msgspec.json.Encoder(order="sorted")


class _Call(msgspec.Struct):
    name: str
    arguments: msgspec.Raw


class _Calls(msgspec.Struct):
    calls: list[_Call]


_decoder = msgspec.json.Decoder(_Call)
_several_decoder = msgspec.json.Decoder(_Calls)


def written_call(answer: Answer) -> str:
    """Return an answer's calls as a record in the style of their arguments, else `NO_CALL`.

    >>> written_call(Answer("", (ToolCall("find", '{"id": 7}'),)))
    '{"name": "find", "arguments": {"id": 7}}'
    """
    calls = [_written(call) for call in answer.tool_calls]
    if not calls or len(calls) > MOST_CALLS or "" in calls:
        return NO_CALL
    return joined_calls(calls)


def joined_calls(calls: Sequence[str]) -> str:
    """Return calls that are written as records as one: the call itself, if there is one.

    >>> joined_calls(['{"name":"f","arguments":{}}'] * 2)
    '{"calls":[{"name":"f","arguments":{}},{"name":"f","arguments":{}}]}'
    """
    return calls[0] if len(calls) == 1 else f'{{"calls":[{",".join(calls)}]}}'


def _written(call: ToolCall) -> str:
    """Return one call as a record, ``""`` if it has no name or its arguments are no JSON object."""
    arguments = call.arguments.strip()
    if not call.name or BETWEEN in call.name or not isinstance(loaded(arguments), dict):
        return ""
    colon, comma = _COLON.search(arguments), _COMMA.search(arguments)
    between = colon[1] if colon else ":"
    after = comma[1] if comma else ", " if between.endswith(" ") else ","
    name = json.dumps(call.name, ensure_ascii=False)
    return f'{{"name"{between}{name}{after}"arguments"{between}{arguments}}}'


def call_in(text: str) -> Answer:
    """Return the answer that calls the tools of a record; the text itself if it is no such record.

    >>> call_in('{"name": "find", "arguments": {"id": 7}}').tool_calls
    (ToolCall(name='find', arguments='{"id": 7}'),)
    """
    try:
        encoded = text.encode("utf-8", "surrogatepass")
        calls = _several_decoder.decode(encoded).calls if '"calls"' in text[:12] else []
        calls = calls or [_decoder.decode(encoded)]
        made = [ToolCall(call.name, bytes(call.arguments).decode()) for call in calls]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Answer(text)
    if not all(isinstance(loaded(call.arguments), dict) for call in made):
        return Answer(text)
    return Answer("", tuple(made), "tool_calls")


def calls_of(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the calls in a record, each as a record of its own."""
    several = record.get("calls")
    return several if isinstance(several, list) and several and "name" not in record else [record]


def as_one(record: Mapping[str, Any]) -> Mapping[str, Any]:
    r"""Return the calls in a record as one: the names as one text, of each argument the values.

    One call is as it was. Several of which an argument is an object in one and a value in another
    cannot be one: they are no call.

    >>> one = {"name": "find", "arguments": {"id": 7}}
    >>> as_one({"calls": [one, {"name": "send", "arguments": {"id": 8}}]})
    {'name': 'find\nsend', 'arguments': {'id': [7, 8]}}
    """
    calls = calls_of(record)
    if len(calls) == 1:
        return calls[0]
    merged: dict[str, Any] = {}
    for call in calls:
        for path, value in leaves(call.get("arguments") or {}).items():
            at = merged
            for name in path[:-1]:
                inner = at.setdefault(name, {})
                if not isinstance(inner, dict):
                    return {"name": None}
                at = inner
            values = at.setdefault(path[-1], [])
            if (isinstance(value, Mapping) and value) or not isinstance(values, list):
                return {"name": None}
            values.append(value)
    return {"name": BETWEEN.join(str(call.get("name")) for call in calls), "arguments": merged}


def in_one_order(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a record with its calls in an order that does not depend on how they stood."""
    calls = sorted(calls_of(record), key=_encoder.encode)
    return {"calls": calls} if len(calls) > 1 else calls[0]


def _encoded(value: Any) -> bytes:
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:  # half of a surrogate pair, in arguments that are no JSON
        return json.dumps(value).encode()


def canonical_calls(calls: Sequence[ToolCall], *, ordered: bool = False) -> str:
    """Return names and arguments as canonical JSON, in their own order only if that counts."""
    encoded = [_encoded([call.name, loaded(call.arguments)]) for call in calls]
    if not ordered:
        encoded.sort()
    return f"[{b','.join(encoded).decode()}]"


def _calls_tools(_text: str, _folds: tuple[str, ...]) -> str:
    return "Answers of this task call tools, which cannot be corrected yet"


TOOL_CALL = AnswerForm(
    "tool_call",
    calls=True,
    comparisons=frozenset({"order"}),
    has_fields=True,
    why_unusable=_calls_tools,
)
