"""Counts word and character n-grams of many texts at once, as hashed keys, without a Python loop.

A text is two strings: its whitespace-separated pieces for character n-grams (which never cross a
space, so they stay inside a word and mark its ends), and its words for word n-grams. All texts of
a batch are laid in one array of code points. With ``S[i] = sum_{k<i} c[k] B^k (mod 2^64)`` and B
odd, the hash of any substring is ``(S[j] - S[i]) B^-i``, so every n-gram of every text costs a
few vector operations (Karp and Rabin, 1987, "Efficient randomized pattern-matching algorithms").
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

KeyArray = npt.NDArray[np.uint32]

CHARACTER_LENGTHS = (2, 3, 4, 5)
LONGEST_TEXT = 50_000
"""Characters of a text that are looked at: what comes after costs time and adds little."""

WORD_BLOCK = np.uint32(1 << 31)
"""Keys of word n-grams have this bit set, keys of character n-grams do not."""

_BASE = 0x9E3779B97F4A7C15
_INVERSE = pow(_BASE, -1, 1 << 64)
_WORDS = re.compile(r"\w+")
_SPACE, _END = ord(" "), ord("\n")


def ngram_counts(texts: Sequence[str]) -> tuple[npt.NDArray[np.int64], KeyArray, KeyArray]:
    """Count the n-grams of each text.

    Args:
        texts: The texts of one batch; memory is about 200 bytes for each of their characters.

    Returns:
        Row numbers, keys and counts, one entry for each distinct n-gram of each text, sorted by
        row and then by key.
    """
    lowered = [text[:LONGEST_TEXT].lower() for text in texts]
    pieces = [" ".join(text.split()) for text in lowered]
    words = [" ".join(_WORDS.findall(text)) for text in lowered]
    layout = _Layout(pieces, words)
    combined = np.concatenate((layout.character_ngrams(), layout.word_ngrams()))
    combined.sort()
    if not len(combined):
        empty = np.zeros(0, np.uint32)
        return np.zeros(0, np.int64), empty, empty
    starts = np.flatnonzero(np.concatenate(([True], combined[1:] != combined[:-1])))
    counts = np.diff(np.append(starts, len(combined))).astype(np.uint32)
    distinct = combined[starts]
    rows = (distinct >> np.uint64(32)).astype(np.int64)
    return rows, (distinct & np.uint64(0xFFFFFFFF)).astype(np.uint32), counts


class _Layout:
    """The texts of a batch in one array, each as `` text `` with a newline behind it.

    First the pieces of all texts, then the words of all texts.
    """

    def __init__(self, pieces: list[str], words: list[str]) -> None:
        joined = "".join([f" {text} \n" if text else "\n" for text in pieces])
        self.texts, self.middle = len(pieces), len(joined)
        joined += "".join([f" {text} \n" if text else "\n" for text in words])
        codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
        size = len(codes)
        powers = _powers(_BASE, size)
        self.inverse = _powers(_INVERSE, size)
        self.sums = np.zeros(size + 1, np.uint64)
        np.cumsum((codes + np.uint64(1)) * powers, out=self.sums[1:])
        self.is_space = codes == _SPACE
        self.spaces = np.zeros(self.middle + 1, np.int32)
        np.cumsum(self.is_space[: self.middle], out=self.spaces[1:])
        self.ends = np.zeros(size + 1, np.int32)
        np.cumsum(codes == _END, out=self.ends[1:])

    def character_ngrams(self) -> npt.NDArray[np.uint64]:
        """Return row << 32 | key of every n-gram of characters that stays inside a piece."""
        size, starts, lengths = self.middle, [], []
        for length in CHARACTER_LENGTHS:
            if size >= length:
                inner = self.spaces[length - 1 : size] - self.spaces[1 : size - length + 2]
                across = self.ends[length : size + 1] - self.ends[: size - length + 1]
                found = ((inner | across) == 0).nonzero()[0]
                starts.append(found)
                lengths.append(np.full(len(found), length))
        if not starts:
            return np.zeros(0, np.uint64)
        start, length_of = np.concatenate(starts), np.concatenate(lengths)
        return self._keys(start, start + length_of, length_of.astype(np.uint64))

    def word_ngrams(self) -> npt.NDArray[np.uint64]:
        """Return row << 32 | key of every word and every pair of neighbouring words."""
        bounds = self.is_space[self.middle :].nonzero()[0] + self.middle
        start = np.concatenate((bounds[:-1], bounds[:-2]))
        stop = np.concatenate((bounds[1:], bounds[2:])) + 1
        inside = self.ends[stop] == self.ends[start]
        keys = self._keys(start[inside], stop[inside], np.uint64(16)) | np.uint64(WORD_BLOCK)
        return keys - np.uint64(self.texts << 32)

    def _keys(self, start: Any, stop: Any, kind: Any) -> npt.NDArray[np.uint64]:
        """Return row << 32 | key of the substrings from ``start`` to ``stop``."""
        hashes = (self.sums[stop] - self.sums[start]) * self.inverse[start]
        # The finalizer of SplitMix64 (Steele et al., 2014): the sums alone mix only upwards.
        hashes = (hashes ^ kind) * np.uint64(0xBF58476D1CE4E5B9)
        hashes ^= hashes >> np.uint64(27)
        hashes *= np.uint64(0x94D049BB133111EB)
        rows = self.ends[start].astype(np.uint64)
        return np.asarray((hashes >> np.uint64(33)) | (rows << np.uint64(32)), np.uint64)


@lru_cache(maxsize=64)
def _table(base: int, size: int) -> npt.NDArray[np.uint64]:
    table = np.full(size, base, np.uint64)
    table[0] = 1
    np.multiply.accumulate(table, out=table)
    table.flags.writeable = False
    return table


def _powers(base: int, size: int) -> npt.NDArray[np.uint64]:
    """Return ``base ** 0, ..., base ** (size - 1)`` modulo 2^64, cut from a cached table."""
    return _table(base, max(1024, 1 << (size - 1).bit_length()))[:size]
