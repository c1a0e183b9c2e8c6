"""Compares records and calls of tools field by field.

The fields of a record, defined here and nowhere else:

* An object is no field; what is in it is. The name of a field is the names that lead to it with
  dots between, ``buyer.name``. An empty object is a field.
* A list of objects is no field either; what is in its objects is, object by object: the first of
  one record is compared with the first of the other, and so on. An object that only one record has
  is wrong in all its fields. Where order means nothing, equal objects are paired before others.
* Any other list is one field, and so is any other value.
* Where one record has an object and the other a value or nothing, the object's fields are wrong. A
  field that one record has and the other has not is wrong; null is not absent, true is not 1.
* What lies deeper than `DEEPEST` names is one field together.

The fields of two records are those of either. The loss of a pair is the share of them that are
wrong, each object of a list counted on its own; without any field it is 0. The fields of calls are
those of their arguments, ``arguments.city``; calls of one tool are compared in any order, equal
ones first. Where one answer is a record or has calls and the other is not or has none, or where
other tools are called or not as often, the loss is 1.
"""

import difflib
import math
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from openwheel.tasks.compare.comparison import Pair, fingerprint_of
from openwheel.tasks.compare.exact import equal, versioned, with_folds
from openwheel.tasks.compare.field_rules import (
    OTHERS,
    PLAIN,
    STRICT,
    FieldRule,
    FieldSettings,
    Tolerance,
)
from openwheel.tasks.folds import folding
from openwheel.tasks.folds.objects import loaded
from openwheel.tasks.forms import record_of
from openwheel.tasks.forms.record import DEEPEST
from openwheel.wire import Answer

NAME: Final = "name"
"""The field of a call that is the tool. A wrong one is no share of a loss: it is a loss of 1."""

MOST_COMPARED: Final = 10_000
"""Objects of two lists without order, multiplied, that are each compared with each. Longer ones are
sorted as JSON and compared in that order."""

_encoder = msgspec.json.Encoder(order="sorted")


class Field(NamedTuple):
    """A field of two answers, and whether it is the same in both."""

    name: str
    right: bool


class FieldsComparison:
    """Compares records and calls by the fields that count, each up to what it may differ by."""

    equality = False
    free = True

    def __init__(self, settings: FieldSettings, folds: tuple[str, ...] = ()) -> None:
        """Compare as the user's settings say, after folds of the whole answer."""
        self.settings = settings
        self.folds = folds
        self.bounded = settings.loss == "fields"
        self.setting = with_folds(str(settings), folds)
        rules = settings.rules
        self.fingerprint = fingerprint_of("fields", settings.loss, rules, *versioned(folds))
        self._walk = _Walk(rules, _same)

    def losses(self, pairs: Sequence[Pair]) -> list[float]:
        """Return the loss of each pair, as the module defines it.

        With the loss ``record`` it is 1 wherever a field that counts is wrong. Two answers of which
        none is a record compare by equality.
        """
        return [self._loss(pair) for pair in pairs]

    def _loss(self, pair: Pair) -> float:
        fields = self._walk.fields(pair, self.folds)
        if fields is None:
            return float(not equal(pair, "record", self.folds))
        wrong = sum(not field.right for field in fields)
        if self.settings.loss == "record":
            return float(wrong > 0)
        return wrong / len(fields) if fields else 0.0


def verdicts_on(
    settings: FieldSettings = PLAIN, folds: tuple[str, ...] = ()
) -> Callable[[Pair], dict[str, bool]]:
    """Return a function that says whether each field of two answers is right, by its name.

    A field of the objects of a list is right if it is in all of them. The tool of calls is the
    field ``name``; calls of different tools have no other, nor has a call and what is none. Two
    answers that are not both records have none.

    >>> one, other = Answer('{"a": 1, "b": {"c": 2}}'), Answer('{"a": 1, "b": {"c": 3}, "d": 4}')
    >>> verdicts_on()(Pair("", one, other))
    {'a': True, 'b.c': False, 'd': False}
    """
    walk = _Walk({}, _equal) if settings.plain else _Walk(settings.rules, _same)
    return lambda pair: walk.by_name(pair, folds)


