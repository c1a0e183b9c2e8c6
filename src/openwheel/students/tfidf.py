"""Weights hashed n-grams by tf-idf: the features of the linear rung."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy

from openwheel.students.ngrams import WORD_BLOCK, KeyArray, ngram_counts

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

BATCH = 5_000
"""Texts laid out at once, which bounds the memory that n-grams of short texts take."""

BATCH_CHARACTERS = 1_000_000


class Counts(NamedTuple):
    """N-gram counts of many texts.

    Attributes:
        matrix: Counts, shape (texts, distinct keys), CSR.
        keys: Sorted key of each column.
    """

    matrix: "scipy.sparse.csr_matrix"
    keys: KeyArray


def count(texts: Sequence[str]) -> Counts:
    """Count the n-grams of texts, in batches."""
    rows, keys, counts = [], [], []
    for start, stop in _batches(texts):
        row, key, number = ngram_counts(texts[start:stop])
        rows.append(row + start)
        keys.append(key)
        counts.append(number)
    all_keys = np.concatenate(keys) if keys else np.zeros(0, np.uint32)
    distinct, columns = np.unique(all_keys, return_inverse=True)
    shape = (len(texts), len(distinct))
    row_numbers = np.concatenate(rows) if rows else np.zeros(0, np.int64)
    indptr = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(np.bincount(row_numbers, minlength=len(texts)), out=indptr[1:])
    values = np.concatenate(counts).astype(np.float32) if counts else np.zeros(0, np.float32)
    matrix = scipy.sparse.csr_matrix((values, columns.astype(np.int32), indptr), shape=shape)
    return Counts(matrix, distinct)


class Tfidf(NamedTuple):
    """A vocabulary of hashed n-grams with their inverse document frequencies.

    Words and characters are two blocks, each scaled to unit length, so that a long word does not
    drown the words around it. Term frequencies are damped (1 + log).

    Attributes:
        keys: Sorted keys, shape (features,).
        idf: log((1 + texts) / (1 + texts with it)) + 1, shape (features,).
    """

    keys: KeyArray
    idf: npt.NDArray[np.float32]

    def weigh(self, counts: Counts) -> "tuple[scipy.sparse.csr_matrix, FloatArray]":
        """Return tf-idf features, shape (texts, features), and each text's share unseen.

        The share unseen is over distinct n-grams; 1 for a text that has none.
        """
        matrix, texts = counts.matrix, counts.matrix.shape[0]
        column = np.searchsorted(self.keys, counts.keys).clip(max=len(self.keys) - 1)
        known = self.keys[column] == counts.keys
        kept = known[matrix.indices]
        rows = np.repeat(np.arange(texts), np.diff(matrix.indptr))
        total = np.diff(matrix.indptr)
        present = np.bincount(rows[kept], minlength=texts)
        unseen = 1 - present / np.maximum(total, 1)
        rows, columns = rows[kept], column[matrix.indices[kept]]
        values = (1 + np.log(matrix.data[kept])) * self.idf[columns]
        block = rows * 2 + (self.keys[columns] >= WORD_BLOCK)
        lengths = np.sqrt(np.bincount(block, weights=values**2, minlength=2 * texts))
        values = values / lengths[block]
        indptr = np.zeros(texts + 1, np.int64)
        np.cumsum(present, out=indptr[1:])
        shape = (texts, len(self.keys))
        return scipy.sparse.csr_matrix(
            (values, columns.astype(np.int32), indptr), shape=shape
        ), unseen

    def weigh_one(self, text: str) -> tuple[IntArray, npt.NDArray[np.float32], float]:
        """Return one text's columns and values, and its share unseen, without a sparse matrix."""
        _, keys, counts = ngram_counts((text,))
        column = np.searchsorted(self.keys, keys)
        np.minimum(column, len(self.keys) - 1, out=column)
        kept = self.keys[column] == keys
        columns = column[kept]
        values = (1 + np.log(counts[kept])) * self.idf[columns]
        # Keys are sorted and words have the top bit, so the blocks are two slices.
        split = int(np.searchsorted(keys[kept], WORD_BLOCK))
        for block in (slice(0, split), slice(split, None)):
            length = np.sqrt(values[block] @ values[block])
            values[block] /= max(length, 1e-12)
        unseen = 1 - len(columns) / len(keys) if len(keys) else 1.0
        return columns, values.astype(np.float32), unseen


def fit_tfidf(counts: Counts, rows: IntArray, *, most: int, fewest: int = 2) -> Tfidf:
    """Choose the vocabulary of some rows: keys in at least ``fewest`` texts, the ``most`` common.

    A key of one text alone does not help with other texts, and costs memory in every student.
    """
    columns = counts.matrix[rows].indices
    frequency = np.bincount(columns, minlength=len(counts.keys))
    kept = np.flatnonzero(frequency >= min(fewest, len(rows)))
    if len(kept) > most:
        kept = np.sort(kept[np.argsort(-frequency[kept], kind="stable")[:most]])
    if not len(kept):  # no text repeats anything: one key keeps the arrays well-formed
        return Tfidf(np.zeros(1, np.uint32), np.ones(1, np.float32))
    idf = np.log((1 + len(rows)) / (1 + frequency[kept])) + 1
    return Tfidf(counts.keys[kept], idf.astype(np.float32))


def _batches(texts: Sequence[str]) -> list[tuple[int, int]]:
    batches, start, characters = [], 0, 0
    for i, text in enumerate(texts):
        characters += len(text)
        if i + 1 - start >= BATCH or characters >= BATCH_CHARACTERS:
            batches.append((start, i + 1))
            start, characters = i + 1, 0
    if start < len(texts):
        batches.append((start, len(texts)))
    return batches
