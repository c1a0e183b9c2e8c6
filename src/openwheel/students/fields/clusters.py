"""Clusters of words that stand among the same words: what is learned of one carries to others."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

MOST_WORDS = 8_000
NEIGHBOURS = 300
"""Frequent words that a word is told by where they stand before or after it."""

DIMENSIONS = 40
WIDE, NARROW = 40, 200
FEWEST_WORDS = 60
ROUNDS = 15


def cluster_words(texts: Sequence[Sequence[int]]) -> dict[int, tuple[int, int]]:
    """Return a wide and a narrow cluster, counted from 1, of words by their hashes.

    Args:
        texts: The hashes of each text's words, in order.
    """
    counts = Counter(word for text in texts for word in text)
    known = [word for word, times in counts.most_common(MOST_WORDS) if times >= 2]
    if len(known) < FEWEST_WORDS:
        return {}
    row_of = {word: i for i, word in enumerate(known)}
    column_of = {word: i for i, word in enumerate(known[:NEIGHBOURS])}
    rows: list[int] = []
    columns: list[int] = []
    edge = 2 * NEIGHBOURS  # beyond the ends of a text
    for text in texts:
        for place, word in enumerate(text):
            row = row_of.get(word)
            if row is None:
                continue
            before = column_of.get(text[place - 1]) if place else edge
            after = column_of.get(text[place + 1]) if place + 1 < len(text) else edge + 1
            if before is not None:
                rows.append(row)
                columns.append(before)
            if after is not None:
                rows.append(row)
                columns.append(after + NEIGHBOURS * (after < edge))
    shape = (len(known), edge + 2)
    together = scipy.sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)
    vectors = _vectors(together)
    wide = _means(vectors, min(WIDE, len(known) // 6))
    narrow = _means(vectors, min(NARROW, len(known) // 3))
    return {word: (int(wide[i]) + 1, int(narrow[i]) + 1) for word, i in row_of.items()}


def _vectors(together: "scipy.sparse.csr_matrix") -> FloatArray:
    """Return unit vectors of words by their positive pointwise mutual information."""
    total = together.sum()
    of_words = np.asarray(together.sum(1)).ravel() + 1e-9
    of_columns = np.asarray(together.sum(0)).ravel() + 1e-9
    pairs = together.tocoo()
    information = np.log(pairs.data * total / (of_words[pairs.row] * of_columns[pairs.col]))
    kept = information > 0
    positive = scipy.sparse.csr_matrix(
        (information[kept], (pairs.row[kept], pairs.col[kept])), shape=together.shape
    )
    # Columns are few, so their products say what a decomposition of the whole would.
    _, axes = np.linalg.eigh((positive.T @ positive).toarray())
    vectors = np.asarray(positive @ axes[:, ::-1][:, :DIMENSIONS])
    return np.asarray(vectors / (np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-9))


def _means(vectors: FloatArray, clusters: int) -> IntArray:
    """Return the cluster of each unit vector, by k-means from vectors drawn at random."""
    start = np.random.default_rng(0).choice(len(vectors), clusters, replace=False)
    means = vectors[start]
    nearest = np.zeros(len(vectors), np.int64)
    for _ in range(ROUNDS):
        nearest = (vectors @ means.T).argmax(1)
        sums = np.zeros_like(means)
        np.add.at(sums, nearest, vectors)
        length = np.linalg.norm(sums, axis=1, keepdims=True)
        means = np.where(length > 0, sums / np.maximum(length, 1e-9), means)
    return nearest
