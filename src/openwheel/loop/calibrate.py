"""Judging a candidate on its calibration exchanges, and writing its certificate."""

import datetime
import platform
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import cast

import msgspec
import numpy as np
import numpy.typing as npt

from openwheel import __version__
from openwheel.errors import SettingError
from openwheel.gate import (
    Certificate,
    Compared,
    Evidence,
    Judgement,
    Slice,
    Test,
    first_of_each,
    in_steps,
    judge,
)
from openwheel.gate.betting import STEPS
from openwheel.gate.certificate import SCHEMA
from openwheel.loop.accepted import decode_settings
from openwheel.loop.candidate import clusters_of, evidence_rows
from openwheel.loop.data import TaskData
from openwheel.loop.judging import TeacherJudge
from openwheel.loop.records import Candidate
from openwheel.students import Student
from openwheel.students.student import WritingStudent
from openwheel.tasks import Inputs, Task, canonical_answer
from openwheel.tasks.compare import Comparison, Pair
from openwheel.trust import licence_summary
from openwheel.wire import Answer

FloatArray = npt.NDArray[np.float64]


class Calibrated(msgspec.Struct, frozen=True):
    """A candidate with what the gate found, and what it looked at.

    Attributes:
        judgement: What the gate found.
        data: The calibration exchanges that could speak for it.
        answers: What the student answered to each, ``""`` where it had no answer.
        confidence: Its confidences, 0 where a slice was deferred, shape (n,).
        losses: How far its answer was from the teacher's, from 0 (agrees) to 1, shape (n,).
        compared: Whether that was looked at: where no threshold would answer, a comparison that
            costs is spared and the loss is set to 1, shape (n,).
        first: Which exchanges are the first of their cluster and so count as evidence.
    """

    judgement: Judgement
    data: TaskData
    answers: list[str]
    confidence: FloatArray
    losses: FloatArray
    compared: npt.NDArray[np.bool_]
    first: npt.NDArray[np.intp]

    @property
    def agrees(self) -> npt.NDArray[np.bool_]:
        """Whether each answer was the teacher's, without any loss, shape (n,)."""
        return np.asarray(self.losses == 0)


def calibrate(
    candidate: Candidate,
    student: Student,
    training: Sequence[Inputs],
    calibration: TaskData,
    *,
    comparison: Comparison | None = None,
    request_of: Callable[[Inputs], str] = "\n".join,
) -> Calibrated:
    """Judge a candidate.

    A judge with a budget looks at as many of the exchanges, from the first on, as it reaches for.

    Args:
        candidate: What to judge it by.
        student: Its student.
        training: The inputs it was trained on: they are no evidence for a model.
        calibration: Unbiased exchanges it has not seen, in order of arrival.
        comparison: How answers are compared; by default canonical answers agree if equal.
        request_of: Returns the request that has these inputs, as text, for a judge.

    Raises:
        SettingError: The comparison is not the one the candidate was registered with.
        TeacherError: A judge could not be asked; what it said so far is kept.
    """
    rows = evidence_rows(candidate.rung, training, calibration.inputs, candidate.variables)
    data = calibration.take(rows)
    answers, confidence = _answers(candidate, student, data.inputs)
    # What it would leave to the teacher says nothing of its answers.
    left = np.array([candidate.slicer.defers(values) for values in data.inputs], np.bool_)
    left |= ~_accepted(candidate, data)
    confidence = np.where(left, 0.0, confidence)
    if comparison is None:
        losses = np.array(
            [
                float(canonical_answer(Answer(answer), candidate.form) != truth)
                for answer, truth in zip(answers, data.answers, strict=True)
            ]
        )
        compared = np.ones(len(data), np.bool_)
    else:
        compared = confidence >= min(candidate.plan.thresholds, default=np.inf)
        pairs = _pairs(data, answers, compared, request_of)
        reached = _reached(comparison, candidate, pairs, compared)
        data, answers = data.take(np.arange(reached)), answers[:reached]
        confidence, compared = confidence[:reached], compared[:reached]
        losses = np.ones(reached)
        losses[compared] = comparison.losses(pairs[: int(compared.sum())])
    clusters = np.array(clusters_of(candidate.rung, data.inputs, candidate.variables))
    judgement = judge(
        confidence,
        losses,
        clusters,
        candidate.plan,
        epsilon=candidate.epsilon,
        delta=candidate.delta_spent,
        method=candidate.method,
        probabilities=data.probability,
    )
    return Calibrated(
        judgement, data, answers, confidence, losses, compared, first_of_each(clusters)
    )


def _answers(
    candidate: Candidate, student: Student, inputs: Sequence[Inputs]
) -> tuple[list[str], FloatArray]:
    """Return what a student answers, ``""`` where it has no answer, and its confidences."""
    if candidate.writes:
        writings = cast(WritingStudent, student).write(inputs)
        return writings.answers, writings.confidence
    labels, confidence = student.predict(inputs)
    return [student.answers[label] if label >= 0 else "" for label in labels], confidence


