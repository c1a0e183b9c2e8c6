"""Calls of tools as records: the form of each, and whose of several the values of an input are."""

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

import msgspec

from openwheel.students.fields.align import Aligned, TagSpan, as_otherwise
from openwheel.students.fields.features import Span, word_hash
from openwheel.students.fields.form import (
    MOST_VALUES,
    Field,
    Read,
    RecordForm,
    Rows,
    as_json,
    flat_of,
    infer_record_form,
)
from openwheel.students.fields.render import Value
from openwheel.students.fields.words import Word
from openwheel.tasks.forms.call import BETWEEN, as_one
from openwheel.tasks.forms.record import Path

Found = tuple[TagSpan, Value]
Group = dict[int, list[Found]]
"""The values of one call, by their fields."""

ARGUMENTS = "arguments"
NAME: Path = ("name",)
"""The field of a call that names its tool, or the tools of several."""

MOST_GAP = 6
"""Words between two values that are looked at, the last ones."""

SURE = 0.9
"""The least share of answers in which values were spread in one way, for that to be relied on."""

UNSEEN = 0.1
"""Stands for the times of a set of arguments that no call had."""


class Tool(msgspec.Struct, frozen=True):
    """A tool, as its calls showed it.

    Attributes:
        takes: Indices of the fields that its calls have.
        signatures: How often a call had values from the input in just these fields.
    """

    takes: tuple[int, ...]
    signatures: tuple[tuple[tuple[int, ...], int], ...]


class Pattern(msgspec.Struct, frozen=True):
    """How the values of a field were spread over the calls of one answer.

    Attributes:
        names: The tools called, in order, as one text.
        field: Index of the field.
        values: How many different values the input had.
        places: For each call that takes the field which of these it had, in the order of the
            input, -1 for none: mostly.
        share: In how many of the answers it was so.
    """

    names: str
    field: int
    values: int
    places: tuple[int, ...]
    share: float


class Calling(msgspec.Struct, frozen=True):
    """How a task's calls are told apart where one answer has several.

    Attributes:
        tools: By name.
        patterns: How values were spread over calls.
        shared: Fields whose one value in an input is that of all calls that take it.
        between: Hashes of words between values of an input, with how often they parted two calls,
            and how often they stood between values at all.
    """

    tools: dict[str, Tool]
    patterns: tuple[Pattern, ...] = ()
    shared: tuple[int, ...] = ()
    between: tuple[tuple[int, int, int], ...] = ()

    def own(self, names: Sequence[str], call: int) -> tuple[tuple[int, ...], Path, tuple[int, int]]:
        """Return the fields of one of several calls, its path, and its place among its tool's."""
        name = names[call]
        place = names[:call].count(name), names.count(name)
        return self.tools[name].takes, (ARGUMENTS, name), place


def name_of(call: Mapping[str, Any]) -> str:
    """Return the name of the tool that a call is of."""
    return str(call.get("name"))


