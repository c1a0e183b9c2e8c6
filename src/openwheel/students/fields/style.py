"""The style of a task's records: the bytes that a teacher would have written around the values."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cmp_to_key
from typing import Any

import msgspec

from openwheel.tasks.forms.record import Path

SAMPLE = 500


class Style(msgspec.Struct, frozen=True):
    """How a teacher writes its records.

    Attributes:
        before, after: What stands around the object: a code fence, prose.
        indent: What a level is indented by; ``""`` where all is on one line.
        comma, colon: What stands between parts, and between a name and its value.
        flat_lists: Whether lists of values are on one line where objects are not.
        escaped: Whether letters beyond ASCII are escaped.
        order: The names in each object in their order, by the names that lead to it with dots.
        found: The objects whose names are in the order in which the input has their values.
    """

    before: str = ""
    after: str = ""
    indent: str = ""
    comma: str = ","
    colon: str = ":"
    flat_lists: bool = False
    escaped: bool = False
    order: dict[str, tuple[str, ...]] = {}
    found: tuple[str, ...] = ()

    def write(self, record: Mapping[str, Any]) -> str:
        """Return a record as the teacher would have written it."""
        return f"{self.before}{self._value(record, (), 0)}{self.after}"

    def _value(self, value: Any, path: Path, level: int) -> str:
        if isinstance(value, Mapping):
            parts = [
                self._text(name) + self.colon + self._value(part, (*path, name), level + 1)
                for name, part in sorted(value.items(), key=self._rank(path))
            ]
            return self._joined("{", parts, "}", level)
        if isinstance(value, list):
            parts = [self._value(part, (*path, "[]"), level + 1) for part in value]
            flat = self.flat_lists and not any(isinstance(p, Mapping | list) for p in value)
            return self._joined("[", parts, "]", level, flat=flat)
        return self._text(value)

    def _joined(
        self, left: str, parts: Sequence[str], right: str, level: int, *, flat: bool = False
    ) -> str:
        if not parts:
            return left + right
        if not self.indent or flat:
            comma = self.comma if not self.indent else ", "
            return f"{left}{comma.join(parts)}{right}"
        line = "\n" + self.indent * (level + 1)
        return f"{left}{line}{(',' + line).join(parts)}\n{self.indent * level}{right}"

    def _text(self, value: Any) -> str:
        return json.dumps(value, ensure_ascii=self.escaped)

    def _rank(self, path: Path) -> Any:
        name = ".".join(path)
        if name in self.found:
            return lambda _: 0
        places = {name: i for i, name in enumerate(self.order.get(name, ()))}
        return lambda item: places.get(item[0], len(places))


def learn_style(answers: Sequence[str]) -> Style:
    """Return the style of records, from how a teacher wrote them.

    Args:
        answers: Texts that a JSON object stands in.
    """
    seen: Counter[tuple[str, str, str, str, str]] = Counter()
    flat: Counter[str] = Counter()
    order: dict[str, dict[tuple[str, str], int]] = defaultdict(lambda: defaultdict(int))
    escaped = plain = 0
    for answer in answers[-SAMPLE:]:
        start, end = answer.find("{"), answer.rfind("}") + 1
        inside = answer[start:end] if 0 <= start < end else ""
        try:
            record = json.loads(inside)
        except (ValueError, RecursionError):
            continue
        _orders(record, (), order)
        plain += not inside.isascii()
        escaped += inside.isascii() and re.search(r"\\u[0-9a-fA-F]{4}", inside) is not None
        line = re.match(r"\{\s*\n([ \t]+)", inside)
        indent = line[1] if line else ""
        colon = re.search(r'"(\s*:\s*)', inside)
        comma = None if line else re.search(r'["\d\]}el](\s*,[ \t]*)"', inside)
        flat[indent] += bool(line and re.search(r"\[[^\[\]{}\n]+\]", inside))
        around = (answer[:start], answer[end:])
        seen[(*around, indent, comma[1] if comma else "", colon[1] if colon else ":")] += 1
    if not seen:
        return Style()
    # An answer with one field has no comma: then another says how they are.
    before, after, indent, comma_there, colon_there = seen.most_common(1)[0][0]
    commas = Counter[str]()
    for (_, _, _, comma_said, colon_said), times in seen.items():
        if comma_said and colon_said == colon_there:
            commas[comma_said] += times
    usual = ", " if colon_there.endswith(" ") else ","
    return Style(
        before=before,
        after=after,
        indent=indent,
        comma=comma_there or (commas.most_common(1)[0][0] if commas else usual),
        colon=colon_there,
        flat_lists=flat[indent] > 0,
        escaped=escaped > plain,
        order={name: _sorted(pairs) for name, pairs in order.items()},
    )


def _orders(value: Any, path: Path, order: dict[str, dict[tuple[str, str], int]]) -> None:
    if isinstance(value, dict):
        names = list(value)
        pairs = order[".".join(path)]
        for i, one in enumerate(names):
            pairs[one, one] += 1
            for other in names[i + 1 :]:
                pairs[one, other] += 1
            _orders(value[one], (*path, one), order)
    elif isinstance(value, list):
        for part in value[:3]:
            _orders(part, (*path, "[]"), order)


def _sorted(pairs: Mapping[tuple[str, str], int]) -> tuple[str, ...]:
    """Return names so that most stand before those that they mostly stand before."""
    names = list(dict.fromkeys(one for one, _ in pairs))
    won: dict[str, int] = {
        one: sum(
            (pairs.get((one, other), 0) > pairs.get((other, one), 0))
            - (pairs.get((one, other), 0) < pairs.get((other, one), 0))
            for other in names
        )
        for one in names
    }

    def compare(one: str, other: str) -> int:
        direct = pairs.get((other, one), 0) - pairs.get((one, other), 0)
        return direct or won[other] - won[one]

    ranked = sorted(names, key=lambda name: -won[name])
    return tuple(sorted(ranked, key=cmp_to_key(compare)))


def with_order_of_input(
    style: Style, records: Sequence[Mapping[str, Any]], firsts: Sequence[Mapping[Path, int]]
) -> Style:
    """Return a style with the objects whose names follow the input rather than an order of theirs.

    Args:
        style: As answers alone showed it.
        records: Whose names stand as the teacher wrote them.
        firsts: Of each the places of values in its input, by the names that lead to them.
    """
    follow: Counter[str] = Counter()
    for record, places in zip(records, firsts, strict=True):
        for path, names in _objects(record, ()):
            found = [(places[(*path, name)], name) for name in names if (*path, name) in places]
            if len(found) < 2 or len({place for place, _ in found}) < len(found):
                continue
            own = style.order.get(".".join(path), ())
            said = [name for _, name in found]
            by_input = [name for _, name in sorted(found)] == said
            by_rank = sorted(said, key=own.index) == said if set(said) <= set(own) else False
            follow[".".join(path)] += by_input - by_rank
    return msgspec.structs.replace(
        style, found=tuple(sorted(name for name, times in follow.items() if times > 0))
    )


def _objects(value: Mapping[str, Any], path: Path) -> Iterator[tuple[Path, list[str]]]:
    yield path, list(value)
    for name, part in value.items():
        if isinstance(part, Mapping):
            yield from _objects(part, (*path, name))
