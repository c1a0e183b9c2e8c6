"""Which words of an input a record's values came from, and the tags that say so to a tagger."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from openwheel.students.fields.crf import NEVER, Choices
from openwheel.students.fields.features import Span
from openwheel.students.fields.form import Field, Read, as_json, flat_of
from openwheel.students.fields.render import Place, Value, places_of

LAYERS = 2
"""A value may lie in another; more than that are not tagged."""

IntArray = npt.NDArray[np.int64]

Tag = tuple[int, int]
"""On each layer 0 for nothing, 1 + 2f where a value of field f starts, 2 + 2f where it goes on."""

OUTSIDE: Tag = (0, 0)


class Aligned(NamedTuple):
    """What of a record was found in its input.

    Attributes:
        spans: A field's index, and the first and last word, of each value.
        missing: Indices of fields with a value that was not found.
    """

    spans: list[Span]
    missing: set[int]


def align(exchanges: Sequence[Read], fields: Sequence[Field]) -> list[Aligned]:
    """Find the values of each record in its input.

    A value that stands there several times is taken where the words beside it are those that stand
    beside its field's values elsewhere; where that does not tell, all of them are taken.
    """
    spans = [(i, field) for i, field in enumerate(fields) if field.kind == "span"]
    found = [_candidates(one, spans) for one in exchanges]
    beside: Counter[tuple[int, int, str]] = Counter()
    for one, places in zip(exchanges, found, strict=True):
        for index, _, options in places:
            if len(options) == 1:
                beside.update(_around(one, index, options[0]))
    aligned = []
    for one, places in zip(exchanges, found, strict=True):
        taken: list[Span] = []
        missing: set[int] = set()
        # What can stand in one place only is sure of it, and of others the longest is surest.
        for index, _, options in sorted(
            places, key=lambda part: (len(part[2]) != 1, -_size(part[2]), part[0])
        ):
            if not options:
                missing.add(index)
                continue
            free = [place for place in options if (index, *place) not in taken] or options
            apart = [p for p in free if all(p.last < s[1] or s[2] < p.first for s in taken)] or free
            scores = [sum(np.log1p(beside[key]) for key in _around(one, index, p)) for p in apart]
            best = max(scores)
            taken += [
                (index, *place)
                for place, score in zip(apart, scores, strict=True)
                if score >= best - 1e-9 and (index, *place) not in taken
            ]
        aligned.append(Aligned(sorted(taken, key=lambda span: (span[1], span[2])), missing))
    return aligned


def _size(options: Sequence[Place]) -> int:
    return max((place.last - place.first for place in options), default=0)


def _around(one: Read, index: int, place: Place) -> list[tuple[int, int, str]]:
    words = one.words
    before = words[place.first - 1].text.lower() if place.first else "\x00"
    after = words[place.last + 1].text.lower() if place.last + 1 < len(words) else "\x00"
    return [(index, 0, before), (index, 1, after)]


def _candidates(
    one: Read, fields: Sequence[tuple[int, Field]]
) -> list[tuple[int, Value, list[Place]]]:
    there = flat_of(one.record)
    found = []
    for index, field in fields:
        for value in values_of(field, there):
            options = [
                place
                for place in places_of(one.text, one.words, value, field.rendering.kind)
                if _gives(field, one, place, value)
            ]
            found.append((index, value, options))
    return found


def _gives(field: Field, one: Read, place: Place, value: Value) -> bool:
    surface = one.text[one.words[place.first].start : one.words[place.last].end]
    given = field.rendering.render(surface)
    return given == value and type(given) is type(value)


def values_of(field: Field, there: Mapping[tuple[str, ...], Any]) -> list[Value]:
    """Return a field's values in a record's leaves that should come from its input."""
    value = there.get(field.path)
    if value is None or as_otherwise(field, value):
        return []
    parts = value if isinstance(value, list) else [value]
    return [part for part in parts if isinstance(part, str | int | float)]


def as_otherwise(field: Field, value: Any) -> bool:
    """Whether a value is what a record has where the input has none."""
    return bool(field.otherwise) and as_json(value) == field.otherwise


def tags_of(words: int, spans: Sequence[Span]) -> list[Tag]:
    """Return the tags of a text's words; a value inside another is on the second layer."""
    layers = np.zeros((LAYERS, words), np.int64)
    for field, first, last in sorted(spans, key=lambda span: (span[1] - span[2], span[1])):
        for layer in range(LAYERS):
            if not layers[layer, first : last + 1].any():
                layers[layer, first : last + 1] = 2 + 2 * field
                layers[layer, first] = 1 + 2 * field
                break
    return [(int(a), int(b)) for a, b in layers.T]


FEWEST_OF_TYPE = 20
"""Records of a type; fewer do not show which fields its records have."""


def choices_of(types: IntArray, lengths: IntArray, tags: IntArray, all_tags: int) -> Choices:
    """Return which tags the texts of each type may have: those that training had with it.

    Args:
        types: Type of each training text, -1 for one that is too rare to be told.
        lengths: Words of each.
        tags: Of each word, one text after the other.
        all_tags: How many tags there are.

    Returns:
        The tags, and the group of each type, shape (types,); group 0 may have all tags.
    """
    of_word = np.repeat(types, lengths)
    found = [np.arange(all_tags)]
    groups = np.zeros(int(types.max(initial=0)) + 1, np.int64)
    for kind in range(len(groups)):
        if (types == kind).sum() < FEWEST_OF_TYPE:
            continue
        # The first tag is that of words outside of values.
        own = np.union1d(tags[of_word == kind], [0])
        same = [i for i, other in enumerate(found) if np.array_equal(other, own)]
        groups[kind] = same[0] if same else len(found)
        if not same:
            found.append(own)
    return Choices(found, groups)


class TagSpan(NamedTuple):
    """A value that tags say: its field, its words, and the least probability of their tags."""

    field: int
    first: int
    last: int
    probability: float


def spans_of(tags: Sequence[Tag], probabilities: Sequence[float]) -> list[TagSpan]:
    """Return what values tags say, in order."""
    spans: list[TagSpan] = []
    for layer in range(LAYERS):
        field, first, least = -1, 0, 1.0
        for place, tag in enumerate([*tags, OUTSIDE]):
            code = tag[layer]
            goes_on = code and code % 2 == 0 and (code - 2) // 2 == field
            if field >= 0 and not goes_on:
                spans.append(TagSpan(field, first, place - 1, least))
                field = -1
            if place == len(tags):
                break
            if goes_on:
                least = min(least, probabilities[place])
            elif code:
                field, first, least = (code - 1) // 2, place, probabilities[place]
    return sorted(spans, key=lambda span: (span.first, span.last))


def forbidden(tags: Sequence[Tag]) -> npt.NDArray[np.float32]:
    """Return which tag may not follow which: a value goes on only where it began."""
    size = len(tags)
    found = np.zeros((size + 1, size), np.float32)
    before = [*tags, OUTSIDE]
    for j, tag in enumerate(tags):
        for i, last in enumerate(before):
            for one, other in zip(last, tag, strict=True):
                if other and other % 2 == 0 and one not in (other, other - 1):
                    found[i, j] = NEVER
    return found
