"""Fits cores on all rows, or on those of all folds but one, and predicts with them."""

import numpy as np
import numpy.typing as npt
import scipy

from openwheel.students.calibration import LOOKED_AT, HeldOut
from openwheel.students.distances import fit_distances
from openwheel.students.evidence import (
    VECTOR_SCALE,
    Core,
    Evidence,
    Lexical,
    Semantic,
    evaluate,
    join,
    scores_of,
)
from openwheel.students.head import ABSENT, Head, fit_head
from openwheel.students.material import Material
from openwheel.students.soft_head import fit_soft_head
from openwheel.students.tfidf import Counts, fit_tfidf

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

MOST_VECTORS = 20_000
"""Training vectors kept as neighbours."""

VECTOR_PENALTY = 0.4
"""Penalty of errors where there are vectors: a softer head ranks its answers better there (of 0.15
to 2, by cross-validation on the training split of Banking77 with MiniLM)."""

_Read = tuple["scipy.sparse.csr_matrix | None", FloatArray | None, npt.NDArray[np.float32] | None]

PROTOTYPE_SCALE = 8.0
"""Weight of the cosine to an answer's direction, where the encoder was trained, beside the score by
n-grams (of 1, 2, 4 and 8, by held-out folds within the training split of Banking77)."""


def unseen(material: Material, fold: int) -> Material:
    """Return the material for training without a fold: with vectors of that fold's own encoder."""
    if not material.by_fold:
        return material
    vectors, prototypes = material.by_fold[fold]
    return material._replace(vectors=vectors, prototypes=prototypes)


