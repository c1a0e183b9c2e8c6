"""How a field writes what stands in the input: case, marks, spaces, numbers, dates, times."""

import datetime
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Final, Literal, NamedTuple

import msgspec

from openwheel.students.fields.quantities import (
    as_number,
    dates_in,
    numbers_in,
    times_in,
)
from openwheel.students.fields.words import Word, key_of, words_of

Value = str | int | float
Kind = Literal["text", "number", "date", "time"]

CASES: Final = ("keep", "lower", "upper", "title", "sentence")
MARKS: Final = ("keep", "possessive", "apart", "edges", "none")
SPACES: Final = ("keep", "none", "_", "-")

DATE_FORMATS: Final = tuple(
    f"%{day}{a}%{month}{a}%{year}" if first else f"%{month}{a}%{day}{a}%{year}"
    for a in ("/", ".", "-")
    for first in (True, False)
    for day, month in (("d", "m"), ("-d", "-m"))
    for year in ("Y", "y")
)
_DATE_FORMATS: Final = (
    *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d"),
    *DATE_FORMATS,
    *("%B %-d, %Y", "%-d %B %Y", "%d %B %Y", "%b %-d, %Y", "%-d %b %Y", "%d %b %Y", "%B %d, %Y"),
)
_TIME_FORMATS: Final = ("%H:%M", "%H:%M:%S", "%-I:%M %p", "%I:%M %p", "%-I:%M%p", "%-H:%M", "%H%M")
_AFFIXED = re.compile(
    r"\A(?P<before>\D*?)(?P<number>(?:(?<![^\W_])[-\u2212])?\d[\d.,]*)(?P<after>\D*)\Z"
)

EXCEPTION = 2
"""How often a surface must have had a value that the rule does not give, to be remembered."""

FEWEST_EXAMPLES = 5


