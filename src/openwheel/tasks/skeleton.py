"""Finds the constant runs of tokens that a group of texts has in common, and the gaps between.

Knows nothing of prompts and answers: texts come as arrays of token ids.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from openwheel.tasks.tokens import MASK

Ids = NDArray[np.int64]
# A gap where the texts differ; between two gaps, and around them, are runs of token ids.
Run = list[int]

TOLERANCE = 0.02  # the share of texts that may lack a constant and still not refute it
_MOST_RUNS = 48
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


class Marks:
    """The token ids that may stand alone as a constant within a text.

    Attributes:
        word: Has a letter or digit.
        line: Is a newline.
        delimiter: Ends or opens a field: newline, colon, bracket, quote and the like.
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        bare = [token.strip(" \t\r") for token in tokens]
        self.word = np.array([any(c.isalnum() for c in token) for token in bare])
        self.line = np.array([token == "\n" for token in bare])
        self.delimiter = np.array(
            [
                len(token) == 1 and token in "\n:=|<>[]{}()`\"'#*~：；→「」『』【】“”«»"
                for token in bare
            ]
        )


def common_runs(texts: Sequence[Ids], repeats: Sequence[int], marks: Marks) -> list[Run]:
    """Return the constant runs of some texts: first, ..., last, with a gap between each two.

    The first run starts the text and the last one ends it; either may be empty. A single run
    is a text without gaps. ``repeats`` says how often each distinct text occurred.
    """
    return _Runs(marks, len(texts)).gap(list(texts), list(repeats), last=True, split=True)