def out_of_fold(material: Material, answers: int) -> tuple[IntArray, Evidence, HeldOut]:
    """Predict every fold by a core fitted on the others.

    Returns which rows were predicted, how, and the scores of some of them. In tiny data every
    learnable answer may lie in one fold, which no core can then predict.
    """
    parts, order, looked_at, scores = [], [], [], []
    folds = int(material.folds.max()) + 1
    for fold in np.unique(material.folds):
        here = material.folds == fold
        if here.any() and (material.labels[~here] >= 0).any():
            testing = np.flatnonzero(here)
            apart = unseen(material, int(fold))
            core = fit_core(apart, np.flatnonzero(~here), answers)
            parts.append(predict_by(core, apart, testing))
            order.append(testing)
            # Places are in random order, and so are the first of them.
            learned = testing[material.labels[testing] >= 0]
            some = learned[np.argsort(material.places[learned])[: LOOKED_AT // folds]]
            looked_at.append(some)
            features, _, vectors = _read(core, apart, some)
            scores.append(scores_of(core, len(some), features, vectors).astype(np.float32))
    predicted = np.concatenate(order)
    back = np.argsort(predicted, kind="stable")
    held_out = HeldOut(np.concatenate(looked_at), np.concatenate(scores))
    return predicted[back], join(parts).take(back), held_out


def predict(material: Material, fitting: IntArray, testing: IntArray, answers: int) -> Evidence:
    """Predict some rows by a core fitted on others."""
    return predict_by(fit_core(material, fitting, answers), material, testing)


def _read(core: Core, material: Material, testing: IntArray) -> _Read:
    """Return some rows as a core reads them: n-grams, their shares unseen, and vectors."""
    features = unseen = None
    if core.lexical is not None and material.counts is not None:
        chosen = Counts(material.counts.matrix[testing], material.counts.keys)
        features, unseen = core.lexical.tfidf.weigh(chosen)
    return features, unseen, None if material.vectors is None else material.vectors[testing]


def predict_by(core: Core, material: Material, testing: IntArray) -> Evidence:
    """Predict some rows by a core."""
    features, unseen, vectors = _read(core, material, testing)
    return evaluate(core, [material.texts[i] for i in testing], features, unseen, vectors)


def fit_core(material: Material, rows: IntArray, answers: int) -> Core:
    """Fit all that is learned from labels on some rows; rows with rare answers teach no head."""
    rows = rows[material.labels[rows] >= 0]
    labels = material.labels[rows]
    blocks, lexical, semantic = [], None, None
    if material.counts is not None:
        tfidf = fit_tfidf(material.counts, rows, most=material.most // answers)
        chosen = Counts(material.counts.matrix[rows], material.counts.keys)
        features, _ = tfidf.weigh(chosen)
        lexical = Lexical(tfidf, _centroids(features, labels, answers))
        blocks.append(features)
    if material.vectors is not None:
        vectors = material.vectors[rows]
        blocks.append(scipy.sparse.csr_matrix(vectors.astype(np.float64) * VECTOR_SCALE))
        # The latest ones: a fixed number bounds memory and the time of an answer.
        distances = fit_distances(vectors, labels, answers)
        semantic = Semantic(vectors[-MOST_VECTORS:], labels[-MOST_VECTORS:], distances)
    weights = material.weights[rows]
    if material.prototypes is not None:
        head = _with_prototypes(material.prototypes, blocks[:-1], labels, weights)
    else:
        joined = blocks[0] if len(blocks) == 1 else scipy.sparse.hstack(blocks, format="csr")
        if material.targets is None:
            penalty = 1.0 if material.vectors is None else VECTOR_PENALTY
            head = fit_head(joined, labels, answers, weights, penalty=penalty)
        else:
            head = fit_soft_head(joined, labels, material.targets[rows], weights)
    return Core(head, lexical, semantic)


def _with_prototypes(
    prototypes: npt.NDArray[np.float32],
    ngrams: "list[scipy.sparse.csr_matrix]",
    labels: IntArray,
    weights: FloatArray,
) -> Head:
    """Return a head of a trained encoder's own directions, added to one on n-grams if any."""
    directions = (PROTOTYPE_SCALE / VECTOR_SCALE) * prototypes.T
    absent = np.setdiff1d(np.arange(len(prototypes)), labels)
    directions[:, absent] = 0
    if not ngrams:
        bias = np.zeros(len(prototypes), np.float32)
        bias[absent] = PROTOTYPE_SCALE * ABSENT
        return Head(np.ascontiguousarray(directions), bias)
    head = fit_head(ngrams[0], labels, len(prototypes), weights)
    return Head(np.concatenate((head.weights, directions)), head.bias)


def _centroids(
    features: "scipy.sparse.csr_matrix", labels: IntArray, answers: int
) -> npt.NDArray[np.float32]:
    """Return the mean direction of each answer's rows as columns, shape (features, answers)."""
    one_hot = scipy.sparse.csr_matrix(
        (np.ones(len(labels)), (np.arange(len(labels)), labels)), shape=(len(labels), answers)
    )
    sums = (features.T @ one_hot).toarray()
    # Row by row in memory: an answer looks at the rows of its n-grams.
    return np.ascontiguousarray(sums / (np.linalg.norm(sums, axis=0) + 1e-9), np.float32)


def alone_is_better(material: Material, answers: int) -> bool:
    """Whether vectors alone predict the first fold better than joined with n-grams."""
    material = unseen(material, 0)
    fitting, testing = np.flatnonzero(material.folds != 0), np.flatnonzero(material.folds == 0)
    if not len(testing) or not (material.labels[fitting] >= 0).any():
        return False
    truth = material.labels[testing]
    joined = predict(material, fitting, testing, answers).labels == truth
    alone = predict(material._replace(counts=None), fitting, testing, answers).labels == truth
    return bool(alone.mean() > joined.mean())


def soft_is_better(material: Material, answers: int) -> bool:
    """Whether soft labels predict the first fold at least as well as the teacher's answers alone.

    By the disagreement among the answered, averaged over all shares answered, the clearest first.
    """
    fitting, testing = np.flatnonzero(material.folds != 0), np.flatnonzero(material.folds == 0)
    if not len(testing) or not (material.labels[fitting] >= 0).any():
        return False

    def area(kind: Material) -> float:
        evidence = predict(kind, fitting, testing, answers)
        wrong = evidence.labels != material.labels[testing]
        lead = evidence.features[:, 1]
        ordered = wrong[np.argsort(-lead, kind="stable")]
        return float((np.cumsum(ordered) / np.arange(1, len(ordered) + 1)).mean())

    return area(material) <= area(material._replace(targets=None))


def targets_of(
    material: Material, rows: IntArray, soft: "scipy.sparse.csr_matrix | None"
) -> FloatArray:
    """Return the teacher's probabilities of some rows with answers that can be learned."""
    if soft is not None:
        return np.asarray(soft[rows].toarray(), np.float64)
    labels = material.labels[rows]
    found = np.zeros((len(rows), int(material.labels.max()) + 1))
    found[np.arange(len(rows)), labels] = 1.0
    return found
