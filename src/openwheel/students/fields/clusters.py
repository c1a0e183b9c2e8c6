"""Clusters of words that stand among the same words: what is learned of one carries to others."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy import sparse

MOST_WORDS = 8_000
NEIGHBOURS = 300
"""Frequent words that a word is told by where they stand before or after it."""

DIMENSIONS = 40
WIDE, NARROW = 40, 200
FEWEST_WORDS = 60


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
    together = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)
    vectors = _vectors(together)
    wide = _means(vectors, min(WIDE, len(known) // 6))
    narrow = _means(vectors, min(NARROW, len(known) // 3))
    return {word: (int(wide[i]) + 1, int(narrow[i]) + 1) for word, i in row_of.items()}


def _vectors(together: "sparse.csr_matrix") -> np.ndarray:
    """Return unit vectors of words by their positive pointwise mutual information."""
    from sklearn.decomposition import TruncatedSVD  # noqa: PLC0415  (only training needs it)

    total = together.sum()
    of_words = np.asarray(together.sum(1)).ravel() + 1e-9
    of_columns = np.asarray(together.sum(0)).ravel() + 1e-9
    pairs = together.tocoo()
    information = np.log(pairs.data * total / (of_words[pairs.row] * of_columns[pairs.col]))
    kept = information > 0
    positive = sparse.csr_matrix(
        (information[kept], (pairs.row[kept], pairs.col[kept])), shape=together.shape
    )
    size = min(DIMENSIONS, min(positive.shape) - 1)
    vectors = TruncatedSVD(size, random_state=0).fit_transform(positive)
    return np.asarray(vectors / (np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-9))


def _means(vectors: np.ndarray, clusters: int) -> np.ndarray:
    from sklearn.cluster import MiniBatchKMeans  # noqa: PLC0415

    model = MiniBatchKMeans(clusters, random_state=0, n_init=1, batch_size=1024)
    return np.asarray(model.fit_predict(vectors))