def nested(calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return calls as one record, their arguments below the names of their tools.

    A tool that is called several times has of each argument the values in the order of its calls.

    >>> nested([{"name": "find", "arguments": {"id": 7}}])
    {'name': 'find', 'arguments': {'find': {'id': 7}}}
    """
    if any(call.get("name") is None for call in calls):
        return {"name": None}
    arguments = {}
    for name in dict.fromkeys(map(name_of, calls)):
        one = as_one({"calls": [call for call in calls if name_of(call) == name]})
        if one.get("name") is None:
            return {"name": None}
        arguments[name] = one.get(ARGUMENTS, {})
    return {"name": BETWEEN.join(map(name_of, calls)), ARGUMENTS: arguments}


def plain(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call without its tool's name above its arguments."""
    name = record.get("name")
    return {"name": name, ARGUMENTS: record.get(ARGUMENTS, {}).get(name, {})}


def _fields_of(form: RecordForm, name: str) -> tuple[int, ...]:
    """Return the fields that calls of a tool have, that of its name first."""
    return tuple(
        i
        for i, field in enumerate(form.fields)
        if field.path == NAME or field.path[:2] == (ARGUMENTS, name)
    )


def infer_calls_form(
    reads: Sequence[Read], calls: Sequence[Sequence[Mapping[str, Any]]]
) -> RecordForm:
    """Infer the form of calls: each tool's arguments by themselves, below its name.

    Args:
        reads: What is asked; the records have the calls of an answer as one.
        calls: The calls of each answer.

    Raises:
        ValueError: As `infer_record_form`.
    """
    names = Counter(as_json(one.record.get("name")) for one in reads)
    known = tuple(sorted(name for name, _ in names.most_common(MOST_VALUES)))
    fields = [Field(NAME, "label", known)]
    objects: list[Path] = []
    rows: list[Rows] = []
    by_tool: dict[str, list[Read]] = defaultdict(list)
    for one, each in zip(reads, calls, strict=True):
        for call in each:
            if call.get("name") is not None:
                by_tool[name_of(call)].append(one._replace(record=call))

    def below(path: Path, name: str) -> Path:
        return (path[0], name, *path[1:])

    for name, own in by_tool.items():
        form = infer_record_form(own)
        # Its own name comes first, and is left out.
        start = len(fields) - 1
        fields += [
            msgspec.structs.replace(field, path=below(field.path, name))
            for field in form.fields
            if field.path != NAME
        ]
        objects += [below(path, name) for path in form.objects]
        rows += [
            msgspec.structs.replace(
                one,
                path=below(one.path, name),
                leader=one.leader + start if one.leader >= 0 else -1,
            )
            for one in form.rows
        ]
    return RecordForm(tuple(fields), tuple(objects), tuple(rows))


def learn_calling(
    form: RecordForm,
    calls: Sequence[Sequence[Mapping[str, Any]]],
    reads: Sequence[Read],
    aligned: Sequence[Aligned],
) -> Calling:
    """Learn how calls are told apart.

    Args:
        form: The form of a call.
        calls: The calls of each answer.
        reads: Their inputs.
        aligned: What of all calls of an answer was found in its input.
    """
    index = {field.path: i for i, field in enumerate(form.fields)}
    takes = {name: _fields_of(form, name) for each in calls for name in map(name_of, each)}
    signatures: dict[str, Counter[tuple[int, ...]]] = defaultdict(Counter)
    alike: Counter[int] = Counter()
    alone: Counter[int] = Counter()
    parted: Counter[int] = Counter()
    there: Counter[int] = Counter()
    spread: dict[tuple[str, int, int], Counter[tuple[int, ...]]] = defaultdict(Counter)
    flat = [[flat_of(nested([call])) for call in each] for each in calls]
    for own in itertools.chain.from_iterable(flat):
        signatures[str(own.get(NAME))][tuple(sorted(_values(form, index, own)))] += 1
    for each, one, found in zip(flat, reads, aligned, strict=True):
        if len(each) == 1:
            continue
        values = [_values(form, index, own) for own in each]
        names = [str(own.get(NAME)) for own in each]
        for field in set().union(*values):
            takers = [i for i, name in enumerate(names) if field in takes[name]]
            own_values = [values[i][field] for i in takers if field in values[i]]
            if len(takers) > 1 and len({as_json(value) for value in own_values}) == 1:
                alone[field] += 1
                alike[field] += len(own_values) == len(takers)
            found_values = _distinct(form, one, found.spans, field)
            wanted = [as_json(values[i][field]) if field in values[i] else "" for i in takers]
            if len(takers) > 1 and all(value in found_values or not value for value in wanted):
                places = tuple(found_values.index(value) if value else -1 for value in wanted)
                spread[BETWEEN.join(names), field, len(found_values)][places] += 1
        for gap, parts in _gaps(form, one, found.spans, values):
            there.update(gap)
            parted.update(gap if parts else ())
    return Calling(
        {name: Tool(fields, tuple(signatures[name].items())) for name, fields in takes.items()},
        tuple(Pattern(*key, *_mostly(places)) for key, places in spread.items()),
        tuple(sorted(field for field in alone if 2 * alike[field] > alone[field])),
        tuple((word, parted[word], times) for word, times in there.items() if times > 1),
    )


def _mostly(places: Counter[tuple[int, ...]]) -> tuple[tuple[int, ...], float]:
    [(often, times)] = places.most_common(1)
    return often, times / places.total()


def _distinct(form: RecordForm, one: Read, spans: Sequence[Span], field: int) -> list[str]:
    """Return the different values of a field in an input, in order."""
    rendering = form.fields[field].rendering
    surfaces = [
        one.text[one.words[first].start : one.words[last].end]
        for index, first, last in spans
        if index == field
    ]
    return list(dict.fromkeys(as_json(rendering.render(surface)) for surface in surfaces))


def _values(form: RecordForm, index: Mapping[Path, int], own: Mapping[Path, Any]) -> dict[int, Any]:
    """Return the values of a call that come out of its input, by their fields."""
    return {
        index[path]: value
        for path, value in own.items()
        if path in index
        and form.fields[index[path]].kind == "span"
        and value is not None
        and not as_otherwise(form.fields[index[path]], value)
    }


def _gaps(
    form: RecordForm, one: Read, spans: Sequence[Span], values: Sequence[Mapping[int, Any]]
) -> list[tuple[list[int], bool]]:
    """Return the words between values of an input, and whether these are of different calls."""
    owners = []
    for field, first, last in spans:
        surface = one.text[one.words[first].start : one.words[last].end]
        value = form.fields[field].rendering.render(surface)
        own = [i for i, call in enumerate(values) if call.get(field) == value]
        owners.append(own[0] if len(own) == 1 else -1)
    gaps = []
    for (before, here), (owner, other) in zip(
        itertools.pairwise(spans), itertools.pairwise(owners), strict=True
    ):
        if owner >= 0 and other >= 0:
            gaps.append((_between(one.words, before[2], here[1]), owner != other))
    return gaps


def _between(words: Sequence[Word], last: int, first: int) -> list[int]:
    return sorted({word_hash(word.text) for word in words[last + 1 : first][-MOST_GAP:]})


class Parted(NamedTuple):
    """The values of an input, parted among calls.

    Attributes:
        groups: Those of each call.
        torn: How many calls have arguments in a set that no call of training had; of one call, how
            many fields have different values.
    """

    groups: list[Group]
    torn: int


def part(
    calling: Calling,
    names: Sequence[str],
    values: Mapping[int, Sequence[Found]],
    words: Sequence[Word],
) -> Parted | None:
    """Part the values of an input among calls, None if that cannot be done.

    Values of a field are spread as they mostly were where the same tools were called and the input
    had as many. Where that never was, and each field has as many values as calls take it, or one
    for all, the first value is that of the first call. Else the values are cut into one run for
    each call, so that calls have arguments as in training, and words stand between the runs as
    there.

    Args:
        calling: What was learned.
        names: Of the tools called, in order.
        values: The values of each field; those of fields that no call takes are left out.
        words: The words of the input.
    """
    if not names or any(name not in calling.tools for name in names):
        return None
    takers: dict[int, list[int]] = defaultdict(list)
    for i, name in enumerate(names):
        for field in calling.tools[name].takes:
            takers[field].append(i)
    by_field = {field: sorted(own, key=_place) for field, own in values.items() if field in takers}
    spread = {
        field: _spread(calling, BETWEEN.join(names), own, len(takers[field]))
        for field, own in by_field.items()
    }
    groups: list[Group] = [{} for _ in names]
    for field, each in spread.items():
        for i, own in zip(takers[field], each, strict=bool(each)):
            if own:
                groups[i][field] = own
    if not all(spread.values()):
        # Values of which each call has its own tell where one begins.
        alone = {field for field, each in spread.items() if not _repeats(each)}
        rest = sorted((one for field in alone for one in by_field[field]), key=_place)
        runs = _runs(calling, names, rest, by_field.keys() - alone, words)
        if runs is None:
            return None
        groups = [
            run | {field: own for field, own in group.items() if field not in alone}
            for run, group in zip(runs, groups, strict=True)
        ]
    if len(names) == 1:
        return Parted(groups, sum(not _same(own) for own in groups[0].values()))
    known = [dict(calling.tools[name].signatures) for name in names]
    torn = sum(tuple(sorted(group)) not in own for group, own in zip(groups, known, strict=True))
    return Parted(groups, torn)


def _place(one: Found) -> tuple[int, int]:
    return one[0].first, one[0].last


def _spread(calling: Calling, names: str, own: Sequence[Found], takers: int) -> list[list[Found]]:
    """Return the values of a field of each call that takes it; an empty list if that is unknown.

    One call alone has all that there are.
    """
    if takers == 1:
        return [list(own)]
    different: dict[str, list[Found]] = {}
    for one in own:
        different.setdefault(as_json(one[1]), []).append(one)
    each, field = list(different.values()), own[0][0].field
    for pattern in calling.patterns:
        if (pattern.names, pattern.field, pattern.values) == (names, field, len(each)):
            sure = pattern.share >= SURE
            return [each[i] if i >= 0 else [] for i in pattern.places] if sure else []
    if len(own) == takers:
        return [[one] for one in own]
    return [list(own)] * takers if field in calling.shared and len(each) == 1 else []


def _repeats(each: Sequence[Sequence[Found]]) -> bool:
    """Whether calls share a value."""
    values = [as_json(own[0][1]) for own in each if own]
    return len(set(values)) < len(values)


def _same(values: Sequence[Found]) -> bool:
    return len({as_json(value) for _, value in values}) == 1


def _runs(
    calling: Calling,
    names: Sequence[str],
    found: Sequence[Found],
    common: AbstractSet[int],
    words: Sequence[Word],
) -> list[Group] | None:
    """Cut values into runs, one for each call: the likeliest cut, None if there is none."""
    between = {word: (parted, times) for word, parted, times in calling.between}

    def gap_score(place: int, *, parts: bool) -> float:
        """Return how likely the words before a value part calls, or do not."""
        scores = []
        for word in _between(words, found[place - 1][0].last, found[place][0].first):
            parted, times = between.get(word, (0, 0))
            share = (parted + 0.5) / (times + 1)
            scores.append(math.log(share if parts else 1 - share))
        return sum(scores) / len(scores) if scores else 0.0

    def run_score(name: str, start: int, stop: int) -> float:
        group: dict[int, str] = {}
        tool = calling.tools[name]
        for span, value in found[start:stop]:
            if group.setdefault(span.field, as_json(value)) != as_json(value):
                return -math.inf
        if not set(group) <= set(tool.takes):
            return -math.inf
        signature = tuple(sorted({*group, *(common & set(tool.takes))}))
        total = sum(times for _, times in tool.signatures)
        score = math.log((dict(tool.signatures).get(signature, 0) + UNSEEN) / (total + 1))
        score += sum(gap_score(place, parts=False) for place in range(start + 1, stop))
        return score + (gap_score(start, parts=True) if 0 < start < stop else 0.0)

    best: dict[int, tuple[float, tuple[int, ...]]] = {0: (0.0, ())}
    for name in names:
        following: dict[int, tuple[float, tuple[int, ...]]] = {}
        for start, (score, cuts) in best.items():
            for stop in range(start, len(found) + 1):
                reached = score + run_score(name, start, stop)
                if reached > following.get(stop, (-math.inf, ()))[0]:
                    following[stop] = reached, (*cuts, stop)
        best = following
    if len(found) not in best:
        return None
    groups: list[Group] = []
    for start, stop in itertools.pairwise((0, *best[len(found)][1])):
        group: Group = {}
        for one in found[start:stop]:
            group.setdefault(one[0].field, []).append(one)
        groups.append(group)
    return groups


def names_in(type_value: str) -> list[str]:
    """Return the tools that a type names, given as JSON."""
    name = msgspec.json.decode(type_value) if type_value else None
    return name.split(BETWEEN) if isinstance(name, str) else []
