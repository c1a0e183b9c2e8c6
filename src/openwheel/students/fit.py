"""Trains the linear and encoder rungs, with out-of-fold predictions of every training input."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from openwheel.progress import Progress, silent
from openwheel.students.agreement import fit_agreement, fit_precision, out_of_fold_confidence
from openwheel.students.calibration import Calibration, HeldOut, fit_sharpness, reliability
from openwheel.students.cores import (
    alone_is_better,
    fit_core,
    out_of_fold,
    soft_is_better,
    targets_of,
)
from openwheel.students.encoder import TextEncoder
from openwheel.students.evidence import Evidence
from openwheel.students.left_out import deferred, fit_guard, leave_out
from openwheel.students.material import NONE_GIVEN, Material, prepare
from openwheel.students.model import ModelStudent
from openwheel.students.student import Fitted, Inputs
from openwheel.students.tune.order import Tune
from openwheel.students.tuned import tuned

IntArray = npt.NDArray[np.int64]


def fit_model(
    inputs: Sequence[Inputs],
    answers: Sequence[str],
    *,
    variables: tuple[int, ...],
    encoder: TextEncoder | None = None,
    tune: Tune | None = None,
    probabilities: Mapping[int, Mapping[str, float]] = NONE_GIVEN,
    guarded: bool = True,
    progress: Progress = silent,
) -> Fitted:
    """Train a student of the rung ``linear``, or with an encoder of the rung ``encoder``.

    With an encoder, its vectors are used alone or joined with n-grams, whichever predicts one
    held-out fold of the training inputs better.

    Args:
        inputs: In order of arrival, shape (n,).
        answers: The teacher's canonical answers, shape (n,).
        variables: Which of the inputs are read.
        encoder: A sentence encoder, for the rung ``encoder``.
        tune: How to train the encoder on these inputs too; by default it stays as it is.
        probabilities: Of answers, by row, where the teacher gave them with its answer: soft labels,
            which are learned where they predict a held-out fold better than its answers alone.
        guarded: Whether the student leaves novel inputs to the teacher; benchmarks compare.
        progress: Called with the steps that take long: those of an encoder.

    Raises:
        ValueError: No answer has two distinct inputs, so there is nothing to learn.
    """
    names, joined = prepare(
        inputs, answers, variables, encoder, probabilities=probabilities, progress=progress
    )
    soft = joined.targets
    if soft is not None and not soft_is_better(joined, len(names)):
        joined = joined._replace(targets=None)
    material = joined
    if encoder is not None and alone_is_better(material, len(names)):
        material = material._replace(counts=None)
    predicted, evidence, held_out = out_of_fold(material, len(names))
    if encoder is not None and tune is not None:
        agreement = float((evidence.labels == material.labels[predicted]).mean())
        found = tuned(
            material, joined, len(names), encoder, tune, agreement=agreement, progress=progress
        )
        if found is not None:
            material, encoder = found
            predicted, evidence, held_out = out_of_fold(material, len(names))
    return _fitted(
        names,
        material,
        predicted,
        evidence,
        calibration=_calibrated(held_out, targets_of(material, held_out.rows, soft)),
        variables=variables,
        encoder=encoder,
        guarded=guarded,
    )


def _calibrated(held_out: HeldOut, targets: npt.NDArray[np.float64]) -> Calibration:
    sharpness = fit_sharpness(held_out.scores, targets)
    return Calibration(sharpness, reliability(held_out.scores, targets, sharpness))


def _fitted(
    names: tuple[str, ...],
    material: Material,
    predicted: IntArray,
    evidence: Evidence,
    *,
    calibration: Calibration,
    variables: tuple[int, ...],
    encoder: TextEncoder | None,
    guarded: bool,
) -> Fitted:
    """Fit the models on predictions out of fold, and the student that is kept."""
    agrees, folds = evidence.labels == material.labels[predicted], material.folds[predicted]
    learned = material.labels[material.labels >= 0]
    counts = np.bincount(learned, minlength=len(names))
    precision, own = fit_precision(evidence.labels, agrees, counts, folds)
    features = np.concatenate((evidence.features, own), axis=1)
    agreement = fit_agreement(features, agrees)
    confidence = out_of_fold_confidence(features, agrees, folds)
    left_out = leave_out(material, len(names))
    guard = fit_guard(left_out, evidence, agrees, confidence, vectors=material.vectors is not None)
    if not guarded:
        guard = guard._replace(limit=1.0)
    confidence[guard.defers(evidence)] = 0.0
    unknown = None
    if left_out is not None:
        novel = left_out.evidence.take(left_out.novel)
        extra = precision.features(novel.labels)
        unknown = agreement.confidence(np.concatenate((novel.features, extra), axis=1))
        unknown[deferred(left_out, guard)] = 0.0
    everything = np.arange(len(material.texts))
    student = ModelStudent(
        variables=variables,
        answers=names,
        core=fit_core(material, everything, len(names)),
        precision=precision,
        agreement=agreement,
        guard=guard,
        calibration=calibration,
        encoder=encoder,
    )
    return Fitted(student, confidence, agrees, material.rows[predicted], unknown=unknown)
