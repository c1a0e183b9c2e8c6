"""Names what is wrong with a row: which file, row and field, what it must be, what it was."""

import re
from collections.abc import Mapping
from typing import Any

from msgspec import inspect

from openwheel.catalog.rows import Checkpoint, Family, Licence
from openwheel.settings.read import describe, split_place, value_at

_KINDS: Mapping[str, tuple[type, str]] = {
    "checkpoint": (Checkpoint, "id"),
    "licence": (Licence, "id"),
    "family": (Family, "model_type"),
}


def explain(name: str, problem: str, values: Mapping[str, Any]) -> str:
    """Return one sentence on a value of a named file that msgspec found a problem with."""
    problem, place = split_place(problem)
    match = re.fullmatch(r"(\w+)\[(\d+)\](?:\.(.*))?", place)
    if match is None:
        return f"{name}: {_lower(problem)}, among [[checkpoint]], [[licence]] and [[family]]"
    kind, number, field = match[1], int(match[2]), match[3] or ""
    struct, key = _KINDS[kind]
    row = values[kind][number]
    named = row.get(key) if isinstance(row, Mapping) else None
    place_named = f"{name}: {kind} {named!r}" if named else f"{name}: {kind} number {number + 1}"
    if problem.startswith("Object ") or not field:
        return f"{place_named}: {f'{field}: ' if field else ''}{_lower(problem)}"
    expected = _expected(inspect.type_info(struct), field)
    return f"{place_named}: {field} must be {expected}, was {value_at(row, field)!r}"


def _expected(about: inspect.Type, field: str) -> str:
    """Return what a field must be: the description of its type, else what the type allows."""
    described = ""
    for part in re.findall(r"\w+", field):
        if isinstance(about, inspect.StructType):
            about = next(f.type for f in about.fields if f.encode_name == part)
        elif isinstance(about, inspect.VarTupleType):
            about = about.item_type
        if isinstance(about, inspect.UnionType):
            about = next(part for part in about.types if not isinstance(part, inspect.NoneType))
        described = ""
        if isinstance(about, inspect.Metadata):
            described = (about.extra_json_schema or {}).get("description", "")
            about = about.type
    return described or describe(about)


def _lower(problem: str) -> str:
    return problem[0].lower() + problem[1:]