def why_unsuited(
    settings: FieldSettings, answers: Iterable[Answer], folds: tuple[str, ...] = ()
) -> str:
    """Return why rules do not suit a task's answers, as the end of a message; ``""`` if they do.

    A name must be that of a field of some answer. A tolerance needs a number in it, ``set`` a list,
    and folds a text.
    """
    kinds: dict[str, set[str]] = {}
    n = 0
    for answer in answers:
        n += 1
        for record in _records_in(answer, folds):
            _note_kinds(record, "", kinds, 0)
    for name, rule in settings.rules.items():
        if name == OTHERS:
            continue
        if name not in kinds:
            near = [other for other in kinds if other.endswith(f".{name}")]
            near = near or difflib.get_close_matches(name, kinds, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(kinds)}"
            return f"fields has {name!r}, which none of {n:,} answers has; {hint}"
        for needed, words in (
            ("number", rule.tolerance != Tolerance()),
            ("list", rule.unordered),
            ("text", rule.folds),
        ):
            if words and needed not in kinds[name]:
                found = " and ".join(sorted(kinds[name]))
                return (
                    f"fields.{name} is {', '.join(settings.fields[name])}, which is for a "
                    f"{needed}; in {n:,} answers its values are of the kind {found}"
                )
    return ""


def _records_in(answer: Answer, folds: tuple[str, ...]) -> list[Mapping[str, object]]:
    if answer.tool_calls:
        return [{"arguments": loaded(call.arguments)} for call in answer.tool_calls]
    record = record_of(answer, folds)
    return [] if record is None else [record]


def _note_kinds(value: object, name: str, kinds: dict[str, set[str]], depth: int) -> set[str]:
    """Note the kinds of the values in each field, and return those in this value."""
    if depth < DEEPEST and isinstance(value, Mapping):
        inside = [
            _note_kinds(part, f"{name}.{key}" if name else key, kinds, depth + 1)
            for key, part in value.items()
        ]
        found = set[str]().union(*inside) or {"object"}
    elif isinstance(value, list):
        inside = [_note_kinds(part, name, kinds, depth + 1) for part in value]
        found = {"list"}.union(*inside)
    else:
        found = {_kind(value)}
    if name:
        kinds.setdefault(name, set()).update(found)
    return found


def _kind(value: object) -> str:
    if isinstance(value, str):
        return "text"
    if _is_number(value):
        return "number"
    return {bool: "boolean", type(None): "null"}.get(type(value), "object")


class _Walk:
    """Goes through two answers field by field, each by its rule."""

    def __init__(
        self,
        rules: Mapping[str, FieldRule],
        same: Callable[[object, object, FieldRule], bool],
    ) -> None:
        self.rules = rules
        self.same = same

    def fields(self, pair: Pair, folds: tuple[str, ...]) -> list[Field] | None:
        """Return the fields that count, None if the answers have no fields in common."""
        rule = self.rules.get(OTHERS, STRICT)
        if pair.teacher.tool_calls or pair.student.tool_calls:
            calls, others = _by_tool(pair.teacher), _by_tool(pair.student)
            if {name: len(made) for name, made in calls.items()} != {
                name: len(made) for name, made in others.items()
            }:
                return None
            return [
                field
                for name, made in calls.items()
                for one, other in self._paired(made, others[name], "", rule, 0, unordered=True)
                for field in self._value(one, other, "", rule, 0)
            ]
        teacher, student = (record_of(answer, folds) for answer in (pair.teacher, pair.student))
        if teacher is None or student is None:
            return None
        return list(self._inside(teacher, student, "", rule, 0))

    def by_name(self, pair: Pair, folds: tuple[str, ...]) -> dict[str, bool]:
        """Return whether each field that counts is right, by name."""
        fields = self.fields(pair, folds)
        right: dict[str, bool] = {}
        if pair.teacher.tool_calls or pair.student.tool_calls:
            right[NAME] = fields is not None
        for field in fields or ():
            right[field.name] = right.get(field.name, True) and field.right
        return right

    def _inside(
        self,
        first: Mapping[str, object],
        other: Mapping[str, object],
        name: str,
        rule: FieldRule,
        depth: int,
    ) -> Iterator[Field]:
        """Yield the fields of two objects."""
        for key in {**first, **other}:
            path = f"{name}.{key}" if name else key
            yield from self._value(
                first.get(key, _Absent),
                other.get(key, _Absent),
                path,
                self.rules.get(path, rule),
                depth + 1,
            )

    def _value(
        self, first: object, other: object, name: str, rule: FieldRule, depth: int
    ) -> Iterator[Field]:
        """Yield the fields of two values in one place."""
        inner = depth < DEEPEST
        if inner and (_has_fields(first) or _has_fields(other)):
            yield from self._inside(_fields_of(first), _fields_of(other), name, rule, depth)
        elif inner and (_is_objects(first) or _is_objects(other)):
            items, others = _items(first), _items(other)
            for one, another in self._paired(
                items, others, name, rule, depth, unordered=rule.unordered
            ):
                yield from self._value(one, another, name, rule, depth + 1)
        elif not rule.ignored:
            yield Field(name, self.same(first, other, rule))

    def _paired(
        self,
        first: list[object],
        other: list[object],
        name: str,
        rule: FieldRule,
        depth: int,
        *,
        unordered: bool,
    ) -> Iterator[tuple[object, object]]:
        """Pair the objects of two lists, `_Absent` standing for those that one has not."""
        if unordered and len(first) * len(other) > MOST_COMPARED:
            first, other = (sorted(items, key=_encoder.encode) for items in (first, other))
        elif unordered:
            rest = list(other)
            unpaired = []
            for one in first:
                for place, another in enumerate(rest):
                    if all(f.right for f in self._value(one, another, name, rule, depth + 1)):
                        yield one, rest.pop(place)
                        break
                else:
                    unpaired.append(one)
            first, other = unpaired, rest
        for place in range(max(len(first), len(other))):
            yield (
                first[place] if place < len(first) else _Absent,
                other[place] if place < len(other) else _Absent,
            )


