"""Defines the form of records: JSON objects that are no closed set."""

from collections.abc import Mapping
from typing import Any

import msgspec

from openwheel.tasks.folds import folding
from openwheel.tasks.folds.objects import object_in
from openwheel.tasks.forms.form import AnswerForm, shown
from openwheel.wire import Answer

_encoder = msgspec.json.Encoder(order="sorted")


Path = tuple[str, ...]
"""The names that lead to a part of a record."""

DEEPEST = 6


def leaves(record: Mapping[str, Any]) -> dict[Path, Any]:
    """Return the values in a record by their paths of names: scalars, lists, empty objects.

    >>> leaves({"buyer": {"name": "Ann"}, "items": []})
    {('buyer', 'name'): 'Ann', ('items',): []}
    """
    values: dict[Path, Any] = {}

    def visit(value: Any, path: Path) -> None:
        if isinstance(value, Mapping) and value and len(path) < DEEPEST:
            for name, part in value.items():
                visit(part, (*path, name))
        elif path:
            values[path] = value

    visit(record, ())
    return values


def canonical_record(text: str) -> str | None:
    """Return a text's JSON object, fenced or not, with sorted keys and no spaces; else None."""
    if text[:1] not in ("{", "`"):
        return None
    record = object_in(text)
    return None if record is None else _encoder.encode(record).decode()


def record_of(answer: Answer, folds: tuple[str, ...] = ()) -> dict[str, object] | None:
    """Return the JSON object an answer consists of, fenced or not, else None."""
    if answer.tool_calls:
        return None
    return object_in(folding(folds)(answer.final) if folds else answer.final.strip())


def _canonical(text: str) -> str:
    record = canonical_record(text)
    return text if record is None else record


def _why_unusable(text: str, folds: tuple[str, ...]) -> str:
    if record_of(Answer(text), folds) is not None:
        return ""
    return f"The correction must be a JSON object, as answers of its task; was {shown(text)}"


RECORD = AnswerForm("record", _canonical, has_fields=True, why_unusable=_why_unusable)
