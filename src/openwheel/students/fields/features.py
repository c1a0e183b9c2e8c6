"""What a tagger looks at: words within two, affixes, shapes, the record's type, values, clusters.

All are hashed to 64 bits by vector operations, so that a student keeps no text of its training.
"""

import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy

KeyArray = npt.NDArray[np.uint64]
IntArray = npt.NDArray[np.int64]

FEWEST = 2
"""A feature that one word of all training alone has cannot carry over to another."""

LONGEST_VALUE = 8
"""Words of the longest value that is looked up among those of training."""

AT_ONCE = 20_000
"""Words whose features are hashed at once: bounds memory."""

_ONE, _TWO, _THREE = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B1))
_SHIFT = np.uint64(29)
_MASK = (1 << 64) - 1

# Columns of a word; a 0 says that there is nothing.
_COLUMNS = ("word", "shape", "p1", "p2", "p3", "s1", "s2", "s3", "s4", "capital")
_OWN = {name: i for i, name in enumerate((*_COLUMNS, "type", "new", "wide", "narrow"))}
_PAD = 2
_TEMPLATES: tuple[tuple[str, int, str, int], ...] = (
    *(("word", offset, "", 0) for offset in (0, -1, 1, -2, 2)),
    ("word", -1, "word", 0),
    ("word", 0, "word", 1),
    ("word", -1, "word", 1),
    ("word", -2, "word", -1),
    ("word", 1, "word", 2),
    ("shape", 0, "", 0),
    ("shape", -1, "shape", 0),
    ("shape", 0, "shape", 1),
    *((name, 0, "", 0) for name in ("p1", "p2", "p3", "s1", "s2", "s3", "s4", "capital")),
    ("type", 0, "", 0),
    *(("type", 0, "word", offset) for offset in (0, -1, 1)),
    ("new", 0, "", 0),
    ("new", 0, "word", -1),
    ("new", 0, "word", 1),
    ("new", -1, "", 0),
    ("new", 1, "", 0),
    *((name, offset, "", 0) for name in ("wide", "narrow") for offset in (0, -1, 1, -2, 2)),
)
_SLOTS = np.arange(1, len(_TEMPLATES) + 1, dtype=np.uint64)[:, None] * _THREE
_BIAS = 1


def mixed(a: Any, b: Any, slot: Any) -> Any:
    """Return hashes of pairs with what they are pairs of, as uint64 arrays."""
    key = (a ^ slot) * _ONE
    key ^= key >> _SHIFT
    key = (key + b) * _TWO
    return key ^ (key >> _SHIFT)


def hash_of(text: str) -> int:
    """Return a hash of a text, the same in every process; never 0."""
    data = text.encode("utf-8", "surrogatepass")
    return (zlib.crc32(data) << 32 | zlib.crc32(data, 0xFFFF)) or 1


def shape_of(text: str) -> str:
    """Return a word's shape: ``Xx`` for a name, ``dd-dd`` for numbers with a dash."""
    shape = re.sub(r"[^\W\d_]", lambda found: "X" if found[0].isupper() else "x", text)
    return re.sub(r"(.)\1{2,}", r"\1\1", re.sub(r"\d", "d", shape))


@lru_cache(maxsize=100_000)
def _columns(text: str) -> tuple[int, ...]:
    low = text.lower()
    return (
        hash_of(low),
        hash_of(shape_of(text)),
        *(hash_of("p" + low[:n]) for n in (1, 2, 3)),
        *(hash_of("s" + low[-n:]) for n in (1, 2, 3, 4)),
        int(text[:1].isupper()),
    )


def word_hash(text: str) -> int:
    """Return the hash of a word in any case."""
    return _columns(text)[0]


def phrase_hash(words: Iterable[int]) -> int:
    """Return the hash of words in a row, from their hashes."""
    key = 0
    for word in words:
        key = (key * 0x9E3779B97F4A7C15 + word) & _MASK
    return key


class Memory(NamedTuple):
    """What training knows of words and values, by hashes.

    Attributes:
        phrases: Fields that a phrase was a value of, with how often, by the phrase's hash.
        parts: Fields that a word was part of a value of, the same.
        words: How often each word came.
        clusters: A wide and a narrow cluster of each word that has one.
        longest: Words of the longest value, at most `LONGEST_VALUE`.
    """

    phrases: Mapping[int, Mapping[int, int]]
    parts: Mapping[int, Mapping[int, int]]
    words: Mapping[int, int]
    clusters: Mapping[int, tuple[int, int]]
    longest: int


