"""Saying what is wrong with a row: which file, row and field, what it must be, what it was."""

import re
from collections.abc import Mapping
from typing import Any

from msgspec import inspect

from openwheel.catalog.rows import Checkpoint, Family, Licence

_PLACE = re.compile(r" - at `\$\.?(.*)`$")
_KINDS: Mapping[str, tuple[type, str]] = {
    "checkpoint": (Checkpoint, "id"),
    "licence": (Licence, "id"),
    "family": (Family, "model_type"),
}


def explain(name: str, problem: str, values: Mapping[str, Any]) -> str:
    """Return one sentence on a value that is not what it must be.

    Args:
        name: The file's.
        problem: What msgspec says of it, with the place at its end.
        values: The file, as read.
    """
    place_match = _PLACE.search(problem)
    place = place_match.group(1) if place_match else ""
    problem = problem[: place_match.start()] if place_match else problem
    match = re.fullmatch(r"(\w+)\[(\d+)\](?:\.(.*))?", place)
    if match is None:
        return f"{name}: {_lower(problem)}, among [[checkpoint]], [[licence]] and [[family]]"
    kind, number, field = match[1], int(match[2]), match[3] or ""
    struct, key = _KINDS[kind]
    row = values[kind][number]
    named = row.get(key) if isinstance(row, Mapping) else None
    place_named = f"{name}: {kind} {named!r}" if named else f"{name}: {kind} number {number + 1}"
    expected = _expected(inspect.type_info(struct), field)
    if problem.startswith("Object ") or not field or not expected:
        return f"{place_named}: {f'{field}: ' if field else ''}{_lower(problem)}"
    return f"{place_named}: {field} must be {expected}, was {_value(row, field)!r}"


def _expected(about: inspect.Type, field: str) -> str:
    """Return what a field must be, in a few words; empty if that is no single value."""
    for part in re.findall(r"\w+", field):
        about = _bare(about)
        if isinstance(about, inspect.StructType):
            about = next(f.type for f in about.fields if f.encode_name == part)
        elif isinstance(about, inspect.VarTupleType):
            about = about.item_type
    return _said(about)


def _bare(about: inspect.Type) -> inspect.Type:
    """Return a type without its description, and without "or nothing"."""
    while True:
        if isinstance(about, inspect.Metadata):
            about = about.type
        elif isinstance(about, inspect.UnionType):
            about = next(part for part in about.types if not isinstance(part, inspect.NoneType))
        else:
            return about


def _said(about: inspect.Type) -> str:
    described = about
    if isinstance(about, inspect.UnionType):
        described = next(part for part in about.types if not isinstance(part, inspect.NoneType))
    if isinstance(described, inspect.Metadata):
        words = (described.extra_json_schema or {}).get("description", "")
        if words:
            return str(words)
    about = _bare(about)
    description = ""
    if isinstance(about, inspect.LiteralType):
        description = " or ".join(str(value) for value in about.values)
    elif isinstance(about, inspect.BoolType):
        description = "true or false"
    elif isinstance(about, inspect.StrType):
        description = "text" if not about.min_length else "text, not empty"
    elif isinstance(about, inspect.IntType | inspect.FloatType):
        description = "an integer" if isinstance(about, inspect.IntType) else "a number"
        if about.ge is not None:
            description += f", at least {about.ge:g}"
        if about.gt is not None:
            description += f", above {about.gt:g}"
    elif isinstance(about, inspect.VarTupleType):
        description = "a list"
    elif isinstance(about, inspect.StructType):
        description = "a table"
    return description


def _value(values: Any, field: str) -> Any:
    for part in re.findall(r"\w+", field):
        if isinstance(values, Mapping) and part in values:
            values = values[part]
        elif isinstance(values, list) and part.isdigit() and int(part) < len(values):
            values = values[int(part)]
    return values


def _lower(problem: str) -> str:
    return problem[0].lower() + problem[1:]