class _Absent:
    """Stands for a value that a record does not have."""


def _by_tool(answer: Answer) -> dict[str, list[object]]:
    """Return the arguments of an answer's calls, by the tool's name."""
    calls: dict[str, list[object]] = {}
    for call in answer.tool_calls:
        calls.setdefault(call.name, []).append({"arguments": loaded(call.arguments)})
    return calls


def _has_fields(value: object) -> bool:
    return isinstance(value, Mapping) and bool(value)


def _fields_of(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _is_objects(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(x, Mapping) for x in value)


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) and _is_objects(value) else []


def _equal(first: object, other: object, _rule: FieldRule) -> bool:
    """Whether two values are equal as canonical JSON."""
    if first is _Absent or other is _Absent:
        return False
    return _encoder.encode(first) == _encoder.encode(other)


def _same(first: object, other: object, rule: FieldRule) -> bool:
    """Whether two values are one, up to what a field may differ by."""
    if isinstance(first, Mapping) and isinstance(other, Mapping):
        return first.keys() == other.keys() and all(
            _same(first[key], other[key], rule) for key in first
        )
    if isinstance(first, list) and isinstance(other, list):
        if rule.unordered:
            return _among(first, other, rule) and _among(other, first, rule)
        return len(first) == len(other) and all(
            _same(a, b, rule) for a, b in zip(first, other, strict=True)
        )
    if _is_number(first) and _is_number(other):
        return _close(first, other, rule)
    if isinstance(first, str) and isinstance(other, str):
        return _folded(first, rule) == _folded(other, rule)
    # True is not 1, and null is not an absent field.
    return type(first) is type(other) and first == other


def _among(parts: list[object], others: list[object], rule: FieldRule) -> bool:
    """Whether each part is one of the others."""
    texts = {_folded(other, rule) for other in others if isinstance(other, str)}
    rest = [other for other in others if not isinstance(other, str)]
    encoded = {_encoder.encode(other) for other in rest}
    return all(
        _folded(part, rule) in texts
        if isinstance(part, str)
        else _encoder.encode(part) in encoded or any(_same(part, other, rule) for other in rest)
        for part in parts
    )


def _folded(text: str, rule: FieldRule) -> str:
    if rule.folds:
        return folding(rule.folds)(text)
    return unicodedata.normalize("NFC", text).strip()


def _close(first: object, other: object, rule: FieldRule) -> bool:
    assert isinstance(first, int | float)
    assert isinstance(other, int | float)
    if first == other:
        return True
    try:
        return math.isclose(
            first, other, rel_tol=rule.tolerance.relative, abs_tol=rule.tolerance.absolute
        )
    except OverflowError:  # integers that no float holds
        return False


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
