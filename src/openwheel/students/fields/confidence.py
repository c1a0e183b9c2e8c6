"""The confidence of a whole record: a model of agreement on records predicted out of fold.

Two models are averaged, a logistic one and boosted trees: the first goes on beyond what was seen,
the second sees what holds only together.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from openwheel.students.agreement import Agreement, fit_agreement, outcomes

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

TREES, DEPTH = 120, 3
FEWEST_LEAF = 20
FEWEST_ROWS = 400
"""With fewer records trees would learn them by heart: the logistic model is then alone."""

MOST_ROWS = 6_000
"""Records that trees are fitted on: more cost time and change little."""

INNER = 5


class Trees(NamedTuple):
    """Boosted trees: for each node the feature and threshold it splits by, or the value it adds.

    All have the shape (trees, nodes); a node without children has itself as both.
    """

    feature: IntArray
    threshold: FloatArray
    left: IntArray
    right: IntArray
    value: FloatArray
    start: float

    def probability(self, features: FloatArray) -> FloatArray:
        """Return the probability of agreement, shape (n,)."""
        rows = np.arange(len(features))[:, None]
        trees = np.arange(len(self.feature))[None]
        at = np.zeros((len(features), len(self.feature)), np.int64)
        for _ in range(DEPTH):
            # As training saw them: with 32 bits.
            less = (
                features[rows, self.feature[trees, at]].astype(np.float32)
                <= (self.threshold[trees, at])
            )
            at = np.where(less, self.left[trees, at], self.right[trees, at])
        logit = self.start + self.value[trees, at].sum(1)
        return np.asarray(1 / (1 + np.exp(-np.clip(logit, -30, 30))))


class Confidence(NamedTuple):
    """A model of agreement; ``trees`` is None where records were few."""

    logistic: Agreement
    trees: Trees | None

    def of(self, features: FloatArray) -> FloatArray:
        """Return the probability of agreement, shape (n,), strictly inside (0, 1)."""
        linear = self.logistic.confidence(features)
        if self.trees is None:
            return linear
        return np.asarray((linear + self.trees.probability(features)) / 2)

    def state(self, prefix: str) -> dict[str, npt.NDArray[Any]]:
        """Return its arrays by name, each name with a prefix."""
        arrays: dict[str, npt.NDArray[Any]] = {
            **self.logistic.arrays(f"{prefix}logistic"),
            f"{prefix}logistic.intercept": np.array([self.logistic.intercept]),
        }
        if self.trees is not None:
            for name, array in self.trees._asdict().items():
                arrays[f"{prefix}trees.{name}"] = np.atleast_1d(np.asarray(array))
        return arrays

    @classmethod
    def from_state(cls, arrays: Mapping[str, npt.NDArray[Any]], prefix: str) -> "Confidence":
        """Rebuild a saved model from arrays among others, whose names have a prefix.

        Raises:
            KeyError: A part is missing.
        """
        intercept = float(arrays[f"{prefix}logistic.intercept"][0])
        logistic = Agreement.read(arrays, f"{prefix}logistic", intercept)
        if f"{prefix}trees.feature" not in arrays:
            return cls(logistic, None)
        start = float(arrays[f"{prefix}trees.start"][0])
        nodes = {name: arrays[f"{prefix}trees.{name}"] for name in Trees._fields[:-1]}
        return cls(logistic, Trees(**nodes, start=start))


def fit_confidence(features: FloatArray, agreement: FloatArray | BoolArray) -> Confidence:
    """Fit a model on records predicted out of fold.

    Args:
        features: Shape (n, k).
        agreement: How far each record was right, from 0 to 1, shape (n,).
    """
    features = _without_rare_flags(features)
    logistic = fit_agreement(features, agreement)
    shares = np.asarray(agreement, np.float64)
    rare = min(shares.sum(), (1 - shares).sum())
    if len(shares) < FEWEST_ROWS or rare < FEWEST_LEAF:
        return Confidence(logistic, None)
    # Only training needs scikit-learn; a gateway must not wait for it.
    from sklearn.ensemble import GradientBoostingClassifier  # noqa: PLC0415

    model = GradientBoostingClassifier(
        n_estimators=TREES,
        max_depth=DEPTH,
        min_samples_leaf=FEWEST_LEAF,
        subsample=0.5,
        max_features=0.5,
        random_state=0,
    )
    rows = np.random.default_rng(0).permutation(len(shares))[:MOST_ROWS]
    row, agrees, weight = outcomes(shares[rows])
    model.fit(features[rows][row].astype(np.float32), agrees, weight)
    found = [stage[0].tree_ for stage in model.estimators_]
    size = max(tree.node_count for tree in found)
    shape = (len(found), size)
    feature, left, right = (np.zeros(shape, np.int64) for _ in range(3))
    threshold, value = np.zeros(shape), np.zeros(shape)
    for i, tree in enumerate(found):
        n = tree.node_count
        leaf = tree.children_left < 0
        own = np.arange(n)
        feature[i, :n] = np.where(leaf, 0, tree.feature)
        threshold[i, :n] = tree.threshold
        left[i, :n] = np.where(leaf, own, tree.children_left)
        right[i, :n] = np.where(leaf, own, tree.children_right)
        value[i, :n] = model.learning_rate * tree.value[:, 0, 0]
    share = float(shares[rows].mean())
    start = float(np.log(share / (1 - share)))
    return Confidence(logistic, Trees(feature, threshold, left, right, value, start))


def _without_rare_flags(features: FloatArray) -> FloatArray:
    """Return features without flags that fewer than `FEWEST_LEAF` records have, or have not.

    They would tell of those few records alone.
    """
    flags = ((features == 0) | (features == 1)).all(axis=0)
    there = (features == 1).sum(axis=0)
    rare = np.minimum(there, len(features) - there) < FEWEST_LEAF
    return np.asarray(np.where(flags & rare, 0.0, features))


def cross_fitted(
    features: FloatArray, agreement: FloatArray | BoolArray, places: IntArray
) -> FloatArray:
    """Return the confidence of each row by a model fitted on rows of other ``places``, (n,)."""
    part = places % INNER
    confidence = np.zeros(len(features))
    for fold in np.unique(part):
        here = part == fold
        confidence[here] = fit_confidence(features[~here], agreement[~here]).of(features[here])
    return confidence
