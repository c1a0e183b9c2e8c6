"""Finds the templates that a prompt may fit by the starts and ends of its texts."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Generic, TypeVar

from openwheel.tasks.template import Part, Parts, Template

T = TypeVar("T")

FEW: Final = 4
"""So many templates are tried one by one: looking them up takes longer."""


class Starts:
    """Finds those of some texts that a text starts with.

    The texts are sorted, each with its longest prefix among them. A prefix comes before a text in
    that order, and is a prefix of all texts between. So one binary search finds the longest prefix,
    which leads to the others.

    >>> Starts(["Sort: ", "Sort", "", "Sum"]).of("Sort: a, b")
    ['Sort: ', 'Sort', '']
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = sorted(set(texts))
        self.longest = max(map(len, self._texts), default=0)
        self._shorter: list[int] = []
        open_: list[int] = []
        for i, text in enumerate(self._texts):
            while open_ and not text.startswith(self._texts[open_[-1]]):
                open_.pop()
            self._shorter.append(open_[-1] if open_ else -1)
            open_.append(i)

    def of(self, text: str) -> list[str]:
        """Return the texts that a text starts with, the longest first."""
        at = bisect_right(self._texts, text) - 1
        while at >= 0 and not text.startswith(self._texts[at]):
            at = self._shorter[at]
        texts = []
        while at >= 0:
            texts.append(self._texts[at])
            at = self._shorter[at]
        return texts


class TemplateIndex(Generic[T]):
    """Finds the templates whose system text and message start and end like a prompt's.

    Args:
        entries: Templates, each with what it stands for; those of one `Index` share tools and
            response format.
        depth: How many of the four texts' ends were told apart before.
    """

    def __init__(self, entries: Sequence[tuple[T, Template]], depth: int = 0) -> None:
        self._entries = entries
        self._depth = depth
        self._whole: dict[str, TemplateIndex[T]] = {}
        self._parts: dict[str, TemplateIndex[T]] = {}
        self._leaf = len(entries) <= FEW or depth == len(_LEVELS)
        if self._leaf:
            return
        number, end = _LEVELS[depth]
        whole: dict[str, list[tuple[T, Template]]] = {}
        parts: dict[str, list[tuple[T, Template]]] = {}
        for entry in entries:
            part = entry[1].parts[number]
            group = parts if part.variables else whole
            group.setdefault(end(part), []).append(entry)
        self._whole = {text: TemplateIndex(group, depth + 1) for text, group in whole.items()}
        self._parts = {text: TemplateIndex(group, depth + 1) for text, group in parts.items()}
        self._starts = Starts(self._parts)

    def candidates(self, parts: Parts) -> list[tuple[T, Template]]:
        """Return the entries that may fit a prompt of these parts, in no order."""
        if self._leaf:
            return list(self._entries)
        number, end = _LEVELS[self._depth]
        text = parts[number]
        entries: list[tuple[T, Template]] = []
        backwards = end is _end
        if self._whole:
            deeper = self._whole.get(text[::-1] if backwards else text)
            if deeper is not None:
                entries += deeper.candidates(parts)
        if self._parts:
            longest = self._starts.longest
            edge = text[: -longest - 1 : -1] if backwards else text[:longest]
            for start in self._starts.of(edge):
                entries += self._parts[start].candidates(parts)
        return entries


def _start(part: Part) -> str:
    return part.literals[0]


def _end(part: Part) -> str:
    return part.literals[-1][::-1]


_LEVELS: Final[tuple[tuple[int, Callable[[Part], str]], ...]] = (
    (0, _start),
    (2, _start),
    (2, _end),
    (0, _end),
)
"""The part that a level looks at, and which end of it."""
