"""The form of a task's records, inferred from answers: which fields there are, and of what kind."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from openwheel.students.fields.render import (
    Example,
    Rendering,
    Value,
    learn_rendering,
    places_of,
)
from openwheel.students.fields.words import Word
from openwheel.tasks.forms.infer import closed_set
from openwheel.tasks.forms.record import Path, leaves

Kind = Literal["constant", "label", "labels", "span", "other"]
Many = Literal["no", "list", "either"]

ABSENT = ""
"""Stands for a field that a record does not have, beside values as JSON."""

SAMPLE = 400
"""Values of a field that its kind and rendering are learned from."""

FROM_INPUT = 0.95
"""Values of a closed set are copied, rather than chosen, where this share stands in the input."""

MOSTLY_FROM_INPUT = 0.5
"""The same for values of no closed set: fewer, and the field is none that can be learned."""

MOST_VALUES = 200
"""A field that is a label has at most this many values."""

LEADS = 0.9
"""Share of the objects in lists that a field comes first in, to say where one begins."""

MOST_FIELDS = 250

_encoder = msgspec.json.Encoder(order="sorted")


class Field(msgspec.Struct, frozen=True, omit_defaults=True):
    """One field of a task's records.

    Attributes:
        path: The names that lead to it.
        kind: ``constant`` (always the same), ``label`` (one of a closed set), ``labels`` (a list of
            labels), ``span`` (what stands in the input, as it is rendered), or ``other`` (not seen
            to come out of the input).
        values: Of a label, a constant or labels: the values as canonical JSON; `ABSENT` among them
            for a record without the field.
        many: Whether a span is one value, a list of them, or a list where there are several.
        otherwise: Of a span: what a record has where the input has none, as canonical JSON.
        rendering: Of a span: how its values are made of words of the input.
        ordered: Whether a list is sorted, rather than in the order of the input.
        repeats: Whether a list may have a value twice.
        derived: The share of values in training that the rendering gives from their input.
        present: The share of records that have a value of its own.
    """

    path: Path
    kind: Kind
    values: tuple[str, ...] = ()
    many: Many = "no"
    otherwise: str = ABSENT
    rendering: Rendering = Rendering()
    ordered: bool = False
    repeats: bool = False
    derived: float = 1.0
    present: float = 1.0

    @property
    def name(self) -> str:
        """The names that lead to it, with dots between."""
        return ".".join(self.path).replace(".[]", "[]")

    @property
    def described(self) -> str:
        """What it is, in a few words for people."""
        if self.kind != "span":
            words = {"constant": "constant", "label": "label", "labels": "list of labels"}
            return words.get(self.kind, "not from the input")
        kind: str = self.rendering.kind
        if kind == "text":
            kind = "span" if self.rendering == Rendering() else "rendered span"
        return kind if self.many == "no" else f"list of {kind}s"


class Rows(msgspec.Struct, frozen=True):
    """A list of objects in records, such as the lines of an order.

    Attributes:
        path: The names that lead to it.
        otherwise: What a record has where the input has none, as canonical JSON.
        leader: Index of the field that each object begins with in the input, -1 if none does: then
            one begins where a field comes again.
    """

    path: Path
    otherwise: str = ABSENT
    leader: int = -1


class RecordForm(msgspec.Struct, frozen=True):
    """The fields of a task's records, its lists of objects, and which objects are there if empty.

    The fields of the objects in a list have ``[]`` among the names that lead to them.
    """

    fields: tuple[Field, ...]
    objects: tuple[Path, ...] = ()
    rows: tuple[Rows, ...] = ()


class Read(NamedTuple):
    """A training exchange, read: its text, that in words, and its record."""

    text: str
    words: Sequence[Word]
    record: Mapping[str, Any]


ROW = "[]"
"""Among the names that lead to a field: it is one of each object in a list."""


def flat_of(record: Mapping[str, Any]) -> dict[Path, Any]:
    """Return the leaves of a record; of a list of plain objects the values of each name together.

    >>> flat_of({"lines": [{"item": "rug", "n": 2}, {"item": "lamp", "n": None}]})
    {('lines', '[]', 'item'): ['rug', 'lamp'], ('lines', '[]', 'n'): [2]}
    """
    found: dict[Path, Any] = {}
    for path, value in leaves(record).items():
        if not _is_rows(value):
            found[path] = value
            continue
        for row in value:
            for name, part in row.items():
                found.setdefault((*path, ROW, name), [])
                if part is not None:
                    found[*path, ROW, name].append(part)
    return found


def _is_rows(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(row, Mapping)
            and row
            and all(part is None or isinstance(part, str | int | float) for part in row.values())
            for row in value
        )
    )


def as_json(value: Any) -> str:
    """Return a value as canonical JSON."""
    return _encoder.encode(value).decode()


class EachCall(list[str]):
    """A label of several calls in one answer where these differ: of each as JSON, or `ABSENT`."""


EACH = "each "
"""Before the labels of several calls, which are no JSON then."""


def as_value(value: Any) -> str:
    """Return a value as canonical JSON, the labels of several calls after `EACH`."""
    return f"{EACH}{as_json(value)}" if isinstance(value, EachCall) else as_json(value)


def infer_record_form(exchanges: Sequence[Read]) -> RecordForm:
    """Infer the form of records.

    Raises:
        ValueError: There are no records, or their fields are as many as values: names are data.
    """
    if not exchanges:
        raise ValueError("there are no records: there is nothing to learn")
    flat = [flat_of(one.record) for one in exchanges]
    paths: dict[Path, int] = {}
    objects: Counter[Path] = Counter()
    for found in flat:
        for path, value in found.items():
            if isinstance(value, Mapping):
                objects[path] += 1
            else:
                paths[path] = paths.get(path, 0) + 1
    if len(paths) > MOST_FIELDS:
        raise ValueError(
            f"the records have {len(paths)} different fields, more than {MOST_FIELDS}: names of "
            "fields that differ from record to record cannot be learned"
        )
    lists = list(dict.fromkeys(path[: path.index(ROW)] for path in paths if ROW in path))
    fields = [
        _field_of_rows(path, exchanges, flat) if ROW in path else _field(path, exchanges, flat)
        for path in paths
        if path not in lists  # an empty list
    ]
    rows = [_rows(path, fields, exchanges, flat) for path in lists]
    return RecordForm(tuple(fields), tuple(_empty_objects(flat, objects)), tuple(rows))


def _field_of_rows(
    path: Path, exchanges: Sequence[Read], flat: Sequence[Mapping[Path, Any]]
) -> Field:
    """Return a field of the objects in a list: a constant, or what stands in the input."""
    before = path.index(ROW)
    rows = [row for one in exchanges for row in _rows_at(one.record, path[:before])]
    values = [row[path[-1]] for row in rows if row.get(path[-1]) is not None]
    share = sum(path in found for found in flat) / len(flat)
    if len(values) == len(rows) and len({as_json(value) for value in values}) == 1:
        return Field(path, "constant", (as_json(values[0]),), "list", present=share)
    nothing = "null" if any(row.get(path[-1], 0) is None for row in rows) else ABSENT
    examples = [
        Example(one.text, one.words, part)
        for one, found in zip(exchanges, flat, strict=True)
        for part in found.get(path, ())
        if _is_value(part)
    ]
    if not examples or len(examples) < len(values):
        return Field(path, "other", present=share, derived=0.0)
    examples = examples[:: max(1, len(examples) // SAMPLE)][: 2 * SAMPLE]
    rendering, derived = learn_rendering(examples)
    kind: Kind = "span" if derived >= MOSTLY_FROM_INPUT else "other"
    return Field(
        path,
        kind,
        many="list",
        otherwise=nothing,
        rendering=rendering,
        repeats=True,
        derived=derived,
        present=share,
    )


def _rows_at(record: Any, path: Path) -> list[Mapping[str, Any]]:
    for name in path:
        record = record.get(name) if isinstance(record, Mapping) else None
    return record if _is_rows(record) else []


def _rows(
    path: Path,
    fields: Sequence[Field],
    exchanges: Sequence[Read],
    flat: Sequence[Mapping[Path, Any]],
) -> Rows:
    """Return a list of objects, with the field that they begin with."""
    counts = Counter(
        as_json(found[path]) if path in found else ABSENT
        for one, found in zip(exchanges, flat, strict=True)
        if not _rows_at(one.record, path)
    )
    without = max(("[]", "null", ABSENT), key=lambda text: counts.get(text, 0))
    first: Counter[int] = Counter()
    several = 0
    own = [(i, f) for i, f in enumerate(fields) if f.path[:-1] == (*path, ROW) and f.kind == "span"]
    for one in exchanges:
        for row in _rows_at(one.record, path):
            places = []
            for index, field in own:
                value = row.get(field.path[-1])
                found = (
                    places_of(one.text, one.words, value, field.rendering.kind)
                    if value is not None
                    else []
                )
                if len(found) == 1:
                    places.append((found[0].first, index))
            if len(places) > 1:
                several += 1
                first[min(places)[1]] += 1
    leader, times = first.most_common(1)[0] if first else (-1, 0)
    return Rows(path, without, leader if times >= LEADS * several else -1)


def _empty_objects(flat: Sequence[Mapping[Path, Any]], objects: Counter[Path]) -> list[Path]:
    """Return the objects that a record has even where nothing is in them."""
    kept = []
    for path, empty in objects.items():
        size = len(path)
        filled = sum(any(p[:size] == path and len(p) > size for p in found) for found in flat)
        if empty > len(flat) - empty - filled:
            kept.append(path)
    return kept


def _field(path: Path, exchanges: Sequence[Read], flat: Sequence[Mapping[Path, Any]]) -> Field:
    values = [found.get(path, _Absent) for found in flat]
    counts = Counter(ABSENT if v is _Absent else as_json(v) for v in values)
    there = [(one, v) for one, v in zip(exchanges, values, strict=True) if v is not _Absent]
    share = len(there) / len(exchanges)
    if len(counts) == 1:
        return Field(path, "constant", tuple(counts))
    lists = [(one, v) for one, v in there if isinstance(v, list)]
    scalars = [(one, v) for one, v in there if _is_value(v)]
    if any(not _is_value(part) for _, v in lists for part in v) or len(lists) + len(scalars) < sum(
        v is not None and not isinstance(v, bool) for _, v in there
    ):
        return _closed(path, counts, share) or Field(path, "other", present=share)
    examples = [
        Example(one.text, one.words, v)
        for one, value in there
        for v in (value if isinstance(value, list) else [value])
        if _is_value(v)
    ]
    # From all of the traffic, not from its beginning.
    examples = examples[:: max(1, len(examples) // SAMPLE)][: 2 * SAMPLE]
    span = _span(path, examples, counts, lists=len(lists), scalars=len(scalars), n=len(flat))
    labels = _closed(path, counts, share)
    if labels is None and lists and not scalars:
        labels = _label_set(path, [v for _, v in lists], counts, share)
    if span is not None and span.derived >= (FROM_INPUT if labels else MOSTLY_FROM_INPUT):
        return _of_lists(span, [v for _, v in lists])
    return labels or Field(path, "other", present=share, derived=span.derived if span else 0.0)


def _is_value(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _closed(path: Path, counts: Counter[str], share: float) -> Field | None:
    """Return the field as a label, if its values are a closed set."""
    # What a record has without a value of its own says nothing of how many values there are.
    own = [count for value, count in counts.items() if value not in (ABSENT, "null", "[]")]
    found = closed_set(own)
    if not found.closed or found.size > MOST_VALUES:
        return None
    known = tuple(sorted(value for value, count in counts.items() if count >= 2))
    return Field(path, "label", known, present=share)


def _label_set(
    path: Path, lists: Sequence[Sequence[Any]], counts: Counter[str], share: float
) -> Field | None:
    """Return the field as a list of labels, if its parts are a closed set."""
    parts = Counter(as_json(part) for value in lists for part in value)
    found = closed_set(parts.values())
    if not found.closed or found.size > MOST_VALUES:
        return None
    known = tuple(sorted(value for value, count in parts.items() if count >= 2))
    ordered = all(list(value) == sorted(value, key=str) for value in lists)
    empty = [ABSENT, "[]"]
    otherwise = max(empty, key=lambda text: counts.get(text, 0))
    return Field(path, "labels", known, "list", otherwise, ordered=ordered, present=share)


def _span(
    path: Path,
    examples: Sequence[Example],
    counts: Counter[str],
    *,
    lists: int,
    scalars: int,
    n: int,
) -> Field | None:
    """Return the field as what stands in the input, with how far that is so."""
    otherwise = _otherwise(counts, examples)
    usual = msgspec.json.decode(otherwise) if otherwise else None
    examples = [one for one in examples if one.value != usual or isinstance(usual, bool)]
    if not examples:
        return None
    rendering, derived = learn_rendering(examples)
    many: Many = "no" if not lists else "either" if scalars else "list"
    present = (n - counts.get(otherwise, 0)) / n
    return Field(
        path,
        "span",
        many=many,
        otherwise=otherwise,
        rendering=rendering,
        derived=derived,
        present=present,
    )


def _otherwise(counts: Counter[str], examples: Sequence[Example]) -> str:
    """Return what mostly stands where the input has no value: nothing, null, a word for that."""
    empty = [ABSENT, "null", "[]", '""']
    best = max(empty, key=lambda text: counts.get(text, 0))
    if counts.get(best, 0):
        return best
    # A word for "none" is what comes often and is not in the text.
    missing: Counter[Value] = Counter(
        one.value
        for one in examples
        if isinstance(one.value, str) and one.value.casefold() not in one.text.casefold()
    )
    value, times = missing.most_common(1)[0] if missing else ("", 0)
    often = times >= max(3, 0.3 * missing.total())
    return as_json(value) if often else ABSENT


def _of_lists(field: Field, lists: Sequence[Sequence[Any]]) -> Field:
    long = [value for value in lists if len(value) > 1]
    if not long:
        return field
    ordered = sum(list(value) == sorted(value, key=str) for value in long)
    repeats = any(len({as_json(part) for part in value}) < len(value) for value in long)
    return msgspec.structs.replace(
        field, ordered=len(long) > 3 and ordered == len(long), repeats=repeats
    )


class _Absent:
    """Stands for a field that a record does not have."""
