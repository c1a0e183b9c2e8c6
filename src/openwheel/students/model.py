"""The linear and encoder rungs: a linear head on n-grams, on sentence vectors, or on both."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from scipy import sparse

from openwheel.errors import StudentFileError
from openwheel.students.agreement import Agreement, Precision, score_evidence
from openwheel.students.encoder import SentenceEncoder, TextEncoder
from openwheel.students.head import Head
from openwheel.students.student import Inputs, Predictions
from openwheel.students.tfidf import Tfidf, count

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

VECTOR_SCALE = 2.0
"""Weight of a sentence vector beside two unit blocks of n-grams, as tried by hand (DESIGN.md)."""

NEIGHBOURS = 10


class Lexical(NamedTuple):
    """The n-gram side: vocabulary, and the mean direction of each answer's training inputs."""

    tfidf: Tfidf
    centroids: npt.NDArray[np.float32]


class Semantic(NamedTuple):
    """The vector side: training vectors (unit length, shape (m, d)) and their answers."""

    vectors: npt.NDArray[np.float32]
    labels: IntArray


class Guard(NamedTuple):
    """Limits beyond which an input is unlike training, so that the student always defers.

    Attributes:
        unseen: Most of its n-grams that may be new, 0 to 1.
        similarity: Least similarity to the nearest centroid (or training vector).
    """

    unseen: float
    similarity: float


class Core(NamedTuple):
    """All that is learned from labels; folds have cores of their own."""

    head: Head
    lexical: Lexical | None
    semantic: Semantic | None


class Evidence(NamedTuple):
    """What a core says of a batch: top answers, features for agreement, what the guard looks at."""

    labels: IntArray
    features: FloatArray
    unseen: FloatArray
    similarity: FloatArray


class ModelSettings(msgspec.Struct, frozen=True):
    """What is saved of a model student beside its arrays."""

    variables: tuple[int, ...]
    answers: tuple[str, ...]
    intercept: float
    guard_unseen: float
    guard_similarity: float
    encoder: str = ""
    encoder_fingerprint: str = ""


