"""The linear and encoder rungs: students with a linear head on n-grams, vectors or both."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from openwheel.errors import StudentFileError
from openwheel.students.agreement import SHARPNESS, Agreement, Precision
from openwheel.students.calibration import UNCALIBRATED, Calibration, ReliabilityBin
from openwheel.students.distances import Distances
from openwheel.students.encoder import SentenceEncoder, TextEncoder
from openwheel.students.evidence import (
    MOST_SCORES,
    Core,
    Evidence,
    Lexical,
    Semantic,
    look,
    look_one,
    scores_of,
)
from openwheel.students.guard import Guard
from openwheel.students.head import Head
from openwheel.students.onnx_encoder import GRAPH, TOKENIZER, Body, OnnxEncoder
from openwheel.students.rung import Saved
from openwheel.students.soft_head import softmax
from openwheel.students.student import Inputs, LabelStudent, Predictions
from openwheel.students.tfidf import Tfidf, count
from openwheel.trust import Base

FloatArray = npt.NDArray[np.float64]


class ModelSettings(msgspec.Struct, frozen=True):
    """What is saved of a model student beside its arrays."""

    variables: tuple[int, ...]
    answers: tuple[str, ...]
    intercept: float
    guard_intercept: float
    guard_limit: float
    encoder: str = ""
    encoder_fingerprint: str = ""
    # The defaults are of students from before probabilities were calibrated.
    sharpness: float = SHARPNESS
    reliability: tuple[ReliabilityBin, ...] = ()


class ModelStudent(LabelStudent):
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
        calibration: Calibration = UNCALIBRATED,
        encoder: TextEncoder | None = None,
    ) -> None:
        self.rung = "encoder" if core.semantic is not None else "linear"
        self.answers = answers
        self.variables = variables
        self.core = core
        self.precision = precision
        self.agreement = agreement
        self.guard = guard
        self.sharpness, self.reliability = calibration
        self.encoder = encoder

    def predict(self, inputs: Sequence[Inputs]) -> Predictions:
        """Answer a batch."""
        texts = [text_of(values, self.variables) for values in inputs]
        evidence = look(self.core, texts, self._embed(texts))
        return self._decide(evidence)

    def predict_one(self, inputs: Inputs) -> tuple[int, float]:
        """Answer one input."""
        label, confidence, _ = self._one(inputs)
        return label, confidence

    def probabilities(self, inputs: Sequence[Inputs]) -> FloatArray:
        """Return the probability of each answer."""
        texts = [text_of(values, self.variables) for values in inputs]
        step, parts = max(1, MOST_SCORES // len(self.answers)), []
        for start in range(0, len(texts), step):
            some = texts[start : start + step]
            features = None
            if self.core.lexical is not None:
                features, _ = self.core.lexical.tfidf.weigh(count(some))
            scores = scores_of(self.core, len(some), features, self._embed(some))
            parts.append(softmax(self.sharpness * scores))
        return np.concatenate(parts) if parts else np.zeros((0, len(self.answers)))

    def weigh_one(self, inputs: Inputs) -> tuple[str, float, FloatArray]:
        """Answer one input, with the probabilities of all answers."""
        label, confidence, scores = self._one(inputs)
        return self.answers[label], confidence, softmax(self.sharpness * scores)

    def _one(self, inputs: Inputs) -> tuple[int, float, FloatArray]:
        text = text_of(inputs, self.variables)
        evidence = look_one(self.core, text, self._embed([text]))
        predictions = self._decide(evidence)
        assert evidence.scores is not None
        return int(predictions.labels[0]), float(predictions.confidence[0]), evidence.scores[0]

    def _embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32] | None:
        return None if self.encoder is None else self.encoder.embed(texts)

    def _decide(self, evidence: Evidence) -> Predictions:
        extra = self.precision.features(evidence.labels)
        features = np.concatenate((evidence.features, extra), axis=1)
        confidence = self.agreement.confidence(features)
        confidence[self.guard.defers(evidence)] = 0.0
        return Predictions(evidence.labels, confidence)

    def state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Return what to save."""
        settings = ModelSettings(
            variables=self.variables,
            answers=self.answers,
            intercept=self.agreement.intercept,
            guard_intercept=self.guard.model.intercept,
            guard_limit=self.guard.limit,
            sharpness=self.sharpness,
            reliability=self.reliability,
            encoder=self.encoder.name if self.encoder else "",
            encoder_fingerprint=self.encoder.fingerprint if self.encoder else "",
        )
        arrays: dict[str, npt.NDArray[Any]] = {
            "head.weights": self.core.head.weights,
            "head.bias": self.core.head.bias,
            "precision.log_odds": self.precision.log_odds,
            "precision.log_count": self.precision.log_count,
            **self.agreement.arrays("agreement"),
            **self.guard.model.arrays("guard"),
        }
        if self.core.lexical is not None:
            arrays["tfidf.keys"] = self.core.lexical.tfidf.keys
            arrays["tfidf.idf"] = self.core.lexical.tfidf.idf
            arrays["centroids"] = self.core.lexical.centroids
        if self.core.semantic is not None:
            arrays["vectors"] = self.core.semantic.vectors
            arrays["vector_labels"] = self.core.semantic.labels
            for name, array in self.core.semantic.distances._asdict().items():
                arrays[f"distances.{name}"] = array
        return msgspec.to_builtins(settings), arrays

    def base(self) -> Base | None:
        """Return the encoder, None for n-grams alone."""
        if self.encoder is None:
            return None
        name, fingerprint = self.encoder.name, self.encoder.fingerprint
        return Base(id=name, kind="encoder", fingerprint=fingerprint)

    def write_files(self, folder: Path) -> None:
        """Write an encoder in ONNX.

        Raises:
            StudentFileError: It was not kept, since the student was loaded to answer.
        """
        if not isinstance(self.encoder, OnnxEncoder):
            return
        if self.encoder.body is None:
            raise StudentFileError("a student that was loaded cannot be saved: copy its folder")
        (folder / GRAPH).write_bytes(self.encoder.body.graph)
        (folder / TOKENIZER).write_bytes(self.encoder.body.tokenizer)

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
                distances = Distances(*[arrays[f"distances.{name}"] for name in Distances._fields])
                semantic = Semantic(arrays["vectors"], arrays["vector_labels"], distances)
            core = Core(Head(arrays["head.weights"], arrays["head.bias"]), lexical, semantic)
            precision = Precision(arrays["precision.log_odds"], arrays["precision.log_count"])
            agreement = Agreement.read(arrays, "agreement", known.intercept)
            novelty = Agreement.read(arrays, "guard", known.guard_intercept)
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
            guard=Guard(novelty, known.guard_limit),
            calibration=Calibration(known.sharpness, known.reliability),
            encoder=encoder if known.encoder else None,
        )


def text_of(inputs: Inputs, variables: tuple[int, ...]) -> str:
    """Return the text a model reads: the chosen variables, a line each."""
    return "\n".join([inputs[i] for i in variables if i < len(inputs)])


def load_linear(saved: Saved) -> ModelStudent:
    """Rebuild a saved student of the rung ``linear``; see `Rung.load`."""
    return ModelStudent.from_state(saved.settings, saved.arrays)


def load_encoder(saved: Saved) -> ModelStudent:
    """Rebuild a saved student of the rung ``encoder``; see `Rung.load`.

    Raises:
        SettingError: The encoder it was trained with cannot be loaded.
    """
    if GRAPH in saved.expected:
        body = Body(saved.read(GRAPH), saved.read(TOKENIZER))
        own = saved.encoders.of_body(str(saved.settings.get("encoder", "")), body)
        return ModelStudent.from_state(saved.settings, saved.arrays, own)
    # One in ONNX is never that of a student which has none in its folder.
    given = None if isinstance(saved.encoder, OnnxEncoder) else saved.encoder
    return ModelStudent.from_state(saved.settings, saved.arrays, given)
