"""The linear head: one hyperplane an answer."""

import warnings
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

ABSENT = -2.0
"""Bias of an answer that a fold has no example of: below what real answers score."""


class Head(NamedTuple):
    """Weights, shape (features, answers), and biases, shape (answers,)."""

    weights: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]


def fit_head(
    features: "scipy.sparse.csr_matrix",
    labels: IntArray,
    answers: int,
    weights: FloatArray,
    *,
    penalty: float = 1.0,
) -> Head:
    """Fit one-against-rest linear support vector machines.

    On text they are as accurate as multinomial logistic regression at a fraction of its time
    (Fan et al., 2008, "LIBLINEAR"); probabilities come from the agreement model.

    Args:
        features: Shape (n, features).
        labels: Indices below ``answers``, shape (n,).
        answers: How many answers there are; those without an example are never preferred.
        weights: Weight of each row, shape (n,).
        penalty: Of an error, against the size of the weights (C).
    """
    present = np.unique(labels)
    coefficients = np.zeros((features.shape[1], answers), np.float32)
    bias = np.full(answers, ABSENT, np.float32)
    if len(present) == 1:
        bias[present[0]] = 1.0
        return Head(coefficients, bias)
    # Only training needs scikit-learn; a gateway must not wait for it.
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415
    from sklearn.svm import LinearSVC  # noqa: PLC0415

    model = LinearSVC(C=penalty, random_state=0)
    with warnings.catch_warnings():
        # A model not quite converged is still a model; the gate judges it either way.
        warnings.simplefilter("ignore", ConvergenceWarning)
        # Many answers with few examples each are what a task begins with.
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        model.fit(features, labels, sample_weight=weights)
    if len(present) == 2:
        coefficients[:, present] = np.stack((-model.coef_[0], model.coef_[0]), axis=1)
        bias[present] = (-model.intercept_[0], model.intercept_[0])
    else:
        coefficients[:, present] = model.coef_.T
        bias[present] = model.intercept_
    return Head(coefficients, bias)