Span = tuple[int, int, int]
"""A field's index, and the first and the last word of a value of it."""


def remember(
    texts: Sequence[Sequence[str]],
    spans: Sequence[Sequence[Span]],
    clusters: Mapping[int, tuple[int, int]],
) -> Memory:
    """Return what is known of words and values of training texts."""
    phrases: dict[int, Counter[int]] = defaultdict(Counter)
    parts: dict[int, Counter[int]] = defaultdict(Counter)
    words: Counter[int] = Counter()
    longest = 1
    for text, found in zip(texts, spans, strict=True):
        hashes = [word_hash(word) for word in text]
        words.update(hashes)
        for field, first, last in found:
            longest = max(longest, last - first + 1)
            phrases[phrase_hash(hashes[first : last + 1])][field] += 1
            for word in set(hashes[first : last + 1]):
                parts[word][field] += 1
    return Memory(phrases, parts, words, clusters, min(longest, LONGEST_VALUE))


class Known(NamedTuple):
    """What memory says of one text's words.

    Attributes:
        places: Word of each finding.
        codes: What was found there: a field, and whether the word starts or goes on with a value.
        new: Which words training never had, shape (words,).
    """

    places: list[int]
    codes: list[int]
    new: list[bool]


def look_up(
    memory: Memory, hashes: Sequence[int], own: Sequence[Span] = (), *, seen: bool
) -> Known:
    """Return what memory says of a text.

    Args:
        memory: What is known.
        hashes: Of the text's words.
        own: The spans of this very text, where memory was made of it too: they do not count.
        seen: Whether it was.
    """
    mine: Counter[tuple[int, int]] = Counter()
    part: Counter[tuple[int, int]] = Counter()
    for field, first, last in own:
        mine[phrase_hash(hashes[first : last + 1]), field] += 1
        for word in set(hashes[first : last + 1]):
            part[word, field] += 1
    matches: dict[int, list[tuple[int, int]]] = {}
    n = len(hashes)
    for first in range(n):
        key = 0
        for last in range(first, min(n, first + memory.longest)):
            key = (key * 0x9E3779B97F4A7C15 + hashes[last]) & _MASK
            for field, times in memory.phrases.get(key, {}).items():
                if times > mine[key, field]:
                    matches.setdefault(field, []).append((first, last))
    places, codes = _longest_first(matches)
    for place, word in enumerate(hashes):
        for field, times in memory.parts.get(word, {}).items():
            if times > part[word, field]:
                places.append(place)
                codes.append(field * 8 + 7)
    own_count = Counter(hashes) if seen else Counter[int]()
    new = [memory.words.get(word, 0) <= own_count[word] for word in hashes]
    return Known(places, codes, new)


def _longest_first(matches: Mapping[int, list[tuple[int, int]]]) -> tuple[list[int], list[int]]:
    """Return words and codes of the phrases that were values, of those that overlap the longest."""
    places: list[int] = []
    codes: list[int] = []
    for field, found in matches.items():
        used: set[int] = set()
        for first, last in sorted(found, key=lambda span: (span[0] - span[1], span[0])):
            if used.isdisjoint(range(first, last + 1)):
                used.update(range(first, last + 1))
                size = min(last - first, 2)
                for place in range(first, last + 1):
                    places.append(place)
                    codes.append(field * 8 + 2 * size + (place == first))
    return places, codes


class Asked(NamedTuple):
    """One text as a tagger sees it: its words, the hash of its record's type, what is known."""

    words: Sequence[str]
    type: int
    known: Known


def keys_of(asked: Sequence[Asked], memory: Memory) -> tuple[IntArray, KeyArray]:
    """Return the features of words, one text after the other: places in that row, and keys."""
    rows: list[IntArray] = []
    keys: list[KeyArray] = []
    start = at = 0
    while start < len(asked):
        stop, size = start, 0
        while stop < len(asked) and (size == 0 or size + len(asked[stop].words) <= AT_ONCE):
            size += len(asked[stop].words)
            stop += 1
        row, key = _keys(asked[start:stop], memory)
        rows.append(row + at)
        keys.append(key)
        at += size
        start = stop
    if not rows:
        return np.zeros(0, np.int64), np.zeros(0, np.uint64)
    return np.concatenate(rows), np.concatenate(keys)


