"""What OpenAI's API description says of the objects that students' answers consist of.

Each `Shape` names the fields that must be there and those that may be, with their kinds; it says
nothing of objects and fields that Openwheel does not write.

Source: OpenAI's API description, read on 2026-11-21. For errors, chat completions and completions:
``openapi.yaml`` of github.com/openai/openai-openapi at commit
578000861507cd19620e3f1092adf62303757c0a, which is older than Responses. For those again and for
Responses: ``openapi.documented.yml`` as github.com/64bit/async-openai keeps it, at commit
2c8776b35eb49a83f97165f31ac0b2e7422114ef. Where the two differ, this follows the newer one.
"""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, eq=False)
class Shape:
    """An object: its required fields, and the others that are written, each with its kind.

    A kind is a type (``float`` is any number), None, a set of texts, a list of the one kind of its
    items, a `Shape`, a mapping from a value of the field ``type`` to a shape, or a tuple of kinds,
    one of which it must be; what is wrong is told of the first.
    """

    name: str
    required: Mapping[str, Any]
    optional: Mapping[str, Any] = field(default_factory=dict)


def faults(value: Any, kind: Any, met: set[str], place: str = "answer") -> Iterator[str]:
    """Yield what is wrong with ``value``; add the names of the shapes it has to ``met``."""
    if isinstance(kind, tuple):
        found = [list(faults(value, one, met, place)) for one in kind]
        if all(found):
            yield found[0][0]
    elif isinstance(kind, Shape):
        yield from _object_faults(value, kind, met, place)
    elif isinstance(kind, Mapping):
        name = value.get("type") if isinstance(value, dict) else None
        if isinstance(name, str) and name in kind:
            yield from faults(value, kind[name], met, place)
        else:
            yield f"{place} is {value!r}, none of {', '.join(kind)}"
    elif isinstance(kind, list):
        if not isinstance(value, list):
            yield f"{place} is {value!r}, not a list"
        else:
            for index, item in enumerate(value):
                yield from faults(item, kind[0], met, f"{place}[{index}]")
    elif not _is(value, kind):
        yield f"{place} is {value!r}, not {kind}"


