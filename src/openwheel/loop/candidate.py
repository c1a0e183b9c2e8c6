"""Training a task's students and choosing among their rungs, on training data alone."""

import secrets
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from openwheel.errors import EngineError, ModelError
from openwheel.gate import (
    Plan,
    growth_needed,
    least_confidence,
    make_plan,
    predicted_coverage,
    spent,
)
from openwheel.gate.judge import Method
from openwheel.loop.accepted import accepted
from openwheel.loop.data import TaskData, cluster_keys, seen_keys
from openwheel.loop.limits import too_much
from openwheel.loop.lineage import make_lineage
from openwheel.loop.lm import train_lm
from openwheel.loop.progress import Progress, silent
from openwheel.loop.records import Candidate, Slicer
from openwheel.loop.registry import Registry
from openwheel.loop.settings import LoopSettings
from openwheel.loop.slices import evidently_bad, find_slicer
from openwheel.loop.subject import Subject
from openwheel.students import Fitted, Student, save_student, train
from openwheel.students.student import Inputs
from openwheel.students.variables import choose_variables

CHEAPER = 0.01
"""A dearer rung must be predicted to cover this much more than a cheaper one to be chosen."""


class Trained(msgspec.Struct, frozen=True):
    """A student trained but not yet judged.

    Attributes:
        student: The student.
        variables: Which of the task's variables it reads.
        plan: The thresholds to test.
        slicer: How its traffic is cut into slices.
        coverage: What training predicts it will be certified at; 0 if nothing is likely to pass.
        growth: By what factor calibration must grow for it to pass, None if that would not help.
        agreement: Out-of-fold agreement.
        evidence: How many independent calibration exchanges there are for it now.
        enough: How many should be enough for it to pass.
    """

    student: Student
    variables: tuple[int, ...]
    plan: Plan
    slicer: Slicer
    coverage: float
    growth: float | None
    agreement: float
    evidence: int
    enough: int


def train_best(
    subject: Subject,
    training: TaskData,
    calibration: Sequence[Inputs],
    *,
    expected: int = 0,
    anytime: bool = False,
    progress: Progress = silent,
    trouble: Progress = silent,
) -> Trained | None:
    """Train each rung and return the one that training predicts to cover most.

    A rung that cannot be trained (no memory for it, no engine) is left out, and told of.

    Args:
        subject: The task.
        training: Exchanges to train on.
        calibration: Inputs of the calibration exchanges there are; never their answers.
        expected: Exchanges to plan for where more are still to come; how many of them will be
            evidence depends on the rung.
        anytime: Whether it will be judged by anytime-valid tests.
        progress: Told what is being done.
        trouble: Told of what could not be done.

    Returns:
        None if no rung found anything to learn.

    Raises:
        MemoryError: There was too little memory for any rung that might have.
    """
    settings = subject.settings
    attempt = subject.record.attempts + 1
    variables = _variables(subject, training)
    slicer = find_slicer(training.inputs)
    best: Trained | None = None
    short = False
    for rung in subject.rungs:
        try:
            fitted = _train(rung, subject, training, variables, progress)
        except ValueError:
            continue  # nothing to learn for this rung; another may still
        except (EngineError, ModelError) as error:
            trouble(f"The rung {rung} is left out: {error}")
            continue
        except MemoryError:
            short = True
            trouble(f"The rung {rung} is left out: {too_much()}")
            continue
        evidence = _evidence(rung, training.inputs, calibration, variables)
        planned = max(evidence, int(expected * _fresh_share(rung, training.inputs, variables)))
        delta = spent(settings.delta, attempt)
        floor = least_confidence(
            fitted.confidence, _losses(fitted), settings.worst(subject.record.task.name)
        )
        confidence, deferring = _with_slices(
            slicer, training.inputs, fitted, settings, delta, floor=floor
        )
        plan = make_plan(
            confidence,
            _losses(fitted),
            epsilon=settings.epsilon,
            delta=delta,
            calibration=max(planned, 1),
            bounded=subject.bounded,
            floor=floor,
            unknown=fitted.unknown,
        )
        coverage = predicted_coverage(
            plan,
            epsilon=settings.epsilon,
            delta=delta,
            calibration=max(planned, 1),
            bounded=subject.bounded,
        )
        growth = growth_needed(
            plan,
            calibration=max(planned, 1),
            epsilon=settings.epsilon,
            delta=delta,
            anytime=anytime,
            bounded=subject.bounded,
        )
        trained = Trained(
            student=fitted.student,
            variables=variables,
            plan=plan,
            slicer=deferring,
            coverage=coverage,
            growth=growth,
            agreement=float(fitted.agrees.mean()) if len(fitted.agrees) else 0.0,
            evidence=evidence,
            enough=int(planned * (growth or 1.0)),
        )
        if best is None or _better(trained, best):
            best = trained
    if best is None and short:
        raise MemoryError
    return best


def _variables(subject: Subject, training: TaskData) -> tuple[int, ...]:
    """Return which variables a student reads: those that tell labels apart, or all."""
    if subject.record.form == "label":
        return choose_variables(training.inputs, training.answers)
    return tuple(range(len(training.inputs[0]))) if training.inputs else ()


