"""Students' answers and errors have the fields that OpenAI's API description asks for."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from openwheel.wire import APIS, Usage, error_body, sse_data

from .contract import ask
from .documented import (
    CHAT,
    CHAT_CHUNK,
    COMPLETION,
    ERROR,
    RESPONSE,
    RESPONSE_EVENT,
    Shape,
    faults,
)
from .test_sdk_types import ANSWERS, SAID

KINDS: dict[str, tuple[Any, Any]] = {
    "chat": (CHAT, CHAT_CHUNK),
    "responses": (RESPONSE, RESPONSE_EVENT),
    "completions": (COMPLETION, COMPLETION),
}
# What a student never meets: its answers are no failures.
NEVER_SENT = {"ResponseError"}
REQUESTS: dict[str, list[dict[str, Any]]] = {
    "chat": [{}, {"stream_options": None}],
    "responses": [
        {},
        SAID,
        dict.fromkeys(SAID),
        {"text": {"format": {"type": "json_object"}}, "tools": [{"type": "function", "name": "f"}]},
    ],
    "completions": [{}, {"stream_options": None}],
}


def written(name: str) -> Iterator[tuple[Any, Any]]:
    """Yield every answer and every event that the API writes, each with the kind it must be."""
    api, (whole, event) = APIS[name], KINDS[name]
    for fields in REQUESTS[name]:
        request = ask(api, **fields)
        for answer in ANSWERS:
            for usage in (None, Usage(12, 3)):
                yield json.loads(api.body(answer, request, usage)), whole
                for data in sse_data(b"".join(api.events(answer, request, usage))):
                    if data != b"[DONE]":
                        yield json.loads(data), event


@pytest.mark.parametrize("name", KINDS)
def test_an_answer_is_as_documented(name):
    for value, kind in written(name):
        assert list(faults(value, kind, set())) == []


@pytest.mark.parametrize("name", ["chat", "responses", "completions"])
@pytest.mark.parametrize("code", [None, "model_not_found"])
def test_an_error_is_as_documented(name, code):
    for body in (
        error_body("The reason.", type="invalid_request_error", code=code),
        APIS[name].error("The reason.", type="invalid_request_error", code=code),
    ):
        assert list(faults(json.loads(body), ERROR, set())) == []


def test_no_part_of_the_table_is_idle():
    met: set[str] = set()
    for name in KINDS:
        for value, kind in written(name):
            assert not list(faults(value, kind, met))
    assert {shape.name for shape in shapes(list(KINDS.values()))} - met == NEVER_SENT


@pytest.mark.parametrize("name", KINDS)
def test_a_required_field_that_is_missing_or_of_another_kind_is_noticed(name):
    tried = set()
    for value, kind in written(name):
        for path in required(value, kind):
            holder, field = _at(value, path[:-1]), path[-1]
            place = (value.get("type"), holder.get("type"), path)
            if place in tried:
                continue
            tried.add(place)
            kept = holder.pop(field)
            assert any(faults(value, kind, set())), path
            holder[field] = object()
            assert any(faults(value, kind, set())), path
            holder[field] = kept
    assert tried


def shapes(kind: Any) -> Iterator[Shape]:
    if isinstance(kind, Shape):
        yield kind
        kind = [*kind.required.values(), *kind.optional.values()]
    for inner in kind.values() if isinstance(kind, Mapping) else kind:
        if isinstance(inner, Shape | Mapping | list | tuple):
            yield from shapes(inner)


def required(value: Any, kind: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where the required fields of ``value`` and of what it holds are."""
    if isinstance(kind, tuple):
        for one in kind:
            if not list(faults(value, one, set())):
                yield from required(value, one, path)
    elif isinstance(kind, Mapping):
        yield from required(value, kind[value["type"]], path)
    elif isinstance(kind, list):
        for index, item in enumerate(value):
            yield from required(item, kind[0], (*path, index))
    elif isinstance(kind, Shape):
        for name, inner in {**kind.optional, **kind.required}.items():
            if name in value:
                yield from required(value[name], inner, (*path, name))
        yield from ((*path, name) for name in kind.required)


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        value = value[step]
    return value
