"""Finds bursts: exchanges on one matter, which have one vote together.

It reads inputs and their order alone, never an answer, so evidence may be counted before a label is
read.
"""

import re
from bisect import bisect_left
from collections.abc import Hashable, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import scipy

from openwheel.students.model import text_of
from openwheel.students.student import Inputs

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

SOON = 0.125
"""An exchange belongs to the burst of the like one before it if that came within this share of the
distance at which like exchanges come elsewhere in the window. In traffic without bursts about as
many of the exchanges lose their vote by chance, however many are alike."""

ALIKE = 0.4
"""Two texts are on one matter if they share this part of their words (Jaccard). It may be low:
where many texts share as much, a burst has to be denser to be one."""

NEAR = 100
"""Elsewhere is further away than this, or than a quarter of a short window; a burst in different
words is looked for within it."""

COMPARED = 300
"""Exchanges of the whole window by which it is told how common a text's like is."""

MOST_WORDS = 64
"""Of a longer text as many words are looked at, those with the smallest hashes."""

BLOCK = 512

_DIGITS = re.compile(r"\d+")
# A word, or one character of a script that is written without spaces.
_WORDS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+")


def bursts(inputs: Sequence[Inputs], variables: tuple[int, ...]) -> IntArray:
    """Return the burst of each exchange: the number of its first member, shape (n,).

    Exchanges are alike if their inputs are equal, equal but for digits, case and white space, or
    share many of their words. Like exchanges that follow one another much sooner than in the rest
    of the window are one burst. An input that comes again after a while begins another burst.

    Args:
        inputs: In order of arrival.
        variables: Which of the inputs are read.

    Examples:
        >>> rush = [("the lift is stuck, says Ann",), ("again the lift is stuck, says Bob",)]
        >>> rest = [(f"{a} {b} {c}",) for a in "abcdef" for b in "ghijkl" for c in "mnop"]
        >>> bursts([*rest[:9], *rush, *rest[9:]], (0,))[8:12].tolist()
        [8, 9, 9, 11]
    """
    exact = [" ".join(text_of(values, variables).split()) for values in inputs]
    plain = [_DIGITS.sub("0", text.casefold()) for text in exact]
    near = max(1, min(NEAR, len(exact) // 4))
    links = np.arange(len(exact))
    for keys in (exact, plain):
        links = np.minimum(links, _equal(keys, near))
    links = np.minimum(links, _similar(plain, near))
    # Every link points back, so that one pass in order finds the first member.
    first = links.copy()
    for i in range(len(first)):
        first[i] = first[links[i]] if links[i] < i else i
    return first


def _equal(keys: Sequence[Hashable], near: int) -> IntArray:
    """Return the latest exchange before each that has its key, if that was soon; else itself."""
    links = np.arange(len(keys))
    places: dict[Hashable, list[int]] = {}
    for i, key in enumerate(keys):
        places.setdefault(key, []).append(i)
    for members in places.values():
        for before, i in pairwise(members):
            low, high = max(i - near, 0), min(i + near + 1, len(keys))
            inside = bisect_left(members, high) - bisect_left(members, low)
            elsewhere = len(members) - inside
            if i - before < SOON * (len(keys) - (high - low)) / (elsewhere + 1):
                links[i] = before
    return links


def _similar(texts: Sequence[str], near: int) -> IntArray:
    """Return the latest exchange before each that shares its words, if soon; else itself."""
    links = np.arange(len(texts))
    if len(texts) < 2:
        return links
    words, sizes = _word_sets(texts)
    picked = np.sort(np.random.default_rng(0).permutation(len(texts))[:COMPARED])
    for start in range(0, len(texts), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(texts)))
        elsewhere = np.abs(rows[:, None] - picked) > near
        common = (_alike(words, sizes, rows, picked) & elsewhere).sum(1)
        distance = elsewhere.sum(1) / (common + 1)
        before = np.arange(max(0, start - near), rows[-1])
        row, column = np.nonzero(_alike(words, sizes, rows, before))
        gap = rows[row] - before[column]
        soon = (gap > 0) & (gap <= near) & (gap < SOON * distance[row])
        latest = np.full(len(rows), -1)
        np.maximum.at(latest, row[soon], before[column[soon]])
        links[rows] = np.where(latest >= 0, latest, rows)
    return links


def _word_sets(texts: Sequence[str]) -> "tuple[scipy.sparse.csr_matrix, FloatArray]":
    """Return which words each text has, as a matrix of ones, and how many."""
    index: dict[str, int] = {}
    columns: list[int] = []
    starts = [0]
    for text in texts:
        words = {index.setdefault(word, len(index)) for word in _WORDS.findall(text)}
        if len(words) > MOST_WORDS:
            # A fixed scramble of the numbers; which words it prefers does not matter.
            words = set(sorted(words, key=lambda word: word * 2654435761 % 2**32)[:MOST_WORDS])
        columns.extend(words)
        starts.append(len(columns))
    matrix = scipy.sparse.csr_matrix(
        (np.ones(len(columns), np.float32), columns, starts), shape=(len(texts), max(len(index), 1))
    )
    return matrix, np.diff(starts).astype(np.float64)


def _alike(
    words: "scipy.sparse.csr_matrix", sizes: FloatArray, rows: IntArray, columns: IntArray
) -> npt.NDArray[np.bool_]:
    """Return which of some texts share enough words with which others, shape (rows, others)."""
    shared = (words[rows] @ words[columns].T).toarray()
    union = sizes[rows][:, None] + sizes[columns][None] - shared
    return np.asarray((shared >= ALIKE * union) & (shared > 0))