class _Runs:
    def __init__(self, marks: Marks, n: int) -> None:
        self.marks = marks
        self.need = n - int(TOLERANCE * n)
        self.runs = 0

    def gap(self, texts: list[Ids], repeats: list[int], *, last: bool, split: bool) -> list[Run]:
        """Return the runs of texts that all fit the runs around them."""
        start = self._common_prefix(texts)
        if start is None:
            return [[], []]
        first = start.tolist()
        fitting = [i for i, text in enumerate(texts) if _starts(text, start)]
        texts = [texts[i][len(start) :] for i in fitting]
        repeats = [repeats[i] for i in fitting]
        if sum(1 for text in texts if not len(text)) >= self.need:
            return [first]
        end = self._common_prefix([text[::-1] for text in texts])
        if end is None:
            return [first, []]
        end = end[::-1]
        fitting = [i for i, text in enumerate(texts) if _ends(text, end)]
        texts = [texts[i][: len(texts[i]) - len(end)] for i in fitting]
        repeats = [repeats[i] for i in fitting]
        if sum(1 for text in texts if not len(text)) >= self.need:
            return [first + end.tolist()]
        inner = self._split(texts, repeats, last=last) if split else None
        if inner is None:
            return [first, end.tolist()]
        return [first + inner[0], *inner[1:-1], inner[-1] + end.tolist()]

    def _common_prefix(self, texts: list[Ids]) -> Ids | None:
        """Return the longest prefix of enough texts; None if too few texts are left.

        Punctuation at its end that some of the texts lack is left off, since values are often, but
        not always, in brackets or quotes.
        """
        outliers = len(texts) - self.need
        if outliers < 0:
            return None
        best = texts[0][:0]
        for reference in (texts[0], texts[len(texts) // 2], texts[-1]):
            lengths = sorted(_shared(text, reference) for text in texts)
            length = lengths[outliers]
            word = self.marks.word[reference[:length]]
            while length and not word[length - 1] and length - 1 in lengths[:outliers]:
                length -= 1
            if length > len(best):
                best = reference[:length]
        return best

    def _split(self, texts: list[Ids], repeats: list[int], *, last: bool) -> list[Run] | None:
        """Split at a constant run within the gap, and go on left and right of it."""
        self.runs += 1
        if self.runs > _MOST_RUNS:
            return None
        # Texts from a small set, each seen repeatedly, are the values of one variable and share
        # only their language, unless they are combinations of smaller sets.
        closed = sum(repeats) > 1.67 * len({text.tobytes() for text in texts})
        anchor = self._anchor(texts, last=last, independent=closed)
        if anchor is None:
            return None
        gram, from_end = anchor
        cuts = [_cut(text, gram, from_end) for text in texts]
        lefts = [cut[0] for cut in cuts if cut]
        rights = [cut[1] for cut in cuts if cut]
        cut_repeats = [repeat for repeat, cut in zip(repeats, cuts, strict=True) if cut]
        head = self.gap(lefts, cut_repeats, last=False, split=not from_end)
        right = self.gap(rights, cut_repeats, last=last, split=True)
        return [*head[:-1], head[-1] + gram.tolist() + right[0], *right[1:]]

    def _anchor(
        self, texts: list[Ids], *, last: bool, independent: bool
    ) -> tuple[Ids, bool] | None:
        """Return a constant run, and whether it repeats, so that its last occurrence counts.

        Runs that separate fields are preferred: words between words may be the input's own.
        """
        worded: tuple[Ids, bool] | None = None
        for n in (6, 4, 3, 2, 1):
            for gram, repeats in self._constants(texts, n, last=last):
                if bool(self.marks.delimiter[gram].any()):
                    return gram, repeats
                if worded is None and (not independent or _independent(texts, gram)):
                    worded = gram, repeats
        return worded

    def _constants(self, texts: list[Ids], n: int, *, last: bool) -> list[tuple[Ids, bool]]:
        """Return the runs of ``n`` tokens that stand in all texts, the surest first."""
        long = [text for text in texts if len(text) >= n]
        if len(long) < self.need:
            return []
        shortest = min(long, key=len)
        hashes, positions = _grams(shortest, n)
        for other in (long[len(long) // 2], long[-1]):
            shared = np.isin(hashes, _grams(other, n)[0])
            if shared.any():
                hashes, positions = hashes[shared], positions[shared]
        if not len(hashes):
            return []
        distinct = np.unique(hashes)
        counts = _occurrences(long, distinct, n)
        ranked: list[tuple[float, float, int]] = []
        shown = (counts > 0).sum(axis=0)
        columns = np.searchsorted(distinct, hashes)
        for position, column in zip(positions.tolist(), columns.tolist(), strict=True):
            gram = shortest[position : position + n]
            if int(shown[column]) < self.need or not self._structural(gram):
                continue
            present = counts[:, column]
            usual, times = Counter(present[present > 0].tolist()).most_common(1)[0]
            if times >= 0.95 * len(long) and (usual == 1 or n >= 2):
                ranked.append((3.0 if usual == 1 else 2.0, float(shown[column]), -position))
            elif last and n == 3 and self._field(gram):
                # Repeated as often as there are examples: the last one is the input's.
                latest = float(np.mean([_find(text, gram, True) for text in long]))
                ranked.append((1.0, latest, -position))
        ranked.sort(reverse=True)
        return [(shortest[-at : n - at], rank == 1.0) for rank, _, at in ranked]

    def _structural(self, gram: Ids) -> bool:
        """Whether a run may be a template's rather than natural language's."""
        word, delimiter = self.marks.word[gram], self.marks.delimiter[gram]
        if len(gram) == 1:
            return bool(word[0]) or bool(delimiter[0])
        return bool(word.any()) or bool(delimiter.any())

    def _field(self, gram: Ids) -> bool:
        """Whether a run is the name of a field on a line of its own, as in ``Input:``."""
        return (
            bool(self.marks.line[gram].any())
            and bool(self.marks.word[gram].any())
            and bool(self.marks.delimiter[gram][1:].any())
        )


def _independent(texts: list[Ids], gram: Ids) -> bool:
    """Return whether texts freely combine the parts left and right of a constant."""
    cuts = [cut for text in texts if (cut := _cut(text, gram, False)) is not None]
    pairs = {(before.tobytes(), right.tobytes()) for before, right in cuts}
    most = max(len({cut[side].tobytes() for cut in cuts}) for side in (0, 1))
    return len(pairs) >= 2.5 * most


def _occurrences(texts: list[Ids], grams: NDArray[np.uint64], n: int) -> NDArray[np.int32]:
    """Return how often each wanted run of ``n`` tokens (a column) occurs in each text (a row)."""
    counts = np.zeros((len(texts), len(grams)), dtype=np.int32)
    for row, text in enumerate(texts):
        hashes = _grams(text, n)[0]
        at = np.searchsorted(grams, hashes)
        at[at == len(grams)] = 0
        counts[row] = np.bincount(at[grams[at] == hashes], minlength=len(grams))
    return counts


def _cut(text: Ids, gram: Ids, from_end: bool) -> tuple[Ids, Ids] | None:
    """Return the parts left and right of a run, None if the text lacks it."""
    at = _find(text, gram, from_end)
    return None if at < 0 else (text[:at], text[at + len(gram) :])


def _shared(text: Ids, reference: Ids) -> int:
    length = min(len(text), len(reference))
    different = text[:length] != reference[:length]
    first = int(different.argmax()) if length else 0
    return first if length and different[first] else length


def _starts(text: Ids, start: Ids) -> bool:
    return len(text) >= len(start) and bool((text[: len(start)] == start).all())


def _ends(text: Ids, end: Ids) -> bool:
    return len(text) >= len(end) and bool((text[len(text) - len(end) :] == end).all())


def _grams(text: Ids, n: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Return the hashes and places of all runs of ``n`` tokens without a volatile one."""
    size = len(text) - n + 1
    if size <= 0:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    hashes = np.zeros(size, np.uint64)
    volatile = np.zeros(size, bool)
    unsigned = text.astype(np.uint64)
    masked = text == MASK
    for k in range(n):
        hashes = (hashes ^ unsigned[k : k + size]) * _MULTIPLIER
        hashes ^= hashes >> np.uint64(29)
        volatile |= masked[k : k + size]
    steady = np.flatnonzero(~volatile)
    return hashes[steady], steady


def _find(text: Ids, gram: Ids, from_end: bool) -> int:
    size = len(text) - len(gram) + 1
    if size <= 0:
        return -1
    fits = text[:size] == gram[0]
    for k in range(1, len(gram)):
        fits &= text[k : k + size] == gram[k]
    positions = np.flatnonzero(fits)
    if not len(positions):
        return -1
    return int(positions[-1] if from_end else positions[0])
