"""Reads how the fields of records may differ, and what a record with wrong fields costs."""

import math
from collections.abc import Iterable, Mapping
from typing import Final, Literal

import msgspec

from openwheel.errors import SettingError
from openwheel.tasks.folds import FOLDS

Loss = Literal["record", "fields"]
"""``record``: a record with any wrong field is a loss of 1. ``fields``: its share of wrong ones."""

IGNORE: Final = "ignore"
SET: Final = "set"
OTHERS: Final = "*"
"""Stands for all fields that no other name covers."""

TEXT_FOLDS: Final = tuple(name for name, fold in FOLDS.items() if fold.inside)
"""The folds that work on a text inside a record."""


class Tolerance(msgspec.Struct, frozen=True):
    """How far two numbers may differ: by ``absolute``, or by a share of the larger one."""

    absolute: float = 0.0
    relative: float = 0.0


class FieldRule(msgspec.Struct, frozen=True):
    """How one field may differ and still be right.

    Attributes:
        ignored: Whether it does not count.
        unordered: Whether the order of a list means nothing, nor how often a part is in it.
        tolerance: How far numbers may differ.
        folds: The folds of texts.
    """

    ignored: bool = False
    unordered: bool = False
    tolerance: Tolerance = Tolerance()
    folds: tuple[str, ...] = ()


STRICT: Final = FieldRule()


class FieldSettings(msgspec.Struct, frozen=True):
    """How records are compared: the user's choice for one task.

    Attributes:
        loss: The loss of a record with wrong fields.
        fields: How each field may differ, as `read_fields` returns it.
    """

    loss: Loss = "record"
    fields: dict[str, tuple[str, ...]] = {}

    @property
    def plain(self) -> bool:
        """Whether records agree if they are equal, and only then."""
        return self == PLAIN

    @property
    def rules(self) -> dict[str, FieldRule]:
        """The rule of each field that is named, by its name."""
        return {name: _rule(name, words) for name, words in self.fields.items()}

    def covers(self, certified: "FieldSettings") -> bool:
        """Whether no loss is larger by these than by the ones that a student was certified by."""
        loss = certified.loss == "record" or self.loss == "fields"
        return loss and (not certified.fields or certified.fields == self.fields)

    def __str__(self) -> str:
        """Return them in a line, for people: ``fields (note: ignore; total: ~0.01)``."""
        named = "; ".join(f"{name}: {', '.join(words) or '='}" for name, words in self._sorted())
        return f"{self.loss} ({named})" if named else self.loss

    def _sorted(self) -> list[tuple[str, tuple[str, ...]]]:
        return sorted(self.fields.items())


PLAIN: Final = FieldSettings()


def read_fields(written: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    """Read how fields may differ: for each name a list of words, an empty one for not at all.

    A name has the names of objects before it, with dots between; it is for all fields inside an
    object or a list, too, unless they have their own. ``*`` is for all others.

    Raises:
        SettingError: A name or a word cannot be one, or words exclude each other.

    Examples:
        >>> read_fields({"total": ["~1%"], "tags": ["set", "case"]})
        {'total': ('~1%',), 'tags': ('set', 'case')}
    """
    read = {}
    for name, words in written.items():
        if not name or (name != OTHERS and not all(part.strip() for part in name.split("."))):
            raise SettingError(
                f"fields must name fields of the answers, such as total or buyer.name, or "
                f"{OTHERS} for all others; one was {name!r}"
            )
        read[name] = tuple(dict.fromkeys(word.strip() for word in words))
        _rule(name, read[name])
    return read


def _rule(name: str, words: tuple[str, ...]) -> FieldRule:
    if IGNORE in words:
        if len(words) > 1:
            raise SettingError(f"fields.{name} must be {IGNORE} or how it may differ, was both")
        return FieldRule(ignored=True)
    tolerances = [word for word in words if word.startswith("~")]
    if len(tolerances) > 1:
        raise SettingError(
            f"fields.{name} must have one tolerance at most, was {' and '.join(tolerances)}"
        )
    folds = tuple(fold for fold in TEXT_FOLDS if fold in words)
    for word in words:
        if word not in (SET, *folds, *tolerances):
            raise SettingError(
                f"fields.{name} must be of {IGNORE}, {SET}, {', '.join(TEXT_FOLDS)}, or a "
                f"tolerance such as ~0.01 or ~1%; was {word!r}"
            )
    tolerance = _tolerance(name, tolerances[0]) if tolerances else Tolerance()
    return FieldRule(unordered=SET in words, tolerance=tolerance, folds=folds)


def _tolerance(name: str, word: str) -> Tolerance:
    number = word[1:].removesuffix("%")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not (value >= 0 and math.isfinite(value)):
        raise SettingError(
            f"fields.{name} must have a number or a percentage as its tolerance, as in ~0.01 or "
            f"~1%; was {word!r}"
        )
    return Tolerance(relative=value / 100) if word.endswith("%") else Tolerance(absolute=value)
