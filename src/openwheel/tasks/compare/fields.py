"""Compares records field by field."""

import math
import unicodedata
from collections.abc import Mapping, Sequence

import msgspec

from openwheel.errors import SettingError
from openwheel.tasks.compare.comparison import Kind, Pair, fingerprint_of
from openwheel.tasks.compare.exact import equal, versioned, with_folds
from openwheel.tasks.forms import record_of


class Tolerance(msgspec.Struct, frozen=True):
    """How far two numbers may differ: by ``absolute``, or by a share of the larger one."""

    absolute: float = 0.0
    relative: float = 0.0


class FieldRules(msgspec.Struct, frozen=True):
    """The fields that count. Names of fields inside others are joined by dots.

    Attributes:
        only: The fields that count; empty for all.
        left_out: Fields that do not count.
        tolerance: For numbers, unless a field has its own.
        own: Tolerances by field.
    """

    only: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    tolerance: Tolerance = Tolerance()
    own: dict[str, Tolerance] = {}


class FieldsComparison:
    """Two records agree if all fields that count do; anything else compares by equality."""

    bounded = False
    equality = False

    def __init__(self, setting: str, rules: FieldRules, folds: tuple[str, ...] = ()) -> None:
        """Compare by rules after folds; ``setting`` has the rules as the user wrote them."""
        self.setting = with_folds(setting, folds)
        self.rules = rules
        self.folds = folds
        self.fingerprint = fingerprint_of("fields", rules, *versioned(folds))

    def losses(self, pairs: Sequence[Pair]) -> list[float]:
        """Return 0.0 for records that agree, 1.0 for others."""
        return [float(not self._agrees(pair)) for pair in pairs]

    def _agrees(self, pair: Pair) -> bool:
        teacher, student = (
            record_of(answer, self.folds) for answer in (pair.teacher, pair.student)
        )
        if teacher is None or student is None:
            return equal(pair, "record", self.folds)
        if not self.rules.only:
            return self._same(teacher, student, "")
        return all(
            self._same(_at(teacher, name), _at(student, name), name) for name in self.rules.only
        )

    def _same(self, first: object, other: object, name: str) -> bool:
        if name in self.rules.left_out:
            return True
        if isinstance(first, Mapping) and isinstance(other, Mapping):
            return all(
                self._same(
                    first.get(key, _Absent), other.get(key, _Absent), f"{name}.{key}".strip(".")
                )
                for key in {**first, **other}
            )
        if isinstance(first, list) and isinstance(other, list):
            return len(first) == len(other) and all(
                self._same(a, b, name) for a, b in zip(first, other, strict=True)
            )
        if _is_number(first) and _is_number(other):
            return self._close(first, other, name)
        if isinstance(first, str) and isinstance(other, str):
            return unicodedata.normalize("NFC", first).strip() == (
                unicodedata.normalize("NFC", other).strip()
            )
        # True is not 1, and null is not an absent field.
        return type(first) is type(other) and first == other

    def _close(self, first: object, other: object, name: str) -> bool:
        assert isinstance(first, int | float)
        assert isinstance(other, int | float)
        allowed = self.rules.own.get(name, self.rules.tolerance)
        if first == other:
            return True
        return math.isclose(first, other, rel_tol=allowed.relative, abs_tol=allowed.absolute)


class _Absent:
    """Stands for a field that a record does not have."""


def _at(record: object, name: str) -> object:
    """Return a field by its name with dots; `_Absent` where there is none."""
    for part in name.split("."):
        if not isinstance(record, Mapping) or part not in record:
            return _Absent
        record = record[part]
    return record


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def read_rules(written: str) -> FieldRules:
    """Read rules: fields with commas between them.

    ``total`` or ``buyer.name`` counts, ``-note`` does not; ``total~0.01`` and ``total~1%`` may
    differ by that much, ``~0.01`` is for all other numbers.

    Raises:
        SettingError: They cannot be read, or some count and others are left out.

    Examples:
        >>> read_rules("total~0.01,buyer.name").only
        ('total', 'buyer.name')
    """
    only, left_out, by_field = [], [], {}
    tolerance = Tolerance()
    for item in filter(None, (part.strip() for part in written.split(","))):
        name, tilde, allowed = item.partition("~")
        tolerance_read = _read_tolerance(allowed, item) if tilde else Tolerance()
        if name.startswith("-") and not tilde:
            left_out.append(name[1:])
        elif name:
            only.append(name)
            if tilde:
                by_field[name] = tolerance_read
        else:
            tolerance = tolerance_read
    if only and left_out:
        raise SettingError(
            "fields must name those that count or, with a minus, those that do not; "
            f"was {written!r}, with both"
        )
    return FieldRules(tuple(only), tuple(left_out), tolerance, by_field)


def _read_tolerance(written: str, item: str) -> Tolerance:
    try:
        value = float(written.removesuffix("%"))
    except ValueError:
        value = math.nan
    if not (value >= 0 and math.isfinite(value)):
        raise SettingError(
            f"a tolerance must be a number or a percentage, as in total~0.01, was {item!r}"
        )
    return Tolerance(relative=value / 100) if written.endswith("%") else Tolerance(absolute=value)


FIELDS = Kind(
    "fields",
    "fields, fields:RULES",
    read_rules,
    lambda setting, rules, context: FieldsComparison(setting, rules, context.folds),
    folds=True,
)
