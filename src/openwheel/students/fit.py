"""Training the linear and encoder rungs, with out-of-fold predictions of every training input."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from openwheel.students.agreement import fit_agreement, fit_precision, out_of_fold_confidence
from openwheel.students.encoder import TextEncoder
from openwheel.students.evidence import (
    VECTOR_SCALE,
    Core,
    Evidence,
    Guard,
    Lexical,
    Semantic,
    evaluate,
    outside,
)
from openwheel.students.head import fit_head
from openwheel.students.model import ModelStudent, text_of
from openwheel.students.ngrams import LONGEST_TEXT
from openwheel.students.student import Fitted, Inputs
from openwheel.students.tfidf import Counts, count, fit_tfidf

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

FOLDS, FEWER_FOLDS, MANY_ROWS = 5, 3, 20_000
"""Beyond ``MANY_ROWS`` two thirds of the inputs train a fold as well as four fifths, in half the
time."""
FEWEST_EXAMPLES = 2
"""An answer with fewer distinct inputs than this is left to the teacher."""

MOST_ROWS = 50_000
MOST_CHARACTERS = 8_000_000
"""The latest distinct inputs up to these limits are trained on: more costs hours, adds little."""

MOST_WEIGHTS = 20_000_000
"""Features times answers: bounds a student's memory at 80 MB for each of two matrices."""

MOST_VECTORS = 20_000
"""Training vectors kept as neighbours."""

VECTOR_PENALTY = 0.4
"""Penalty of errors where there are vectors: a softer head ranks its answers better there (of 0.15
to 2, by cross-validation on the training split of Banking77 with MiniLM)."""

GUARD_SHARE = 0.005
"""Share of training inputs, predicted out of fold, that each limit of the guard would defer."""


class Material(NamedTuple):
    """Distinct training inputs, ready to fit.

    Attributes:
        texts: One text for each distinct input and answer.
        labels: Index of its answer; -1 for answers too rare to learn.
        weights: Damped number of times it came.
        rows: Index of its first exchange among the training exchanges.
        folds: Which fold predicts it; texts that a model cannot tell apart share one.
        counts: N-gram counts, or None if only vectors are used.
        vectors: Sentence vectors, or None.
    """

    texts: list[str]
    labels: IntArray
    weights: FloatArray
    rows: IntArray
    folds: IntArray
    counts: Counts | None
    vectors: npt.NDArray[np.float32] | None


def fit_model(
    inputs: Sequence[Inputs],
    answers: Sequence[str],
    *,
    variables: tuple[int, ...],
    encoder: TextEncoder | None = None,
) -> Fitted:
    """Train a student of the rung ``linear``, or with an encoder of the rung ``encoder``.

    With an encoder, its vectors are used alone or joined with n-grams, whichever predicts one
    held-out fold of the training inputs better.

    Args:
        inputs: In order of arrival, shape (n,).
        answers: The teacher's canonical answers, shape (n,).
        variables: Which of the inputs are read.
        encoder: A sentence encoder, for the rung ``encoder``.

    Raises:
        ValueError: No answer has two distinct inputs, so there is nothing to learn.
    """
    names, material = _prepare(inputs, answers, variables, encoder)
    if encoder is not None and _alone_is_better(material, len(names)):
        material = material._replace(counts=None)
    predicted, evidence = _out_of_fold(material, len(names))
    agrees, folds = evidence.labels == material.labels[predicted], material.folds[predicted]
    guard = _fit_guard(evidence, with_vectors=encoder is not None)
    learned = material.labels[material.labels >= 0]
    counts = np.bincount(learned, minlength=len(names))
    precision, own = fit_precision(evidence.labels, agrees, counts, folds)
    features = np.concatenate((evidence.features, own), axis=1)
    agreement = fit_agreement(features, agrees)
    confidence = out_of_fold_confidence(features, agrees, folds)
    confidence[outside(guard, evidence)] = 0.0
    everything = np.arange(len(material.texts))
    student = ModelStudent(
        variables=variables,
        answers=names,
        core=_fit_core(material, everything, len(names)),
        precision=precision,
        agreement=agreement,
        guard=guard,
        encoder=encoder,
    )
    return Fitted(student, confidence, agrees, material.rows[predicted])