def _train(
    rung: str,
    subject: Subject,
    training: TaskData,
    variables: tuple[int, ...],
    progress: Progress,
) -> Fitted:
    if rung != "lm":
        return train(
            rung,
            training.inputs,
            training.answers,
            variables=variables,
            encoder=subject.tools.encoder,
            tune=subject.settings.tune,
        )
    return train_lm(subject, training, variables, progress)


def _losses(fitted: Fitted) -> npt.NDArray[np.float64]:
    return (~fitted.agrees).astype(np.float64) if fitted.loss is None else fitted.loss


def _better(new: Trained, old: Trained) -> bool:
    """Whether a dearer rung is worth its cost; where neither would pass, the nearer one is."""
    if new.coverage or old.coverage:
        return new.coverage > old.coverage + CHEAPER
    return (new.growth or np.inf) < (old.growth or np.inf) or (
        new.growth == old.growth and new.agreement > old.agreement
    )


def _evidence(
    rung: str,
    training: Sequence[Inputs],
    calibration: Sequence[Inputs],
    variables: tuple[int, ...],
) -> int:
    """Return how many independent calibration exchanges would count, without their answers."""
    rows = evidence_rows(rung, training, calibration, variables)
    return len(set(clusters_of(rung, [calibration[i] for i in rows], variables)))


def _fresh_share(rung: str, inputs: Sequence[Inputs], variables: tuple[int, ...]) -> float:
    """Return what share of the exchanges to come is likely to be evidence for a rung.

    As many as of the latest third would have been, after training on those before. Where nearly
    all inputs come again a model waits long for new ones, and the exact rung does not.
    """
    cut = 2 * len(inputs) // 3
    latest = inputs[cut:]
    return _evidence(rung, inputs[:cut], latest, variables) / len(latest) if latest else 1.0


def clusters_of(
    rung: str, inputs: Sequence[Inputs], variables: tuple[int, ...]
) -> list[bytes] | list[int]:
    """Return the cluster of each calibration exchange; a cluster speaks once.

    A model that is wrong on an input is wrong whenever it comes again. The exact rung only repeats
    what the teacher said, so each exchange asks anew whether the teacher still says the same.
    """
    if rung == "exact":
        return list(range(len(inputs)))
    return cluster_keys(inputs, variables)


def evidence_rows(
    rung: str,
    training: Sequence[Inputs],
    calibration: Sequence[Inputs],
    variables: tuple[int, ...],
) -> npt.NDArray[np.int64]:
    """Return which calibration exchanges may speak for a student.

    For a model, an input that it saw in training is no evidence. For the exact rung the inputs
    seen in training are all it answers.
    """
    if rung == "exact":
        return np.arange(len(calibration))
    seen = set(seen_keys(training, variables))
    keys = seen_keys(calibration, variables)
    return np.array([i for i, key in enumerate(keys) if key not in seen], np.int64)


def _with_slices(
    slicer: Slicer,
    inputs: Sequence[Inputs],
    fitted: Fitted,
    settings: LoopSettings,
    delta: float,
    *,
    floor: float,
) -> tuple[npt.NDArray[np.float64], Slicer]:
    """Leave evidently bad slices to the teacher; return confidences with those set to 0."""
    confidence, losses = fitted.confidence, _losses(fitted)
    if slicer.variable is None:
        return confidence, slicer
    names = [slicer.slice_of(inputs[row]) for row in fitted.rows]
    plan = make_plan(
        confidence,
        losses,
        epsilon=settings.epsilon,
        delta=delta,
        calibration=max(len(inputs) // 3, 1),
        floor=floor,
    )
    if not plan.thresholds:
        return confidence, slicer
    start = plan.thresholds[int(np.argmax(plan.weights))]
    bad = evidently_bad(names, confidence >= start, losses, settings.epsilon)
    deferring = msgspec.structs.replace(slicer, deferred=bad)
    left = np.array([deferring.defers(inputs[row]) for row in fitted.rows], np.bool_)
    return np.where(left, 0.0, confidence), deferring


def save_candidate(
    registry: Registry,
    subject: Subject,
    trained: Trained,
    training: TaskData,
    *,
    trained_until: int,
    method: Method,
) -> Candidate:
    """Count the attempt, save the student's files and register it as shadowing.

    In this order: files without a record are garbage to sweep, a record without files would be a
    student that cannot answer.
    """
    settings, task_id = subject.settings, subject.record.task.id
    attempt = registry.attempt(task_id)
    student_id = f"{trained.student.rung}-{secrets.token_hex(6)}"
    files = save_student(trained.student, registry.folder(student_id))
    candidate = Candidate(
        id=student_id,
        task_id=task_id,
        rung=trained.student.rung,
        files=files,
        attempt=attempt,
        epsilon=settings.epsilon,
        delta=settings.delta,
        delta_spent=spent(settings.delta, attempt),
        plan=trained.plan,
        slicer=trained.slicer,
        variables=trained.variables,
        surfaces={answer: training.surfaces[answer] for answer in trained.student.answers},
        trained_until=trained_until,
        coverage=trained.coverage,
        enough=trained.enough,
        training=training.window(),
        method=method,
        accepted=accepted(training.settings),
        form=subject.record.form,
        compare=subject.comparison.setting if subject.comparison else "exact",
        compared=subject.compared,
        lineage=make_lineage(trained.student, student_id, task_id, training, settings.policy),
    )
    registry.add_candidate(candidate)
    return candidate
