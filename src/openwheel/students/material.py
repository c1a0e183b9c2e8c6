"""Prepares distinct inputs, answers and folds for fitting the linear and encoder rungs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy

from openwheel.progress import Progress, Step, silent
from openwheel.students.encoder import TextEncoder
from openwheel.students.model import text_of
from openwheel.students.ngrams import LONGEST_TEXT
from openwheel.students.student import Inputs
from openwheel.students.tfidf import Counts, count
from openwheel.students.tune.tuning import Seen

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

FOLDS, FEWER_FOLDS, MANY_ROWS = 5, 3, 20_000
"""Beyond ``MANY_ROWS`` two thirds of the inputs train a fold as well as four fifths, in half the
time."""
LEAST_CHANCE, LEAST_KNOWN = 1e-4, 0.5
"""A smaller probability of an answer teaches nothing. Where the answers that can be learned have
less in all, the teacher's answer counts as certain."""

NONE_GIVEN: Final[Mapping[int, Mapping[str, float]]] = MappingProxyType({})

FEWEST_EXAMPLES = 2
"""An answer with fewer distinct inputs than this is left to the teacher."""

EMBEDDED_AT_ONCE = 256
"""Texts between two times that it is told how many have vectors."""

MOST_ROWS = 50_000
MOST_CHARACTERS = 8_000_000
"""The latest distinct inputs up to these limits are trained on: more costs hours, adds little."""


MOST_WEIGHTS = 20_000_000
"""Features times answers: bounds a student's memory at 80 MB for each of two matrices."""


class Material(NamedTuple):
    """Distinct training inputs, ready to fit.

    Attributes:
        texts: One text for each distinct input and answer.
        labels: Index of its answer; -1 for answers too rare to learn.
        weights: Damped number of times it came.
        rows: Index of its first exchange among the training exchanges.
        places: Its input's place in a random order of them; texts that a model cannot tell
            apart are one input.
        folds: Which fold predicts it: its place, modulo how many there are.
        counts: N-gram counts, or None if only vectors are used.
        vectors: Sentence vectors, or None.
        prototypes: Direction of each answer, where the encoder was trained on these texts, shape
            (answers, dimensions); else None.
        by_fold: In that case the vectors and prototypes of each fold, by an encoder that has not
            seen it.
        most: The most weights of a head, features times answers.
        targets: The probability of each answer by the teacher, and 1 for its answer where it gave
            none, shape (n, answers), CSR; None where it never gave any.
    """

    texts: list[str]
    labels: IntArray
    weights: FloatArray
    rows: IntArray
    places: IntArray
    folds: IntArray
    counts: Counts | None
    vectors: npt.NDArray[np.float32] | None
    prototypes: npt.NDArray[np.float32] | None = None
    by_fold: tuple[Seen, ...] = ()
    most: int = MOST_WEIGHTS
    targets: "scipy.sparse.csr_matrix | None" = None


def prepare(
    inputs: Sequence[Inputs],
    answers: Sequence[str],
    variables: tuple[int, ...],
    encoder: TextEncoder | None,
    *,
    probabilities: Mapping[int, Mapping[str, float]] = NONE_GIVEN,
    progress: Progress = silent,
) -> tuple[tuple[str, ...], Material]:
    """Collapse repeats, keep the latest within the limits, and index answers.

    Args:
        inputs: In order of arrival, shape (n,).
        answers: The teacher's canonical answers, shape (n,).
        variables: Which of the inputs are read.
        encoder: The encoder for vectors, if any.
        probabilities: Of answers, by row, where the teacher gave them.
        progress: Called with the progress of those.

    Returns:
        The answers that can be learned, and the material.

    Raises:
        ValueError: No answer has two distinct inputs.
    """
    times: Counter[tuple[str, str]] = Counter()
    given: dict[tuple[str, str], list[Mapping[str, float]]] = {}
    first: dict[tuple[str, str], int] = {}
    characters = 0
    for row in range(len(inputs) - 1, -1, -1):
        pair = (text_of(inputs[row], variables), answers[row])
        if pair not in times:
            if len(times) >= MOST_ROWS or characters >= MOST_CHARACTERS:
                continue
            characters += min(len(pair[0]), LONGEST_TEXT)
        times[pair] += 1
        if row in probabilities:
            given.setdefault(pair, []).append(probabilities[row])
        first[pair] = row
    pairs = sorted(times, key=lambda pair: first[pair])
    texts = [text for text, _ in pairs]
    # Case and white space make no n-gram differ: such texts are one input, and share a fold.
    plain = [" ".join(text.split()).casefold() for text in texts]
    group = {text: i for i, text in enumerate(sorted(set(plain)))}
    distinct = {(text, answer) for text, (_, answer) in zip(plain, pairs, strict=True)}
    examples = Counter(answer for _, answer in distinct)
    names = tuple(sorted(a for a, number in examples.items() if number >= FEWEST_EXAMPLES))
    if not names:
        raise ValueError("no answer was given to two distinct inputs: there is nothing to learn")
    index = {name: i for i, name in enumerate(names)}
    places = np.random.default_rng(0).permutation(len(group))[[group[text] for text in plain]]
    return names, Material(
        texts=texts,
        labels=np.array([index.get(answer, -1) for _, answer in pairs], np.int64),
        weights=np.array([1 + np.log(times[pair]) for pair in pairs]),
        rows=np.array([first[pair] for pair in pairs], np.int64),
        places=places,
        folds=places % (FOLDS if len(texts) <= MANY_ROWS else FEWER_FOLDS),
        counts=count(texts),
        vectors=None if encoder is None else _embed(encoder, texts, progress),
        targets=_targets(pairs, given, index) if given else None,
    )


def _targets(
    pairs: Sequence[tuple[str, str]],
    given: Mapping[tuple[str, str], Sequence[Mapping[str, float]]],
    index: Mapping[str, int],
) -> "scipy.sparse.csr_matrix":
    """Return the mean probabilities of each input's answers, shape (n, answers).

    Answers that cannot be learned have none. Where they have most of it, or the teacher gave no
    probabilities, its answer is certain.
    """
    rows, columns, values = list[int](), list[int](), list[float]()
    for row, pair in enumerate(pairs):
        means: dict[int, float] = {}
        times = given.get(pair, ())
        for each in times:
            for answer, chance in each.items():
                if answer in index and chance >= LEAST_CHANCE:
                    means[index[answer]] = means.get(index[answer], 0.0) + chance / len(times)
        total = sum(means.values())
        if total < LEAST_KNOWN:
            means, total = ({index[pair[1]]: 1.0} if pair[1] in index else {}), 1.0
        rows += [row] * len(means)
        columns += means
        values += [chance / total for chance in means.values()]
    return scipy.sparse.csr_matrix((values, (rows, columns)), shape=(len(pairs), len(index)))


def _embed(
    encoder: TextEncoder, texts: Sequence[str], progress: Progress
) -> npt.NDArray[np.float32]:
    parts = []
    with Step(progress, f"embedding with {encoder.name}", len(texts), "texts") as at:
        for start in range(0, len(texts), EMBEDDED_AT_ONCE):
            parts.append(encoder.embed(texts[start : start + EMBEDDED_AT_ONCE]))
            at(start + len(parts[-1]))
    return np.concatenate(parts)
