"""Tool calls in the forms that chat templates declare: reading them, and asking for one.

Known are the ``<tool_call>`` tags of Hermes and Qwen with JSON, those of GLM and Qwen-Coder with
fields, ``[TOOL_CALLS]`` of Mistral, the JSON of Llama, and the channels of gpt-oss. Which one a
model writes is read from its template, never from its name.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal

import msgspec

from openwheel.engine.reasoning import Piece
from openwheel.errors import RequestError
from openwheel.wire import ToolCall

_TAGS: Final = (
    "<tool_call>",
    "</tool_call>",
    "<arg_key>",
    "</arg_key>",
    "<arg_value>",
    "</arg_value>",
)
Form = Literal["tags", "mistral", "llama", "harmony", "none"]

_FUNCTION: Final = re.compile(r"<function=([^>]+)>(.*?)(?:</function>|\Z)", re.DOTALL)
_PARAMETER: Final = re.compile(r"<parameter=([^>]+)>\n?(.*?)\n?(?:</parameter>|\Z)", re.DOTALL)
_ARGUMENT: Final = re.compile(
    r"<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)(?:</arg_value>|\Z)", re.DOTALL
)
_MISTRAL: Final = re.compile(
    r"\A\s*([\w.-]+)\s*(?:\[CALL_ID\][^\[]*)?(?:\[ARGS\])?\s*(\{.*)\Z", re.S
)


class ToolForm(msgspec.Struct, frozen=True):
    """How a model writes a tool call.

    Attributes:
        form: Which of the known forms.
        around: What stands before and after one, None where nothing does.
        marks: Special tokens whose text matters.
    """

    form: Form
    around: tuple[str, str] | None = None
    marks: tuple[str, ...] = ()


TOOL_FORMS: Final[Mapping[str, ToolForm]] = MappingProxyType(
    {
        "tags": ToolForm("tags", ("<tool_call>", "</tool_call>"), _TAGS),
        "mistral": ToolForm(
            "mistral", ("[TOOL_CALLS]", ""), ("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]")
        ),
        "llama": ToolForm("llama", None, ("<|python_tag|>",)),
        "harmony": ToolForm("harmony"),
        "none": ToolForm("none"),
    }
)


def tool_form(template: str) -> ToolForm:
    """Return how a model writes tool calls, by its chat template."""
    if "<|channel|>" in template and "to=functions" in template:
        return TOOL_FORMS["harmony"]
    if "[TOOL_CALLS]" in template:
        return TOOL_FORMS["mistral"]
    if "<tool_call>" in template:
        return TOOL_FORMS["tags"]
    if "<|python_tag|>" in template or ('"parameters"' in template and "tools" in template):
        return TOOL_FORMS["llama"]
    return TOOL_FORMS["none"]


def read_calls(piece: Piece, tools: Sequence[Mapping[str, Any]]) -> list[ToolCall]:
    """Return the calls that a piece spells; none if it spells none.

    Args:
        piece: Of kind ``tool``.
        tools: The tools that were offered, as in a request.
    """
    text = piece.text.strip()
    if piece.name:
        return [ToolCall(piece.name, text)] if _is_object(text) else []
    if found := list(_FUNCTION.finditer(text)):
        return [
            _from_fields(one.group(1), _PARAMETER.findall(one.group(2)), tools) for one in found
        ]
    if "<arg_key>" in text:
        name = text.partition("<arg_key>")[0]
        return [_from_fields(name, _ARGUMENT.findall(text), tools)]
    if text.startswith(("{", "[")):
        return _from_json(text)
    if mistral := _MISTRAL.match(text):
        name, arguments = mistral.groups()
        return [ToolCall(name, arguments.strip())] if _is_object(arguments) else []
    return []


def read_bare(text: str, tools: Sequence[Mapping[str, Any]]) -> list[ToolCall]:
    """Return the calls that a whole answer spells where no mark announces them.

    Only calls of tools that were offered count: an answer may be JSON.
    """
    offered = set(tool_names(tools))
    stripped = text.strip().removeprefix("<|python_tag|>")
    calls: list[ToolCall] = []
    for part in _objects(stripped):
        calls += _from_json(part)
    return calls if calls and all(call.name in offered for call in calls) else []


def tool_names(tools: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names of the tools of a request."""
    return [str(tool.get("function", {}).get("name", "")) for tool in tools]


def call_prefix(form: ToolForm, name: str) -> str:
    """Return what a model is made to begin a call with.

    Args:
        form: How it writes calls.
        name: The tool it must call, ``""`` for any.

    Raises:
        RequestError: The form cannot be begun without a tool's name.
    """
    if form.form == "tags":
        return "<tool_call>\n"
    if form.form == "harmony":
        if not name:
            raise RequestError(
                "This model can be made to call a tool only by name: tool_choice must name one"
            )
        return f"<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>"
    return ""


def call_schema(form: ToolForm, tools: Sequence[Mapping[str, Any]], name: str) -> str:
    """Return the JSON Schema of a call of one of the tools, or of the named one.

    Raises:
        RequestError: There is no tool of that name.
    """
    functions = [dict(tool.get("function", {})) for tool in tools]
    if name:
        functions = [one for one in functions if one.get("name") == name]
    if not functions:
        raise RequestError(f"tool_choice must name one of the tools, was {name!r}")
    if form.form == "harmony":
        return json.dumps(_parameters(functions[0]))
    key = "parameters" if form.form == "llama" else "arguments"
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": one.get("name")}, key: _parameters(one)},
            "required": ["name", key],
            "additionalProperties": False,
        }
        for one in functions
    ]
    return json.dumps(calls[0] if len(calls) == 1 else {"anyOf": calls})


def _parameters(function: Mapping[str, Any]) -> dict[str, Any]:
    given = function.get("parameters")
    return dict(given) if isinstance(given, dict) else {"type": "object"}


def _from_json(text: str) -> list[ToolCall]:
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        return []
    calls = []
    for one in read if isinstance(read, list) else [read]:
        if not isinstance(one, dict) or not isinstance(one.get("name"), str):
            return []
        arguments = one.get("arguments", one.get("parameters", {}))
        if isinstance(arguments, str):
            if not _is_object(arguments):
                return []
        elif isinstance(arguments, dict):
            arguments = json.dumps(arguments, ensure_ascii=False)
        else:
            return []
        calls.append(ToolCall(one["name"], arguments))
    return calls


def _from_fields(
    name: str, fields: Iterable[tuple[str, str]], tools: Sequence[Mapping[str, Any]]
) -> ToolCall:
    name = name.strip()
    types = _types(name, tools)
    arguments = {
        key.strip(): value if types.get(key.strip()) == "string" else _value(value)
        for key, value in fields
    }
    return ToolCall(name, json.dumps(arguments, ensure_ascii=False))


def _types(name: str, tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    for tool in tools:
        function = tool.get("function", {})
        if function.get("name") == name:
            properties = _parameters(function).get("properties", {})
            return {
                key: one.get("type") for key, one in properties.items() if isinstance(one, dict)
            }
    return {}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _objects(text: str) -> list[str]:
    """Return JSON values that stand one after the other, with semicolons or nothing between."""
    decoder = json.JSONDecoder()
    parts, at = [], 0
    while at < len(text):
        if text[at] in " \n\t;":
            at += 1
            continue
        try:
            _, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return []
        parts.append(text[at:end])
        at = end
    return parts


def _is_object(text: str) -> bool:
    return isinstance(_value(text), dict)