class ModelStudent:
    """A student of the rung ``linear`` or ``encoder``."""

    def __init__(
        self,
        *,
        variables: tuple[int, ...],
        answers: tuple[str, ...],
        core: Core,
        precision: Precision,
        agreement: Agreement,
        guard: Guard,
        encoder: TextEncoder | None = None,
    ) -> None:
        self.rung = "encoder" if core.semantic is not None else "linear"
        self.answers = answers
        self.variables = variables
        self.core = core
        self.precision = precision
        self.agreement = agreement
        self.guard = guard
        self.encoder = encoder

    def predict(self, inputs: Sequence[Inputs]) -> Predictions:
        """Answer a batch."""
        texts = [text_of(values, self.variables) for values in inputs]
        evidence = look(self.core, texts, self._embed(texts))
        return self._decide(evidence)

    def predict_one(self, inputs: Inputs) -> tuple[int, float]:
        """Answer one input."""
        text = text_of(inputs, self.variables)
        evidence = look_one(self.core, text, self._embed([text]))
        predictions = self._decide(evidence)
        return int(predictions.labels[0]), float(predictions.confidence[0])

    def _embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32] | None:
        return None if self.encoder is None else self.encoder.embed(texts)

    def _decide(self, evidence: Evidence) -> Predictions:
        extra = self.precision.features(evidence.labels)
        features = np.concatenate((evidence.features, extra), axis=1)
        confidence = self.agreement.confidence(features)
        confidence[outside(self.guard, evidence)] = 0.0
        return Predictions(evidence.labels, confidence)

    def state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Return what to save."""
        settings = ModelSettings(
            variables=self.variables,
            answers=self.answers,
            intercept=self.agreement.intercept,
            guard_unseen=self.guard.unseen,
            guard_similarity=self.guard.similarity,
            encoder=self.encoder.name if self.encoder else "",
            encoder_fingerprint=self.encoder.fingerprint if self.encoder else "",
        )
        arrays: dict[str, npt.NDArray[Any]] = {
            "head.weights": self.core.head.weights,
            "head.bias": self.core.head.bias,
            "precision.log_odds": self.precision.log_odds,
            "precision.log_count": self.precision.log_count,
            "agreement.mean": self.agreement.mean,
            "agreement.scale": self.agreement.scale,
            "agreement.coefficients": self.agreement.coefficients,
        }
        if self.core.lexical is not None:
            arrays["tfidf.keys"] = self.core.lexical.tfidf.keys
            arrays["tfidf.idf"] = self.core.lexical.tfidf.idf
            arrays["centroids"] = self.core.lexical.centroids
        if self.core.semantic is not None:
            arrays["vectors"] = self.core.semantic.vectors
            arrays["vector_labels"] = self.core.semantic.labels
        return msgspec.to_builtins(settings), arrays

    @classmethod
    def from_state(
        cls,
        settings: dict[str, Any],
        arrays: dict[str, npt.NDArray[Any]],
        encoder: TextEncoder | None = None,
    ) -> "ModelStudent":
        """Rebuild a saved student.

        Args:
            settings: As :meth:`state` gave them.
            arrays: As :meth:`state` gave them.
            encoder: The encoder to use; by default the one it was trained with is loaded.

        Raises:
            StudentFileError: A part is missing, or the encoder is not the one it was trained with.
        """
        try:
            known = msgspec.convert(settings, ModelSettings)
            lexical = semantic = None
            if "tfidf.keys" in arrays:
                tfidf = Tfidf(arrays["tfidf.keys"], arrays["tfidf.idf"])
                lexical = Lexical(tfidf, arrays["centroids"])
            if "vectors" in arrays:
                semantic = Semantic(arrays["vectors"], arrays["vector_labels"])
            core = Core(Head(arrays["head.weights"], arrays["head.bias"]), lexical, semantic)
            precision = Precision(arrays["precision.log_odds"], arrays["precision.log_count"])
            agreement = Agreement(
                arrays["agreement.mean"],
                arrays["agreement.scale"],
                arrays["agreement.coefficients"],
                known.intercept,
            )
        except (KeyError, msgspec.ValidationError) as error:
            raise StudentFileError(f"The student's files lack a part: {error}") from None
        if known.encoder:
            encoder = encoder or SentenceEncoder(known.encoder)
            if encoder.fingerprint != known.encoder_fingerprint:
                raise StudentFileError(
                    f"The encoder {known.encoder!r} is not the one this student was trained with: "
                    f"its weights hash to {encoder.fingerprint[:12]}, "
                    f"they were {known.encoder_fingerprint[:12]}"
                )
        return cls(
            variables=known.variables,
            answers=known.answers,
            core=core,
            precision=precision,
            agreement=agreement,
            guard=Guard(known.guard_unseen, known.guard_similarity),
            encoder=encoder if known.encoder else None,
        )


def text_of(inputs: Inputs, variables: tuple[int, ...]) -> str:
    """Return the text a model reads: the chosen variables, a line each."""
    return "\n".join([inputs[i] for i in variables if i < len(inputs)])


def outside(guard: Guard, evidence: Evidence) -> npt.NDArray[np.bool_]:
    """Return which inputs are unlike training."""
    return (evidence.unseen > guard.unseen) | (evidence.similarity < guard.similarity)


def look(core: Core, texts: Sequence[str], vectors: npt.NDArray[np.float32] | None) -> Evidence:
    """Score a batch of texts, and their sentence vectors if the core has a vector side."""
    features, unseen = None, None
    if core.lexical is not None:
        features, unseen = core.lexical.tfidf.weigh(count(texts))
    return evaluate(core, texts, features, unseen, vectors)


def evaluate(
    core: Core,
    texts: Sequence[str],
    features: sparse.csr_matrix | None,
    unseen: FloatArray | None,
    vectors: npt.NDArray[np.float32] | None,
) -> Evidence:
    """Score texts whose n-gram features were already weighed."""
    scores = np.tile(core.head.bias.astype(np.float64), (len(texts), 1))
    to_centroids = None
    start = 0
    if features is not None and core.lexical is not None:
        start = features.shape[1]
        scores += features @ core.head.weights[:start]
        to_centroids = np.asarray(features @ core.lexical.centroids, np.float64)
    if vectors is not None:
        scores += VECTOR_SCALE * (vectors @ core.head.weights[start:])
    lengths = np.array([len(text) for text in texts], np.float64)
    return _combine(core, scores, to_centroids, unseen, vectors=vectors, lengths=lengths)


def look_one(core: Core, text: str, vectors: npt.NDArray[np.float32] | None) -> Evidence:
    """Score one text without sparse matrices, which cost more than the arithmetic."""
    scores = core.head.bias.astype(np.float64)
    to_centroids, unseen, start = None, None, 0
    if core.lexical is not None:
        columns, values, share = core.lexical.tfidf.weigh_one(text)
        start = len(core.lexical.tfidf.keys)
        scores += values @ core.head.weights[columns]
        to_centroids = (values @ core.lexical.centroids[columns])[None].astype(np.float64)
        unseen = np.array([share])
    if vectors is not None:
        scores += VECTOR_SCALE * (vectors[0] @ core.head.weights[start:])
    lengths = np.array([float(len(text))])
    return _combine(core, scores[None], to_centroids, unseen, vectors=vectors, lengths=lengths)


def _combine(
    core: Core,
    scores: FloatArray,
    to_centroids: FloatArray | None,
    unseen: FloatArray | None,
    *,
    vectors: npt.NDArray[np.float32] | None,
    lengths: FloatArray,
) -> Evidence:
    """Return the evidence of scores, similarities and lengths; all have a row for each text."""
    labels, from_scores = score_evidence(scores)
    n = len(labels)
    rows = np.arange(n)
    columns = [from_scores, np.log1p(lengths)[:, None]]
    similarity = np.ones(n)
    if to_centroids is not None and unseen is not None:
        own = to_centroids[rows, labels]
        similarity = to_centroids.max(axis=1)
        rivals = to_centroids.copy()
        rivals[rows, labels] = -1.0
        lead = own - rivals.max(axis=1)
        columns.append(np.stack((own, lead, unseen), axis=1))
    if vectors is not None and core.semantic is not None:
        near = neighbour_features(core.semantic, vectors, labels)
        similarity = near[:, 2]
        columns.append(near)
    return Evidence(
        labels,
        np.concatenate(columns, axis=1),
        np.zeros(n) if unseen is None else unseen,
        similarity,
    )


def neighbour_features(
    semantic: Semantic, vectors: npt.NDArray[np.float32], labels: IntArray
) -> FloatArray:
    """Return what the nearest training vectors say of each answer, shape (n, 5).

    The share of the ten nearest with the same answer, the same weighted by similarity, the nearest
    similarity, and the nearest similarity with the same and with another answer.
    """
    keep = min(NEIGHBOURS, len(semantic.labels))
    parts = []
    for start in range(0, len(vectors), 1_000):  # bounds the similarity matrix
        block = vectors[start : start + 1_000]
        similar = block @ semantic.vectors.T
        nearest = np.argpartition(-similar, keep - 1, axis=1)[:, :keep]
        top = np.take_along_axis(similar, nearest, axis=1).astype(np.float64)
        same = semantic.labels[nearest] == labels[start : start + 1_000, None]
        positive = np.maximum(top, 1e-6)
        parts.append(
            np.stack(
                (
                    same.mean(axis=1),
                    (same * positive).sum(axis=1) / positive.sum(axis=1),
                    top.max(axis=1),
                    np.where(same, top, 0).max(axis=1),
                    np.where(same, 0, top).max(axis=1),
                ),
                axis=1,
            )
        )
    return np.concatenate(parts) if parts else np.zeros((0, 5))
