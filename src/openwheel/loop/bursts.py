"""Bursts: which exchanges are on one matter, so that they have one vote together.

It looks at inputs and their order alone, never at an answer, so that evidence may be counted by it
before a label is looked at.
"""

import re
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse

from openwheel.students.model import text_of
from openwheel.students.student import Inputs

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

SOON = 0.125
"""An exchange belongs to the burst of the like one before it if that came within this share of the
distance there would be if like exchanges were spread evenly. In traffic without bursts about as
many of the exchanges lose their vote by chance, however many are alike."""

ALIKE = 0.4
"""Two texts are on one matter if they share this part of their words (Jaccard). It may be low:
where many texts share as much, a burst has to be denser to be one."""

NEAR = 100
"""A burst in different words is looked for among this many exchanges before each."""

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
    share many of their words. Like exchanges that come much sooner than if they were spread evenly
    over the window are one burst; an input that comes back after a while begins another.

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
    links = np.arange(len(exact))
    for keys in (exact, plain):
        links = np.minimum(links, _equal(keys))
    links = np.minimum(links, _similar(plain))
    # Every link points back, so that one pass in order finds the first member.
    first = links.copy()
    for i in range(len(first)):
        first[i] = first[links[i]] if links[i] < i else i
    return first


def _equal(keys: Sequence[Hashable]) -> IntArray:
    """Return the latest exchange before each that has its key, if that was soon; else itself."""
    times, links = Counter(keys), np.arange(len(keys))
    latest: dict[Hashable, int] = {}
    for i, key in enumerate(keys):
        before = latest.get(key)
        if before is not None and (i - before) * times[key] < SOON * len(keys):
            links[i] = before
        latest[key] = i
    return links


def _similar(texts: Sequence[str]) -> IntArray:
    """Return the latest exchange before each that shares its words, if soon; else itself."""
    links = np.arange(len(texts))
    if len(texts) < 2:
        return links
    words, sizes = _word_sets(texts)
    picked = np.sort(np.random.default_rng(0).permutation(len(texts))[:COMPARED])
    for start in range(0, len(texts), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(texts)))
        # Itself is among those that were picked, or might have been: half a case in between.
        common = _alike(words, sizes, rows, picked).sum(1)
        expected = (len(picked) + 1) / (common + 0.5)
        before = np.arange(max(0, start - NEAR), rows[-1])
        near = sparse.coo_matrix(_alike(words, sizes, rows, before))
        for i, j in zip(rows[near.row], before[near.col], strict=True):
            distance = i - j
            if 0 < distance <= NEAR and distance < SOON * expected[i - start]:
                links[i] = j if links[i] == i else max(links[i], j)
    return links


def _word_sets(texts: Sequence[str]) -> tuple[sparse.csr_matrix, FloatArray]:
    """Return which words each text has, as a matrix of ones, and how many."""
    index: dict[str, int] = {}
    columns: list[int] = []
    starts = [0]
    for text in texts:
        found = {index.setdefault(word, len(index)) for word in _WORDS.findall(text)}
        if len(found) > MOST_WORDS:
            # A fixed scramble of the numbers; which words it prefers does not matter.
            found = set(sorted(found, key=lambda word: word * 2654435761 % 2**32)[:MOST_WORDS])
        columns.extend(found)
        starts.append(len(columns))
    matrix = sparse.csr_matrix(
        (np.ones(len(columns), np.float32), columns, starts), shape=(len(texts), max(len(index), 1))
    )
    return matrix, np.diff(starts).astype(np.float64)


def _alike(
    words: sparse.csr_matrix, sizes: FloatArray, rows: IntArray, others: IntArray
) -> npt.NDArray[np.bool_]:
    """Return which of some texts share enough words with which others, shape (rows, others)."""
    shared = (words[rows] @ words[others].T).toarray()
    union = sizes[rows][:, None] + sizes[others][None] - shared
    return np.asarray((shared >= ALIKE * union) & (shared > 0))
