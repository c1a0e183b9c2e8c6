"""Trains a screen for critical answers."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from openwheel.students.cores import fit_core, out_of_fold
from openwheel.students.material import prepare
from openwheel.students.model import text_of
from openwheel.students.screen import CRITICAL, Screen, ScreenedStudent, scores_of
from openwheel.students.student import Fitted, Inputs

FEWEST_CRITICAL = 10
"""Different inputs with a critical answer; fewer do not show what one looks like."""

WORTH = 5.0
"""To hold back one more of a hundred critical inputs is worth so many of a hundred others."""

HEAVIER = 10.0
"""A critical input weighs as much more than another as there are more of those, at most this."""

NAMES = ("critical", "other")


def screened(
    fitted: Fitted,
    inputs: Sequence[Inputs],
    answers: Sequence[str],
    *,
    critical: Sequence[str],
    variables: tuple[int, ...],
) -> Fitted:
    """Return a trained student behind a screen that is trained on the same exchanges.

    Its confidences out of fold are 0 where the screen, out of fold as well, would have held the
    input back, so a plan made from them expects the same deferrals.

    Args:
        fitted: The student.
        inputs: The training inputs, in order of arrival, shape (n,).
        answers: The teacher's canonical answers, shape (n,).
        critical: Canonical answers that the student must not miss.
        variables: Which of the inputs are read.

    Raises:
        ValueError: Fewer than `FEWEST_CRITICAL` different inputs had a critical answer, or none
            had another.
    """
    named = [NAMES[int(answer not in critical)] for answer in answers]
    names, material = prepare(inputs, named, variables, None)
    number = int((material.labels == CRITICAL).sum()) if names == NAMES else 0
    if number < FEWEST_CRITICAL:
        raise ValueError(
            f"{number} different inputs with a critical answer, at least {FEWEST_CRITICAL} needed"
        )
    rare = min((len(material.labels) - number) / number, HEAVIER)
    heavier = np.where(material.labels == CRITICAL, max(rare, 1.0), 1.0)
    material = material._replace(weights=material.weights * heavier)
    predicted, evidence, _ = out_of_fold(material, len(NAMES))
    scores = scores_of(evidence)
    limit = _limit(scores, material.labels[predicted] == CRITICAL)
    core = fit_core(material, np.arange(len(material.texts)), len(NAMES))
    screen = Screen(tuple(sorted(critical)), variables, core, limit)
    student = ScreenedStudent(fitted.student, screen)
    held = _held(screen, [inputs[row] for row in fitted.rows], material.texts, predicted, scores)
    # The student's answer out of fold is known if it is right.
    right = np.array([answers[row] in critical for row in fitted.rows], np.bool_) & fitted.agrees
    confidence = np.where(held | right, 0.0, fitted.confidence)
    return fitted._replace(student=student, confidence=confidence)


def _limit(scores: npt.NDArray[np.float64], critical: npt.NDArray[np.bool_]) -> float:
    """Return the score from which inputs are held back: a lower one is not worth its cost."""
    order = np.argsort(-scores, kind="stable")
    caught = np.cumsum(critical[order]) / critical.sum()
    cost = np.cumsum(~critical[order]) / max((~critical).sum(), 1)
    return float(scores[order][np.argmax(WORTH * caught - cost)])


def _held(
    screen: Screen,
    inputs: Sequence[Inputs],
    texts: Sequence[str],
    predicted: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float64],
) -> npt.NDArray[np.bool_]:
    """Return which inputs the screen would have held back before it was taught them, shape (n,).

    Inputs that are too old to have been trained on are scored by the screen itself.
    """
    held = screen.holds(inputs)
    found: dict[str, float] = {}
    for row, score in zip(predicted, scores, strict=True):
        found[texts[row]] = max(score, found.get(texts[row], -np.inf))
    for i, values in enumerate(inputs):
        score = found.get(text_of(values, screen.variables))
        if score is not None:
            held[i] = score >= screen.limit
    return held