def _object_faults(value: Any, shape: Shape, met: set[str], place: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{place} is {value!r}, not an object"
        return
    met.add(shape.name)
    for name in shape.required.keys() - value.keys():
        yield f"{place} has no {name}"
    for name, inner in value.items():
        kinds = shape.required if name in shape.required else shape.optional
        if name in kinds:
            yield from faults(inner, kinds[name], met, f"{place}.{name}")
        else:
            yield f"{place} has {name}, which {shape.name} does not name"


def _is(value: Any, kind: Any) -> bool:
    if kind is None:
        return value is None
    if isinstance(kind, Set):
        return isinstance(value, str) and value in kind
    return type(value) in ({int, float} if kind is float else {kind})


TEXT, FLAG, WHOLE, NUMBER, OBJECT = str, bool, int, float, dict

ERROR = Shape(
    "ErrorResponse",
    {
        "error": Shape(
            "Error",
            {"type": TEXT, "message": TEXT, "param": (TEXT, None), "code": (TEXT, None)},
        )
    },
)

_USAGE = Shape(
    "CompletionUsage", {"prompt_tokens": WHOLE, "completion_tokens": WHOLE, "total_tokens": WHOLE}
)
_CHAT_FINISH = {"stop", "length", "tool_calls", "content_filter", "function_call"}
_CALL = {
    "id": TEXT,
    "type": {"function"},
    "function": Shape("function", {"name": TEXT, "arguments": TEXT}),
}
CHAT = Shape(
    "CreateChatCompletionResponse",
    {
        "id": TEXT,
        "object": {"chat.completion"},
        "created": WHOLE,
        "model": TEXT,
        "choices": [
            Shape(
                "choice",
                {
                    "finish_reason": _CHAT_FINISH,
                    "index": WHOLE,
                    "logprobs": (OBJECT, None),
                    "message": Shape(
                        "ChatCompletionResponseMessage",
                        {"role": {"assistant"}, "content": (TEXT, None), "refusal": (TEXT, None)},
                        {"tool_calls": [Shape("ChatCompletionMessageToolCall", _CALL)]},
                    ),
                },
            )
        ],
    },
    {"usage": _USAGE},
)
CHAT_CHUNK = Shape(
    "CreateChatCompletionStreamResponse",
    {
        "id": TEXT,
        "object": {"chat.completion.chunk"},
        "created": WHOLE,
        "model": TEXT,
        "choices": [
            Shape(
                "chunk choice",
                {
                    "delta": Shape(
                        "ChatCompletionStreamResponseDelta",
                        {},
                        {
                            "role": {"developer", "system", "user", "assistant", "tool"},
                            "content": (TEXT, None),
                            "refusal": (TEXT, None),
                            "tool_calls": [
                                Shape("ChatCompletionMessageToolCallChunk", {"index": WHOLE}, _CALL)
                            ],
                        },
                    ),
                    "finish_reason": (_CHAT_FINISH, None),
                    "index": WHOLE,
                },
                {"logprobs": (OBJECT, None)},
            )
        ],
    },
    # The older description has no null here, but its words have always had it.
    {"usage": (_USAGE, None)},
)
COMPLETION = Shape(
    "CreateCompletionResponse",
    {
        "id": TEXT,
        "object": {"text_completion"},
        "created": WHOLE,
        "model": TEXT,
        "choices": [
            Shape(
                "completion choice",
                {
                    "finish_reason": {"stop", "length", "content_filter"},
                    "index": WHOLE,
                    "logprobs": (OBJECT, None),
                    "text": TEXT,
                },
            )
        ],
    },
    {"usage": _USAGE},
)

_STATUS = {"in_progress", "completed", "incomplete"}
_PART = {
    "output_text": Shape(
        "OutputTextContent",
        {"type": {"output_text"}, "text": TEXT, "annotations": [OBJECT], "logprobs": [OBJECT]},
    ),
    "refusal": Shape("RefusalContent", {"type": {"refusal"}, "refusal": TEXT}),
}
_ITEM = {
    "message": Shape(
        "OutputMessage",
        {
            "id": TEXT,
            "type": {"message"},
            "role": {"assistant"},
            "content": [_PART],
            "status": _STATUS,
        },
    ),
    "function_call": Shape(
        "FunctionToolCall",
        {"type": {"function_call"}, "call_id": TEXT, "name": TEXT, "arguments": TEXT},
        {"id": TEXT, "status": _STATUS},
    ),
}
_FORMAT = {
    "text": Shape("ResponseFormatText", {"type": {"text"}}),
    "json_object": Shape("ResponseFormatJsonObject", {"type": {"json_object"}}),
    "json_schema": Shape(
        "TextResponseFormatJsonSchema",
        {"type": {"json_schema"}, "name": TEXT, "schema": OBJECT},
        {"description": TEXT, "strict": (FLAG, None)},
    ),
}
_FUNCTION_TOOL = Shape(
    "FunctionTool",
    {
        "type": {"function"},
        "name": TEXT,
        "strict": (FLAG, None),
        "parameters": (OBJECT, None),
    },
    {"description": (TEXT, None)},
)
_REASONING = Shape(
    "Reasoning",
    {},
    {
        "effort": ({"none", "minimal", "low", "medium", "high", "xhigh"}, None),
        "summary": ({"auto", "concise", "detailed"}, None),
    },
)
_RESPONSE_USAGE = Shape(
    "ResponseUsage",
    {
        "input_tokens": WHOLE,
        # Newer than the description: the official SDK, made from a later one, requires it.
        "input_tokens_details": Shape(
            "input_tokens_details", {"cached_tokens": WHOLE, "cache_write_tokens": WHOLE}
        ),
        "output_tokens": WHOLE,
        "output_tokens_details": Shape("output_tokens_details", {"reasoning_tokens": WHOLE}),
        "total_tokens": WHOLE,
    },
)
RESPONSE = Shape(
    "Response",
    {
        "id": TEXT,
        "object": {"response"},
        "created_at": NUMBER,
        "error": (Shape("ResponseError", {"code": TEXT, "message": TEXT}), None),
        "incomplete_details": (
            Shape("incomplete_details", {}, {"reason": {"max_output_tokens", "content_filter"}}),
            None,
        ),
        "instructions": (TEXT, None),
        "model": TEXT,
        "tools": [{"function": _FUNCTION_TOOL}],
        "output": [_ITEM],
        "parallel_tool_calls": FLAG,
        "metadata": (OBJECT, None),
        "tool_choice": (
            {"none", "auto", "required"},
            Shape("ToolChoiceFunction", {"type": {"function"}, "name": TEXT}),
        ),
        "temperature": (NUMBER, None),
        "top_p": (NUMBER, None),
    },
    {
        "status": _STATUS | {"failed", "cancelled", "queued"},
        "completed_at": (NUMBER, None),
        # Unlike those before and after, the next four may be left out but not be null.
        "usage": _RESPONSE_USAGE,
        "user": TEXT,
        "safety_identifier": TEXT,
        "prompt_cache_key": TEXT,
        "previous_response_id": (TEXT, None),
        "reasoning": (_REASONING, None),
        "background": (FLAG, None),
        "max_output_tokens": (WHOLE, None),
        "max_tool_calls": (WHOLE, None),
        "text": Shape(
            "ResponseTextParam",
            {},
            {"format": _FORMAT, "verbosity": ({"low", "medium", "high"}, None)},
        ),
        "truncation": ({"auto", "disabled"}, None),
        "top_logprobs": (WHOLE, None),
        "service_tier": ({"auto", "default", "flex", "scale", "priority"}, None),
        # Only in the description's examples.
        "store": FLAG,
    },
)


def _event(name: str, /, **required: Any) -> tuple[str, Shape]:
    return name, Shape(name, {"type": {name}, "sequence_number": WHOLE, **required})


_AT: dict[str, Any] = {"item_id": TEXT, "output_index": WHOLE}
_IN: dict[str, Any] = {**_AT, "content_index": WHOLE}
RESPONSE_EVENT = dict(
    [
        _event("response.created", response=RESPONSE),
        _event("response.in_progress", response=RESPONSE),
        _event("response.completed", response=RESPONSE),
        _event("response.incomplete", response=RESPONSE),
        _event("response.output_item.added", output_index=WHOLE, item=_ITEM),
        _event("response.output_item.done", output_index=WHOLE, item=_ITEM),
        _event("response.content_part.added", **_IN, part=_PART),
        _event("response.content_part.done", **_IN, part=_PART),
        _event("response.output_text.delta", **_IN, delta=TEXT, logprobs=[OBJECT]),
        _event("response.output_text.done", **_IN, text=TEXT, logprobs=[OBJECT]),
        _event("response.refusal.delta", **_IN, delta=TEXT),
        _event("response.refusal.done", **_IN, refusal=TEXT),
        _event("response.function_call_arguments.delta", **_AT, delta=TEXT),
        _event("response.function_call_arguments.done", **_AT, name=TEXT, arguments=TEXT),
    ]
)
