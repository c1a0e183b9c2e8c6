"""Chooses which of a template's variables a student reads.

A template's variables hold the input, but also dates, names, ticket numbers and few-shot examples
drawn at random. Reading those makes every input look new, and teaches chance correlations.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy

from openwheel.students.model import text_of
from openwheel.students.student import Inputs
from openwheel.students.tfidf import count, fit_tfidf

SAMPLE = 2_000
LONGEST = 2_000
"""Characters of a variable that are looked at: enough to see whether it says anything."""

WORTH = 0.01
"""A further variable must raise the accuracy of a quick classifier by this to be read."""


def choose_variables(inputs: Sequence[Inputs], answers: Sequence[str]) -> tuple[int, ...]:
    """Return the indices of the variables worth reading, in order; all of them if only one.

    It starts from the variable that alone predicts the answer best and adds others while they help,
    by the accuracy of a nearest-centroid classifier on the half of a sample it was not fitted on.

    Args:
        inputs: Values of the variables, in order of arrival.
        answers: The teacher's canonical answers.
    """
    width = max((len(values) for values in inputs), default=0)
    if width <= 1:
        return tuple(range(width))
    rows = np.sort(np.random.default_rng(0).permutation(len(inputs))[:SAMPLE])
    sample = [tuple(value[:LONGEST] for value in inputs[i]) for i in rows]
    labels = np.unique([answers[i] for i in rows], return_inverse=True)[1].astype(np.int64)
    alone = [_accuracy([text_of(values, (i,)) for values in sample], labels) for i in range(width)]
    # Of equals the longest, then the last: the input is what varies most, and tends to come last.
    lengths = [sum(len(text_of(values, (i,))) for values in sample) for i in range(width)]
    order = sorted(range(width), key=lambda i: (-round(alone[i], 2), -lengths[i], -i))
    chosen, best = [order[0]], alone[order[0]]
    for variable in order[1:]:
        together = sorted([*chosen, variable])
        accuracy = _accuracy([text_of(values, tuple(together)) for values in sample], labels)
        if accuracy >= best + WORTH:
            chosen, best = together, accuracy
    return tuple(sorted(chosen))


def _accuracy(texts: list[str], labels: npt.NDArray[np.int64]) -> float:
    """Return the accuracy of nearest centroids fitted on even rows, on odd ones."""
    if len(texts) < 2:
        return 0.0
    counts = count(texts)
    fitting, testing = np.arange(0, len(texts), 2), np.arange(1, len(texts), 2)
    tfidf = fit_tfidf(counts, fitting, most=50_000)
    features, _ = tfidf.weigh(counts)
    shape = (int(labels.max()) + 1, len(fitting))
    one_hot = (np.ones(len(fitting)), (labels[fitting], np.arange(len(fitting))))
    # Sparse: of hundreds of answers each has few of the n-grams.
    sums = scipy.sparse.csr_matrix(one_hot, shape=shape) @ features[fitting]
    norms = np.sqrt(np.asarray(sums.multiply(sums).sum(axis=1)).ravel()) + 1e-9
    predicted = ((features[testing] @ sums.T).toarray() / norms).argmax(axis=1)
    return float((predicted == labels[testing]).mean())