def _pairs(
    data: TaskData,
    answers: list[str],
    compared: npt.NDArray[np.bool_],
    request_of: Callable[[Inputs], str],
) -> list[Pair]:
    """Return what the teacher and the student answered, where that is to be compared."""
    return [
        Pair(request_of(data.inputs[i]), Answer(data.texts[i]), Answer(answers[i]))
        for i in np.flatnonzero(compared)
    ]


def _reached(
    comparison: Comparison,
    candidate: Candidate,
    pairs: list[Pair],
    compared: npt.NDArray[np.bool_],
) -> int:
    """Return how many exchanges, from the first on, a comparison can look at.

    Raises:
        SettingError: It is not the comparison the candidate was registered with.
    """
    registered = candidate.compared.sha256 if candidate.compared is not None else ""
    if registered and comparison.fingerprint != registered:
        raise SettingError(
            f"Student {candidate.id} was registered to be compared by "
            f"{candidate.compare!r} as of {registered[:12]}, and that has changed to "
            f"{comparison.setting!r} as of {comparison.fingerprint[:12]}: a new attempt"
        )
    if not isinstance(comparison, TeacherJudge):
        return len(compared)
    number = comparison.affordable(pairs)
    return len(compared) if number == len(pairs) else int(np.flatnonzero(compared)[number])


def _accepted(candidate: Candidate, data: TaskData) -> npt.NDArray[np.bool_]:
    known = {text: candidate.accepted.accepts(decode_settings(text)) for text in set(data.settings)}
    return np.array([known[text] for text in data.settings], np.bool_)


def write_certificate(task: Task, candidate: Candidate, calibrated: Calibrated) -> Certificate:
    """Write the certificate of a candidate that passed.

    Raises:
        ValueError: It did not pass.
    """
    judgement = calibrated.judgement
    if judgement.chosen is None:
        raise ValueError(f"student {candidate.id} did not pass the gate")
    test = judgement.tests[judgement.chosen]
    return Certificate(
        schema=SCHEMA,
        statement=promise(candidate.epsilon, candidate.delta, candidate.compared),
        task=task.id,
        task_name=task.name,
        student=candidate.id,
        rung=candidate.rung,
        files=candidate.files,
        epsilon=candidate.epsilon,
        delta=candidate.delta,
        attempt=candidate.attempt,
        delta_spent=candidate.delta_spent,
        method=judgement.method,
        tests=judgement.tests,
        chosen=judgement.chosen,
        threshold=test.threshold,
        calibration=Evidence(judgement.n, test.answered, test.disagreements),
        observed=test.loss / test.answered,
        bound=judgement.bound,
        coverage=test.answered / judgement.n,
        repeat_disagreement=judgement.repeat_disagreement,
        weighted_disagreement=judgement.weighted_disagreement,
        training=candidate.training,
        calibration_window=calibrated.data.window(),
        slices=_slices(candidate, calibrated, test),
        deferred_slices=candidate.slicer.deferred,
        versions={
            "openwheel": __version__,
            "python": platform.python_version(),
            "numpy": version("numpy"),
            "scipy": version("scipy"),
            "scikit-learn": version("scikit-learn"),
        },
        created=now(),
        compared=candidate.compared,
        licences=licence_summary(candidate.made_of()),
        lineage=candidate.made_of().digest(),
        matcher=candidate.matcher,
    ).sealed()


def promise(epsilon: float, delta: float, compared: Compared | None = None) -> str:
    """Return the promise in words, with its condition.

    Args:
        epsilon: The most disagreement allowed.
        delta: The probability allowed for the promise to be wrong.
        compared: How answers are compared, if not by equality.
    """
    said = (
        f"On traffic like that of the calibration window, the probability that this student "
        f"disagrees with the teacher on more than {epsilon:.2%} of the requests it answers is at "
        f"most {delta:.2%}, over the draw of the calibration set and all attempts on this task. "
        "It supposes requests that come independently, or in bursts whose length tells nothing of "
        "agreement; for a model it speaks of inputs that were not in its training set."
    )
    if compared is None:
        return said
    by = f"{compared.setting} of {compared.model}" if compared.model else compared.setting
    return (
        f"{said} An answer disagrees by its loss, from 0 to 1, in the comparison {by}, as of "
        f"{compared.sha256[:12]}; the promise is for the mean of the losses."
    )


def now() -> str:
    """Return the time as ISO 8601 in UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _slices(candidate: Candidate, calibrated: Calibrated, test: Test) -> tuple[Slice, ...]:
    """Count the evidence by slice at the chosen threshold."""
    first = calibrated.first
    names = [candidate.slicer.slice_of(calibrated.data.inputs[i]) for i in first]
    answered = calibrated.confidence[first] >= test.threshold
    steps = in_steps(calibrated.losses[first])
    found = []
    for name in sorted(set(names) & set(candidate.slicer.known or ("all",))):
        inside = np.array([other == name for other in names])
        wrong = steps[inside & answered & (steps > 0)].tolist()
        partial = Counter(step for step in wrong if step < STEPS)
        found.append(
            Slice(
                name,
                int(inside.sum()),
                int((inside & answered).sum()),
                len(wrong),
                tuple(sorted(partial.items())),
            )
        )
    return tuple(found)
