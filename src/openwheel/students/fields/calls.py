"""Several calls of tools in one answer: which of them the values of an input belong to."""

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from openwheel.students.fields.align import Aligned, TagSpan, as_otherwise
from openwheel.students.fields.features import Span, word_hash
from openwheel.students.fields.form import Read, RecordForm, as_json, flat_of
from openwheel.students.fields.render import Value
from openwheel.students.fields.words import Word
from openwheel.tasks.forms.call import BETWEEN
from openwheel.tasks.forms.record import Path

Found = tuple[TagSpan, Value]
Group = dict[int, list[Found]]
"""The values of one call, by their fields."""

MOST_GAP = 6
"""Words between two values that are looked at, the last ones."""

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


class Calling(msgspec.Struct, frozen=True):
    """How a task's calls are told apart where one answer has several.

    Attributes:
        tools: By name.
        shared: Fields whose one value in an input is that of all calls that take it.
        between: Hashes of words between values of an input, with how often they parted two calls,
            and how often they stood between values at all.
    """

    tools: dict[str, Tool]
    shared: tuple[int, ...] = ()
    between: tuple[tuple[int, int, int], ...] = ()


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
    takes: dict[str, set[int]] = defaultdict(set)
    signatures: dict[str, Counter[tuple[int, ...]]] = defaultdict(Counter)
    alike: Counter[int] = Counter()
    alone: Counter[int] = Counter()
    parted: Counter[int] = Counter()
    there: Counter[int] = Counter()
    flat = [[flat_of(call) for call in each] for each in calls]
    for own in itertools.chain.from_iterable(flat):
        name = str(own.get(("name",)))
        takes[name] |= {index[path] for path in own if path in index}
        signatures[name][tuple(sorted(_values(form, index, own)))] += 1
    for each, one, found in zip(flat, reads, aligned, strict=True):
        if len(each) == 1:
            continue
        values = [_values(form, index, own) for own in each]
        names = [str(own.get(("name",))) for own in each]
        for field in set().union(*values):
            takers = [i for i, name in enumerate(names) if field in takes[name]]
            own_values = [values[i][field] for i in takers if field in values[i]]
            if len(takers) > 1 and len({as_json(value) for value in own_values}) == 1:
                alone[field] += 1
                alike[field] += len(own_values) == len(takers)
        for gap, parts in _gaps(form, one, found.spans, values):
            there.update(gap)
            parted.update(gap if parts else ())
    return Calling(
        {
            name: Tool(tuple(sorted(fields)), tuple(signatures[name].items()))
            for name, fields in takes.items()
        },
        tuple(sorted(field for field in alone if 2 * alike[field] > alone[field])),
        tuple((word, parted[word], times) for word, times in there.items() if times > 1),
    )


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
        torn: How many calls have arguments in a set that no call of training had.
    """

    groups: list[Group]
    torn: int


def part(
    calling: Calling, names: Sequence[str], found: Sequence[Found], words: Sequence[Word]
) -> Parted | None:
    """Part the values of an input among calls, None if that cannot be done.

    Where each field has as many values as calls take it, or one for all, the first value is that of
    the first call. Else the values are cut into one run for each call, so that calls have arguments
    as in training, and words stand between the runs as there.

    Args:
        calling: What was learned.
        names: Of the tools called, in order.
        found: The values in the order of the input.
        words: The words of the input.
    """
    tools = [calling.tools.get(name) for name in names]
    takers: dict[int, list[int]] = defaultdict(list)
    for i, tool in enumerate(tools):
        for field in tool.takes if tool else ():
            takers[field].append(i)
    by_field: dict[int, list[Found]] = defaultdict(list)
    for one in found:
        by_field[one[0].field].append(one)
    if any(tool is None for tool in tools) or not all(field in takers for field in by_field):
        return None
    groups: list[Group] = [{} for _ in names]
    runs = False
    for field, values in by_field.items():
        if len(values) == len(takers[field]):
            for i, value in zip(takers[field], values, strict=True):
                groups[i][field] = [value]
        elif _same(values) and field in calling.shared:
            for i in takers[field]:
                groups[i][field] = list(values)
        else:
            runs = True
    if runs:
        common = {
            field: values
            for field, values in by_field.items()
            if _same(values) and field in calling.shared and len(takers[field]) > 1
        }
        own = [one for one in found if one[0].field not in common]
        cut = _runs(calling, names, own, {*common}, words)
        if cut is None:
            return None
        groups = [
            run | {field: values for field, values in common.items() if i in takers[field]}
            for i, run in enumerate(cut)
        ]
    known = [dict(calling.tools[name].signatures) for name in names]
    torn = sum(tuple(sorted(group)) not in own for group, own in zip(groups, known, strict=True))
    return Parted(groups, torn)


def _same(values: Sequence[Found]) -> bool:
    return len({as_json(value) for _, value in values}) == 1


def _runs(
    calling: Calling,
    names: Sequence[str],
    found: Sequence[Found],
    common: set[int],
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
    """Return the tools that a type names, given as JSON; one or none is an empty list."""
    name = msgspec.json.decode(type_value) if type_value else None
    return name.split(BETWEEN) if isinstance(name, str) and BETWEEN in name else []
