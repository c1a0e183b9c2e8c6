"""Measures how far a sentence vector lies from each answer's, in units of their spread.

Distances of Mahalanobis with one covariance for all answers, and the same relative to the distance
from all training vectors (Lee et al., 2018, "A simple unified framework for detecting
out-of-distribution samples"; Ren et al., 2021, "A simple fix to Mahalanobis distance").
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

SHRINKAGE = 0.1
"""Share of a multiple of the identity in a covariance, which few vectors would leave singular."""


class Distances(NamedTuple):
    """Answers' means where vectors spread evenly, and all vectors' mean where those do.

    Attributes:
        within: Makes the spread around answers' means even, shape (d, d).
        means: Of each answer's vectors after that, shape (answers, d); infinite without one.
        whole: Makes the spread around the mean of all even, shape (d, d).
        mean: Of all vectors after that, shape (d,).
    """

    within: npt.NDArray[np.float32]
    means: npt.NDArray[np.float32]
    whole: npt.NDArray[np.float32]
    mean: npt.NDArray[np.float32]


def fit_distances(vectors: npt.NDArray[np.float32], labels: IntArray, answers: int) -> Distances:
    """Fit means and covariances on training vectors, shape (m, d), and their answers."""
    found = vectors.astype(np.float64)
    counts = np.bincount(labels, minlength=answers)
    means = np.zeros((answers, found.shape[1]))
    np.add.at(means, labels, found)
    means /= np.maximum(counts, 1)[:, None]
    within = _whitening(found - means[labels])
    whole = _whitening(found - found.mean(axis=0))
    means = means @ within
    means[counts == 0] = np.inf
    return Distances(
        within.astype(np.float32),
        means.astype(np.float32),
        whole.astype(np.float32),
        (found.mean(axis=0) @ whole).astype(np.float32),
    )


def _whitening(deviations: FloatArray) -> FloatArray:
    """Return the matrix that whitens vectors: their spread is then the same in all directions."""
    covariance = deviations.T @ deviations / len(deviations)
    size = len(covariance)
    scale = max(float(np.trace(covariance)) / size, 1e-9)
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * scale * np.eye(size)
    return np.asarray(np.linalg.cholesky(np.linalg.inv(covariance)))


def distance_features(
    distances: Distances, vectors: npt.NDArray[np.float32], labels: IntArray
) -> FloatArray:
    """Return three distances of each vector, shape (n, 3).

    To its answer's mean, to the nearest answer's, and the square of that less the square of the
    distance to the mean of all, relative to how many dimensions there are.
    """
    here = vectors @ distances.within
    squares = np.stack([((here - mean) ** 2).sum(axis=1) for mean in distances.means], axis=1)
    nearest = squares.min(axis=1)
    all_ = ((vectors @ distances.whole - distances.mean) ** 2).sum(axis=1)
    own = squares[np.arange(len(labels)), labels]
    found = np.stack((np.sqrt(own), np.sqrt(nearest), nearest - all_), axis=1)
    return found.astype(np.float64)
