"""Calls of a tool as records: ``{"name": ..., "arguments": {...}}``, as students learn them."""

import json
import re
from typing import Final

import msgspec

from openwheel.tasks.folds.objects import loaded
from openwheel.tasks.forms.form import AnswerForm
from openwheel.wire import Answer, ToolCall

NO_CALL: Final = '{"name":null}'
"""The record of an answer that is not one call: a text, several calls, unreadable arguments."""

_COLON = re.compile(r'"(\s*:[ \t]*)')
_COMMA = re.compile(r'["\d\]}el](\s*,[ \t]*)"')


class _Call(msgspec.Struct):
    name: str
    arguments: msgspec.Raw


_decoder = msgspec.json.Decoder(_Call)


def written_call(answer: Answer) -> str:
    """Return an answer's one call as a record in the style of its arguments, else `NO_CALL`.

    >>> written_call(Answer("", (ToolCall("find", '{"id": 7}'),)))
    '{"name": "find", "arguments": {"id": 7}}'
    """
    if len(answer.tool_calls) != 1:
        return NO_CALL
    [call] = answer.tool_calls
    arguments = call.arguments.strip()
    if not isinstance(loaded(arguments), dict):
        return NO_CALL
    colon, comma = _COLON.search(arguments), _COMMA.search(arguments)
    between = colon[1] if colon else ":"
    after = comma[1] if comma else ", " if between.endswith(" ") else ","
    name = json.dumps(call.name, ensure_ascii=False)
    return f'{{"name"{between}{name}{after}"arguments"{between}{arguments}}}'


def call_in(text: str) -> Answer:
    """Return the answer that calls the tool of a record; the text itself if it is no such record.

    >>> call_in('{"name": "find", "arguments": {"id": 7}}').tool_calls
    (ToolCall(name='find', arguments='{"id": 7}'),)
    """
    try:
        call = _decoder.decode(text.encode("utf-8", "surrogatepass"))
        arguments = bytes(call.arguments).decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Answer(text)
    if not isinstance(loaded(arguments), dict):
        return Answer(text)
    return Answer("", (ToolCall(call.name, arguments),), "tool_calls")


def _calls_tools(_text: str, _folds: tuple[str, ...]) -> str:
    return "Answers of this task call tools, which cannot be corrected yet"


TOOL_CALL = AnswerForm("tool_call", calls=True, why_unusable=_calls_tools)