def _prepare(
    inputs: Sequence[Inputs],
    answers: Sequence[str],
    variables: tuple[int, ...],
    encoder: TextEncoder | None,
) -> tuple[tuple[str, ...], Material]:
    """Collapse repeats, keep the latest within the limits, and index answers."""
    times: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], int] = {}
    characters = 0
    for row in range(len(inputs) - 1, -1, -1):
        pair = (text_of(inputs[row], variables), answers[row])
        if pair not in times:
            if len(times) >= MOST_ROWS or characters >= MOST_CHARACTERS:
                continue
            characters += min(len(pair[0]), LONGEST_TEXT)
        times[pair] += 1
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
    by_group = np.random.default_rng(0).permutation(len(group))
    by_group %= FOLDS if len(texts) <= MANY_ROWS else FEWER_FOLDS
    return names, Material(
        texts=texts,
        labels=np.array([index.get(answer, -1) for _, answer in pairs], np.int64),
        weights=np.array([1 + np.log(times[pair]) for pair in pairs]),
        rows=np.array([first[pair] for pair in pairs], np.int64),
        folds=by_group[[group[text] for text in plain]],
        counts=count(texts),
        vectors=None if encoder is None else encoder.embed(texts),
    )


def _out_of_fold(material: Material, answers: int) -> tuple[IntArray, Evidence]:
    """Predict every fold by a core fitted on the others; return which were, and what came out.

    In tiny data every learnable answer may lie in one fold, which nothing can then predict.
    """
    parts, order = [], []
    for fold in np.unique(material.folds):
        here = material.folds == fold
        if here.any() and (material.labels[~here] >= 0).any():
            testing = np.flatnonzero(here)
            parts.append(_predict(material, np.flatnonzero(~here), testing, answers))
            order.append(testing)
    predicted = np.concatenate(order)
    back = np.argsort(predicted, kind="stable")
    evidence = Evidence(*[np.concatenate(column)[back] for column in zip(*parts, strict=True)])
    return predicted[back], evidence


def _fit_guard(evidence: Evidence, *, with_vectors: bool) -> Guard:
    unseen = float(np.quantile(evidence.unseen, 1 - GUARD_SHARE))
    if not with_vectors:
        # An input without one known n-gram says nothing to the head, whatever training was like.
        unseen = min(unseen, float(np.nextafter(1.0, 0.0)))
    return Guard(unseen, float(np.quantile(evidence.similarity, GUARD_SHARE)))


def _predict(material: Material, fitting: IntArray, testing: IntArray, answers: int) -> Evidence:
    core = _fit_core(material, fitting, answers)
    features = unseen = vectors = None
    if core.lexical is not None and material.counts is not None:
        chosen = Counts(material.counts.matrix[testing], material.counts.keys)
        features, unseen = core.lexical.tfidf.weigh(chosen)
    if material.vectors is not None:
        vectors = material.vectors[testing]
    return evaluate(core, [material.texts[i] for i in testing], features, unseen, vectors)


def _fit_core(material: Material, rows: IntArray, answers: int) -> Core:
    """Fit all that is learned from labels on some rows; rows with rare answers teach no head."""
    rows = rows[material.labels[rows] >= 0]
    labels = material.labels[rows]
    blocks, lexical, semantic = [], None, None
    if material.counts is not None:
        tfidf = fit_tfidf(material.counts, rows, most=MOST_WEIGHTS // answers)
        chosen = Counts(material.counts.matrix[rows], material.counts.keys)
        features, _ = tfidf.weigh(chosen)
        lexical = Lexical(tfidf, _centroids(features, labels, answers))
        blocks.append(features)
    if material.vectors is not None:
        vectors = material.vectors[rows]
        blocks.append(sparse.csr_matrix(vectors.astype(np.float64) * VECTOR_SCALE))
        # The latest ones: a fixed number bounds memory and the time of an answer.
        semantic = Semantic(vectors[-MOST_VECTORS:], labels[-MOST_VECTORS:])
    joined = blocks[0] if len(blocks) == 1 else sparse.hstack(blocks, format="csr")
    penalty = 1.0 if material.vectors is None else VECTOR_PENALTY
    head = fit_head(joined, labels, answers, material.weights[rows], penalty=penalty)
    return Core(head, lexical, semantic)


def _centroids(
    features: sparse.csr_matrix, labels: IntArray, answers: int
) -> npt.NDArray[np.float32]:
    """Return the mean direction of each answer's rows as columns, shape (features, answers)."""
    one_hot = sparse.csr_matrix(
        (np.ones(len(labels)), (np.arange(len(labels)), labels)), shape=(len(labels), answers)
    )
    sums = (features.T @ one_hot).toarray()
    # Row by row in memory: an answer looks at the rows of its n-grams.
    return np.ascontiguousarray(sums / (np.linalg.norm(sums, axis=0) + 1e-9), np.float32)


def _alone_is_better(material: Material, answers: int) -> bool:
    """Whether vectors alone predict the first fold better than joined with n-grams."""
    fitting, testing = np.flatnonzero(material.folds != 0), np.flatnonzero(material.folds == 0)
    if not len(testing) or not (material.labels[fitting] >= 0).any():
        return False
    truth = material.labels[testing]
    joined = _predict(material, fitting, testing, answers).labels == truth
    alone = _predict(material._replace(counts=None), fitting, testing, answers).labels == truth
    return bool(alone.mean() > joined.mean())