def _keys(asked: Sequence[Asked], memory: Memory) -> tuple[IntArray, KeyArray]:
    lengths = [len(one.words) for one in asked]
    words = sum(lengths)
    padded = words + 2 * _PAD * len(asked)
    table = np.zeros((len(_OWN), padded), np.uint64)
    at = np.empty(words, np.int64)
    text_of = np.repeat(np.arange(len(asked)), lengths)
    at[:] = np.arange(words) + _PAD * (2 * text_of + 1)
    outside = np.ones(padded, np.bool_)
    outside[at] = False
    if words:
        columns = [_columns(word) for one in asked for word in one.words]
        table[: len(_COLUMNS), at] = np.array(columns, np.uint64).T
    # Beyond the ends: four words that no text has.
    edges = np.flatnonzero(outside).reshape(-1, 2 * _PAD)
    for i in range(2 * _PAD):
        table[_OWN["word"], edges[:, i]] = 3 + i
        table[_OWN["shape"], edges[:, i]] = 3 + i
    table[_OWN["type"], at] = np.array([one.type for one in asked], np.uint64)[text_of]
    table[_OWN["new"], at] = [flag for one in asked for flag in one.known.new]
    if memory.clusters and words:
        none = (0, 0)
        found = [memory.clusters.get(int(word), none) for word in table[_OWN["word"], at]]
        table[[_OWN["wide"], _OWN["narrow"]], at[:, None]] = np.array(found, np.uint64)
    first = np.stack([table[_OWN[name], at + offset] for name, offset, _, _ in _TEMPLATES])
    second = np.zeros_like(first)
    present = first != 0
    for i, (_, _, name, offset) in enumerate(_TEMPLATES):
        if name:
            second[i] = table[_OWN[name], at + offset]
            present[i] &= second[i] != 0
    keys = mixed(first, second, _SLOTS)
    slots, rows = np.nonzero(present)
    all_rows, all_keys = [rows], [keys[slots, rows]]
    all_rows.append(np.arange(words))
    all_keys.append(np.full(words, _BIAS, np.uint64))
    starts = np.concatenate(([0], np.cumsum(lengths)))[:-1]
    places = np.array(
        [s + p for s, one in zip(starts, asked, strict=True) for p in one.known.places]
    )
    if len(places):
        codes = np.array([code for one in asked for code in one.known.codes], np.uint64)
        owner = text_of[places]
        for offset in (-1, 0, 1):
            to = places + offset
            inside = (to >= 0) & (to < words)
            inside[inside] = text_of[to[inside]] == owner[inside]
            slot = np.uint64(1_000 + offset) * _THREE
            all_rows.append(to[inside])
            all_keys.append(mixed(codes[inside] + np.uint64(1), np.uint64(0), slot))
    return np.concatenate(all_rows), np.concatenate(all_keys)


def vocabulary(keys: KeyArray, most: int) -> KeyArray:
    """Return the features worth a weight, sorted: those seen `FEWEST` times, ``most`` at most."""
    distinct, counts = np.unique(keys, return_counts=True)
    kept = np.flatnonzero(counts >= FEWEST)
    if len(kept) > most:
        kept = np.sort(kept[np.argsort(-counts[kept], kind="stable")[:most]])
    return distinct[kept]


def matrix_of(
    rows: IntArray, keys: KeyArray, known: KeyArray, words: int
) -> "scipy.sparse.csr_matrix":
    """Return features as a matrix, shape (words, known features)."""
    columns, kept = places_in(known, keys)
    data = np.ones(int(kept.sum()), np.float32)
    shape = (words, len(known))
    return scipy.sparse.csr_matrix(
        (data, (rows[kept], columns[kept].astype(np.int32))), shape=shape
    )


def places_in(known: KeyArray, keys: KeyArray) -> tuple[IntArray, npt.NDArray[np.bool_]]:
    """Return where keys are among sorted ones, and which are there."""
    if not len(known):
        return np.zeros(len(keys), np.int64), np.zeros(len(keys), np.bool_)
    columns = np.searchsorted(known, keys)
    np.minimum(columns, len(known) - 1, out=columns)
    return columns, known[columns] == keys