class Rendering(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a field's values are made of words of the input.

    Attributes:
        kind: What is read of the words.
        case, marks, spaces: Of a text: one of `CASES`, `MARKS` and `SPACES`.
        written: Of a number ``integer``, ``float``, ``either`` (JSON numbers) or ``text``; of a
            date or time its format.
        decimals: Digits after the point of a number that is a text; -1: as many as it has.
        grouped: Whether the thousands of a number that is a text are parted by commas.
        before, after: What stands around such a number.
        divided: What a number in the input is divided by: 100 for a percentage.
        comma: Whether the input's numbers have a comma before the decimals.
        day_first: Whether the input's dates have the day before the month.
        exceptions: Values of surfaces that the rest gets wrong, by the key of the surface.
    """

    kind: Kind = "text"
    case: str = "keep"
    marks: str = "keep"
    spaces: str = "keep"
    written: str = ""
    decimals: int = -1
    grouped: bool = False
    before: str = ""
    after: str = ""
    divided: int = 1
    comma: bool = False
    day_first: bool = True
    exceptions: dict[str, Value] = {}

    def render(self, surface: str) -> Value | None:
        """Return the value that words of the input are, None if they are none."""
        if self.exceptions:
            known = self.exceptions.get(key_of(surface))
            if known is not None:
                return known
        if self.kind == "text":
            return _as_text(surface, self.case, self.marks, self.spaces) or None
        if self.kind == "number":
            numbers = [found.value for found in numbers_in(surface, comma=self.comma)]
            if len(numbers) != 1 or not isinstance(numbers[0], Decimal):
                return None
            return self._number(numbers[0] / self.divided)
        found = [
            one.value
            for one in (
                dates_in(surface, day_first=self.day_first)
                if self.kind == "date"
                else times_in(surface)
            )
        ]
        return _formatted(found[0], self.written) if len(found) == 1 else None

    def _number(self, number: Decimal) -> Value | None:
        whole = number == number.to_integral_value()
        if self.written == "integer":
            return int(number) if whole else None
        if self.written == "float":
            return float(number)
        if self.written == "either":
            return int(number) if whole else float(number)
        if self.decimals >= 0:
            said = f"{number:{',' if self.grouped else ''}.{self.decimals}f}"
        else:
            plain = number.to_integral_value() if whole else number.normalize()
            said = f"{plain:{',' if self.grouped else ''}f}"
        return f"{self.before}{said}{self.after}"


class Place(NamedTuple):
    """Where a value may come from: the first and the last of a text's words."""

    first: int
    last: int


def _as_text(surface: str, case: str, marks: str, spaces: str) -> str:
    text = " ".join(surface.split())
    if marks == "possessive":
        text = re.sub(r"['\u2019]s?\Z", "", text)
    elif marks == "apart":
        text = re.sub(r"(?<=\w)(['\u2019]s)\b", r" \1", text)
    elif marks == "edges":
        text = re.sub(r"\A\W+|\W+\Z", "", text)
    elif marks == "none":
        text = " ".join(re.sub(r"[^\w\s]|_", "", text).split())
    if spaces != "keep":
        text = text.replace(" ", "" if spaces == "none" else spaces)
    if case == "lower":
        return text.lower()
    if case == "upper":
        return text.upper()
    if case == "title":
        return " ".join(word[:1].upper() + word[1:].lower() for word in text.split(" "))
    if case == "sentence":
        return text[:1].upper() + text[1:].lower()
    return text


def _formatted(value: object, written: str) -> str | None:
    if not isinstance(value, datetime.date | datetime.time):
        return None
    # Formats without leading zeros are of glibc; of these here, and nowhere else.
    plain = re.sub(r"%-(.)", r"%\1", written)
    if plain == written:
        return value.strftime(plain)
    parts = re.split(r"(%-?.)", written)
    return "".join(
        (
            value.strftime("%" + part[-1]).lstrip("0") or "0"
            if part.startswith("%-")
            else value.strftime(part)
            if part.startswith("%")
            else part
        )
        for part in parts
    )


def places_of(text: str, words: Sequence[Word], value: Value, kind: Kind) -> list[Place]:
    """Return where in a text a value may come from, whatever the rendering.

    Args:
        text: The text.
        words: Its words.
        value: The value.
        kind: What is looked for.
    """
    if kind == "text":
        return _texts(words, str(value)) if isinstance(value, str) else []
    found: set[Place] = set()
    for start, end in _quantities(text, value, kind):
        inside = [i for i, word in enumerate(words) if word.start < end and start < word.end]
        if inside:
            found.add(Place(inside[0], inside[-1]))
    return sorted(found)


def _texts(words: Sequence[Word], value: str) -> list[Place]:
    wanted = key_of(value)
    if not wanted:  # nothing but marks
        marks = [word.text for word in words_of(value)]
        return [
            Place(i, i + len(marks) - 1)
            for i in range(len(words) - len(marks) + 1)
            if marks and [word.text for word in words[i : i + len(marks)]] == marks
        ]
    keys = [key_of(word.text) for word in words]
    joined, starts, ends = "".join(keys), {}, {}
    at = 0
    for i, key in enumerate(keys):
        if key:
            starts[at] = i
            at += len(key)
            ends[at] = i
    own = words_of(value)
    lead = list(itertools.takewhile(lambda word: not key_of(word.text), own))
    tail = list(itertools.takewhile(lambda word: not key_of(word.text), reversed(own)))
    places = []
    found = joined.find(wanted)
    while found >= 0:
        first, last = starts.get(found), ends.get(found + len(wanted))
        if first is not None and last is not None:
            before = words[max(0, first - len(lead)) : first]
            if lead and [word.text for word in before] == [word.text for word in lead]:
                first -= len(lead)
            after = words[last + 1 : last + 1 + len(tail)]
            if tail and [word.text for word in after] == [word.text for word in tail[::-1]]:
                last += len(tail)
            places.append(Place(first, last))
        found = joined.find(wanted, found + 1)
    return places


def _quantities(text: str, value: Value, kind: Kind) -> Iterator[tuple[int, int]]:
    if kind == "number":
        wanted = {number for _, number in _numbers(value)}
        wanted |= {100 * number for number in wanted}
        for comma in (False, True):
            for one in numbers_in(text, comma=comma):
                if one.value in wanted:
                    yield one.start, one.end
    elif kind == "date" and isinstance(value, str):
        dates = {parsed for _, parsed in _dates(value)}
        for day_first in (True, False) if dates else ():
            for one in dates_in(text, day_first=day_first):
                if one.value in dates:
                    yield one.start, one.end
    elif kind == "time" and isinstance(value, str):
        times = {parsed for _, parsed in _times(value)}
        for one in times_in(text) if times else ():
            if one.value in times:
                yield one.start, one.end


def _numbers(value: Value) -> list[tuple[dict[str, object], Decimal]]:
    """Return the ways of writing a number that a value may have been written in."""
    if isinstance(value, bool):
        return []
    if isinstance(value, int | float):
        written = "integer" if isinstance(value, int) else "float"
        return [({"written": written}, Decimal(str(value)))]
    found = _AFFIXED.match(value)
    number = as_number(found["number"].replace("\u2212", "-"), comma=False) if found else None
    if found is None or number is None:
        return []
    around = {"written": "text", "before": found["before"], "after": found["after"]}
    grouped = "," in found["number"]
    _, point, rest = found["number"].partition(".")
    decimals = len(rest) if point else 0
    return [
        ({**around, "decimals": wanted, "grouped": grouped}, number) for wanted in (-1, decimals)
    ]


def _dates(value: str) -> list[tuple[str, datetime.date]]:
    found = []
    for written in _DATE_FORMATS:
        try:
            parsed = datetime.datetime.strptime(value, written.replace("%-", "%")).date()
        except ValueError:
            continue
        if _formatted(parsed, written) == value:
            found.append((written, parsed))
    return found


def _times(value: str) -> list[tuple[str, datetime.time]]:
    found = []
    for written in _TIME_FORMATS:
        try:
            parsed = datetime.datetime.strptime(value, written.replace("%-", "%")).time()
        except ValueError:
            continue
        if _formatted(parsed, written) == value:
            found.append((written, parsed))
    return found


class Example(NamedTuple):
    """A value of a field, with the text that it should come from."""

    text: str
    words: Sequence[Word]
    value: Value


def learn_rendering(examples: Sequence[Example]) -> tuple[Rendering, float]:
    """Return the rendering that gives most of a field's values, and the share that it gives.

    Every kind and every way of writing is counted by the values that it gives from some place of
    their text; of equals the first, which changes least.
    """
    best, most = Rendering(), -1
    for kind in ("text", "number", "date", "time"):
        placed = [
            (
                one,
                [_surface(one, place) for place in places_of(one.text, one.words, one.value, kind)],
            )
            for one in examples
        ]
        if sum(1 for _, surfaces in placed if surfaces) <= max(most, 0):
            continue
        for rendering in _renderings(kind, [one.value for one, surfaces in placed if surfaces]):
            given = sum(
                any(_same(rendering.render(surface), one.value) for surface in surfaces)
                for one, surfaces in placed
            )
            if given > most:
                best, most = rendering, given
            if most == len(examples):
                break
        if most == len(examples):
            break
    best = _with_exceptions(best, examples)
    given = sum(
        any(
            _same(best.render(_surface(one, place)), one.value)
            for place in places_of(one.text, one.words, one.value, best.kind)
        )
        for one in examples
    )
    return best, given / max(len(examples), 1)


def _surface(one: Example, place: Place) -> str:
    return one.text[one.words[place.first].start : one.words[place.last].end]


def _same(one: Value | None, other: Value) -> bool:
    return one == other and type(one) is type(other)


def _renderings(kind: Kind, values: Sequence[Value]) -> Iterator[Rendering]:
    if kind == "text":
        for spaces, marks, case in itertools.product(SPACES, MARKS, CASES):
            yield Rendering(case=case, marks=marks, spaces=spaces)
    elif kind == "number":
        ways: Counter[bytes] = Counter()
        for value in values:
            ways.update({msgspec.json.encode(way) for way, _ in _numbers(value)})
        forms = [msgspec.json.decode(way) for way, _ in ways.most_common(4)]
        if {"integer", "float"} <= {form["written"] for form in forms}:
            forms.insert(0, {"written": "either"})
        for form, comma, divided in itertools.product(forms, (False, True), (1, 100)):
            yield Rendering(kind="number", comma=comma, divided=divided, **form)
    else:
        parsed = _dates if kind == "date" else _times
        formats: Counter[str] = Counter()
        for value in values:
            formats.update(written for written, _ in parsed(str(value)))
        for written, _ in formats.most_common(6):
            for day_first in (True, False) if kind == "date" else (True,):
                yield Rendering(kind=kind, written=written, day_first=day_first)


def _with_exceptions(rendering: Rendering, examples: Sequence[Example]) -> Rendering:
    """Add the surfaces whose value is mostly another one than the rule gives."""
    values: dict[str, Counter[Value]] = {}
    for one in examples:
        places = places_of(one.text, one.words, one.value, rendering.kind)
        surfaces = [_surface(one, place) for place in places]
        if surfaces and not any(_same(rendering.render(text), one.value) for text in surfaces):
            values.setdefault(key_of(surfaces[0]), Counter())[one.value] += 1
        for text in surfaces:
            if _same(rendering.render(text), one.value) and key_of(text) in values:
                values[key_of(text)][one.value] += 1
    found = {
        key: counts.most_common(1)[0][0]
        for key, counts in values.items()
        if key and counts.most_common(1)[0][1] >= EXCEPTION
    }
    return msgspec.structs.replace(rendering, exceptions=found)
