"""Layouts of inputs, by their labels and fixed lines: each is a slice of a task's traffic.

A record is read off a form, a mail or a log line, and one layout among several may behave otherwise
than the rest. Which layouts there are is found in training inputs alone.
"""

import re
from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import msgspec

MOST_CHARACTERS = 10_000
"""Characters of an input that are looked at: a layout shows at its beginning."""

_LABEL = re.compile(
    r"(?:^|[\n;|,{\t])[^\w\n]*?([^\W\d_][^\n:=;|,{}\"]{0,30}?)[\"']?\s*[:=](?=\s|[\"'\[{])"
)
_DIGITS = re.compile(r"\d+")

FEWEST_INPUTS = 60
FEWEST_SHARE = 0.01
"""A label or line of fewer inputs is no part of a layout, and a layout with fewer is not known."""

FEWEST_MARKS = 3
"""Labels and lines of a layout; an input with fewer has none."""

ALIKE = 0.5
"""Share of the labels and lines of either that an input has in common with its layout."""

MOST_LAYOUTS = 20
MOST_UNKNOWN = 0.03
"""Where more training inputs are of no layout, layouts do not tell inputs apart."""

STRANGE = 4
"""Labels of an input, more than half of them of no layout, that make it one of an unknown layout
where inputs without a layout are known."""

PLAIN = "no labels"
UNKNOWN = "another layout"


class Layout(msgspec.Struct, frozen=True):
    """A layout: its name for people, and the labels and lines that it is told by."""

    name: str
    marks: tuple[str, ...] = ()


def marks_of(text: str) -> set[str]:
    r"""Return the labels and the lines of a text, without their digits and in one case.

    >>> sorted(marks_of("Invoice No: 12\nTotal = 3"))
    ['invoice no:', 'total:']
    """
    text = text[:MOST_CHARACTERS]
    marks = {f"{_plain(found[1])}:" for found in _LABEL.finditer(text)}
    lines = [_plain(line) for line in text.split("\n")] if "\n" in text else []
    # A line with a label in it is told by that.
    return marks | {line for line in lines if line and ":" not in line and "=" not in line}


def _plain(text: str) -> str:
    return " ".join(_DIGITS.sub("0", text.casefold()).split())


def layout_of(text: str, layouts: Sequence[Layout]) -> str:
    """Return the name of a text's layout, `UNKNOWN` if it has none of these."""
    return _nearest(marks_of(text), layouts, _known(layouts))


def _known(layouts: Sequence[Layout]) -> set[str]:
    return {mark for layout in layouts for mark in layout.marks}


def _nearest(marks: AbstractSet[str], layouts: Sequence[Layout], known: AbstractSet[str]) -> str:
    labels = {mark for mark in marks if mark.endswith(":")}
    own = marks & known
    # Lines differ from input to input; labels that no layout has are of another one.
    strange = labels - known
    best, most = UNKNOWN, ALIKE
    for layout in layouts:
        if not layout.marks:
            if len(own) < FEWEST_MARKS and not len(strange) >= max(STRANGE, len(own) + 1):
                return layout.name
            continue
        there = set(layout.marks)
        share = len(own & there) / len(own | there | strange)
        if share >= most:
            best, most = layout.name, share
    return best


def find_layouts(texts: Sequence[str]) -> tuple[Layout, ...]:
    """Return the layouts of training inputs, none where they are not told apart by layout.

    The most frequent sets of labels and lines found a layout each, unless they are like one that is
    already there.
    """
    if len(texts) < FEWEST_INPUTS:
        return ()
    marks = [marks_of(text) for text in texts]
    counts = Counter(mark for own in marks for mark in own)
    fewest = max(FEWEST_SHARE * len(texts), 5)
    known = {mark for mark, times in counts.items() if times >= fewest}
    sets: Counter[tuple[str, ...]] = Counter()
    for own in marks:
        kept = tuple(sorted(own & known))
        sets[kept if len(kept) >= FEWEST_MARKS else ()] += 1
    layouts: list[Layout] = []
    for own_marks, _ in sorted(sets.items(), key=lambda item: (-item[1], item[0])):
        alike = _nearest(set(own_marks), layouts, known) if layouts else UNKNOWN
        if alike == UNKNOWN and len(layouts) < MOST_LAYOUTS:
            layouts.append(Layout(str(len(layouts)), own_marks))
    told = Counter(_nearest(own, layouts, _known(layouts)) for own in marks)
    layouts = [layout for layout in layouts if told[layout.name] >= fewest]
    told = Counter(_nearest(own, layouts, _known(layouts)) for own in marks)
    if told[UNKNOWN] > MOST_UNKNOWN * len(texts) or not any(layout.marks for layout in layouts):
        return ()
    return _named(layouts)


def _named(layouts: Sequence[Layout]) -> tuple[Layout, ...]:
    """Return layouts with names that tell them apart: the marks that fewest others have."""
    counts = Counter(mark for layout in layouts for mark in layout.marks)
    named: list[Layout] = []
    taken: set[str] = set()
    for layout in layouts:
        rare = sorted(layout.marks, key=lambda mark: (counts[mark], mark))[:3]
        name = ", ".join(mark.rstrip(":") for mark in rare) or PLAIN
        while name in taken:
            name += " "
        taken.add(name)
        named.append(Layout(name, layout.marks))
    return tuple(named)
