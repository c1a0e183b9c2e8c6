"""Trains a task's students and chooses among their rungs, on training data alone."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import scipy

from openwheel.errors import EngineError, ModelError, SettingError
from openwheel.gate import (
    Plan,
    growth_needed,
    least_confidence,
    make_plan,
    predicted_coverage,
    spent,
)
from openwheel.loop.data import TaskData, seen_keys
from openwheel.loop.layouts import find_layouts
from openwheel.loop.records import Slicer
from openwheel.loop.settings import LoopSettings
from openwheel.loop.soft_labels import soft_labels
from openwheel.loop.subject import Subject
from openwheel.loop.turn.bursts import bursts
from openwheel.loop.turn.limits import too_much
from openwheel.progress import Progress, silent
from openwheel.students import Fitted, Lesson, Student, rungs
from openwheel.students.fit_screen import FEWEST_CRITICAL, screened
from openwheel.students.student import Inputs, NotLearnedError
from openwheel.students.variables import choose_variables
from openwheel.tasks import FORMS, answer_in, canonical_answer
from openwheel.tasks.compare import Pair, why_unsuited

FloatArray = npt.NDArray[np.float64]

LATEST = 50_000
"""The latest training exchanges for which a student's behaviour is predicted."""

CHEAPER = 0.01
"""A dearer rung must be predicted to cover this much more than a cheaper one to be chosen."""


COVERED = 0.5
"""A language model is not tried unasked where a cheaper rung is predicted to cover so much: it
trains for minutes to hours, and could at most double what is covered."""


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
        evidence: How many calibration exchanges there are, a burst counted once.
        enough: How many of those should be enough for it to pass.
        stream: What it would have done on the exchanges of its training.
        blame: The answer that was wrong most often out of fold, in a sentence, or ``""``.
        others: Students of dear rungs that were trained too, and are not better.
        files: Where it was saved, if it was trained elsewhere and loaded from there.
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
    stream: "Stream"
    blame: str = ""
    others: "tuple[Trained, ...]" = ()
    files: Path | None = None


def train_best(
    subject: Subject,
    training: TaskData,
    untrained: TaskData,
    calibration: Sequence[Inputs],
    *,
    expected: int = 0,
    anytime: bool = False,
    share: float = 1.0,
    progress: Progress = silent,
    trouble: Callable[[str], None] = silent,
) -> Trained | None:
    """Train each rung and return the one that training predicts to cover most.

    A rung that cannot be trained (no memory for it, no engine) is left out and reported.

    Args:
        training: Exchanges to train on.
        untrained: Exchanges of the same time that are not trained on but count all the same.
        calibration: Inputs of the calibration exchanges there are; never their answers.
        expected: Exchanges to plan for where more are still to come.
        anytime: Whether it will be judged by anytime-valid tests.
        share: Share of the attempt's delta that these have.
        trouble: Called with each step that failed.

    Returns:
        None if no rung found anything to learn.

    Raises:
        MemoryError: There was too little memory for each rung that might have learned.
        SettingError: The rules for fields do not suit the teacher's answers.
    """
    settings = subject.settings
    critical = subject.critical
    if critical and (problem := _not_critical(subject, training)):
        trouble(problem)
        return None
    attempt = subject.record.attempts + 1
    variables = _variables(subject, training)
    slicer = find_slicer(training.inputs, layouts=FORMS[subject.record.form].has_fields)
    votes = len(set(bursts(calibration, variables).tolist()))
    planned = max(votes, int(expected * _share_of_votes(training.inputs, variables)), 1)
    lesson = _lesson(subject, training, variables, progress)
    best: Trained | None = None
    dear: list[Trained] = []
    short = False
    for rung in subject.rungs:
        if is_dear(rung) and not settings.rungs_named and best and best.coverage >= COVERED:
            trouble(
                f"The rung {rung} is left out: {best.student.rung} is predicted to cover "
                f"{best.coverage:.1%}. To have it tried all the same, name it in loop.rungs."
            )
            continue
        try:
            fitted = rungs()[rung].train(lesson)
            if critical:
                fitted = screened(
                    fitted,
                    training.inputs,
                    training.answers,
                    critical=critical,
                    variables=variables,
                )
        except NotLearnedError as error:
            trouble(f"The rung {rung} is left out: {error}.")
            continue
        except ValueError:
            continue  # this rung has nothing to learn; another may
        except (EngineError, ModelError) as error:
            trouble(f"The rung {rung} is left out: {error}")
            continue
        except MemoryError:
            short = True
            trouble(f"The rung {rung} is left out: {too_much()}")
            continue
        delta = spent(settings.delta, attempt) * share
        inputs, stream = as_served(fitted, training, untrained, subject)
        floor = least_confidence(
            stream.confidence, stream.losses, settings.worst(subject.record.task.name)
        )
        confidence, deferring = _with_slices(slicer, inputs, stream, settings, delta, floor=floor)
        plan = make_plan(
            confidence,
            stream.losses,
            epsilon=settings.epsilon,
            delta=delta,
            calibration=planned,
            bounded=subject.bounded,
            floor=floor,
            unknown=fitted.unknown,
        )
        coverage = predicted_coverage(
            plan,
            epsilon=settings.epsilon,
            delta=delta,
            calibration=planned,
            bounded=subject.bounded,
        )
        growth = growth_needed(
            plan,
            calibration=planned,
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
            agreement=1 - float(loss_of(fitted).mean()) if len(fitted.agrees) else 0.0,
            evidence=votes,
            enough=int(planned * (growth or 1.0)),
            stream=stream,
            blame=fitted.blame,
        )
        if is_dear(rung):
            dear.append(trained)
        if best is None or _better(trained, best):
            best = trained
    if best is None and short:
        raise MemoryError
    if best is None:
        return None
    others = tuple(other for other in dear if other is not best)
    return msgspec.structs.replace(best, others=others)


def is_dear(rung: str) -> bool:
    """Return whether a rung takes minutes to hours to train: it is built on a language model."""
    return rungs()[rung].base == "lm"


def _variables(subject: Subject, training: TaskData) -> tuple[int, ...]:
    """Return the variables that a student reads: those that help to predict labels, or all."""
    if FORMS[subject.record.form].closed:
        return choose_variables(training.inputs, training.answers)
    template = subject.record.task.template
    if template is not None:
        return tuple(range(template.texts))
    return tuple(range(max(map(len, training.inputs), default=0)))


def _lesson(
    subject: Subject, training: TaskData, variables: tuple[int, ...], progress: Progress
) -> Lesson:
    settings, resources, comparison = subject.settings, subject.resources, subject.comparison
    form = subject.record.form
    _require_suited(subject, training)

    def losses_of(rows: Sequence[int], texts: Sequence[str]) -> Sequence[float]:
        pairs = []
        for row, text in zip(rows, texts, strict=True):
            request = subject.request_of(training.inputs[row])
            teacher = answer_in(training.texts[row], form, training.probabilities[row])
            pairs.append(Pair(request, teacher, answer_in(text, form)))
        return comparison.losses(pairs)

    return Lesson(
        inputs=training.inputs,
        answers=training.answers,
        variables=variables,
        form=form,
        folds=subject.record.folds,
        template=subject.record.task.template,
        surfaces=training.surfaces,
        thoughts={i: thought for i, thought in enumerate(training.thoughts) if thought},
        probabilities=soft_labels(training, form, subject.record.folds),
        losses_of=None if comparison.equality else losses_of,
        by_field=subject.by_field,
        encoder=resources.encoder,
        tune=settings.tune,
        lm=settings.lm,
        serve=None if resources.adapters is None else resources.adapters.serve,
        work=subject.work,
        progress=progress,
    )


def _not_critical(subject: Subject, training: TaskData) -> str:
    """Return why a screen for the critical answers cannot be trained, ``""`` if it can."""
    name = subject.record.task.name
    if not FORMS[subject.record.form].closed:
        return (
            f"tasks.{name}.critical is for tasks whose answers are labels, those of this task are "
            f"of the form {subject.record.form}: no student is tried"
        )
    inputs = {
        values
        for values, answer in zip(training.inputs, training.answers, strict=True)
        if answer in subject.critical
    }
    if len(inputs) >= FEWEST_CRITICAL:
        return ""
    return (
        f"The teacher gave the critical answers {', '.join(map(repr, subject.critical))} to "
        f"{len(inputs)} different inputs; at least {FEWEST_CRITICAL} are needed to tell which "
        "requests may have them. Until then no student is tried"
    )


def _require_suited(subject: Subject, training: TaskData) -> None:
    """Raise a SettingError unless the rules for fields suit the teacher's answers."""
    record, by_field = subject.record, subject.by_field
    answers = (answer_in(text, record.form) for text in training.texts)
    if by_field.fields and (problem := why_unsuited(by_field, answers, record.folds)):
        raise SettingError(f"tasks.{record.task.name}: {problem}")


class Stream(msgspec.Struct, frozen=True):
    """What a student would have done on training exchanges, in order of arrival.

    Attributes:
        confidence: Shape (n,).
        losses: How far its answer would have been from the teacher's, from 0 to 1, shape (n,).
        keys: The keys that clients used.
    """

    confidence: FloatArray
    losses: FloatArray
    keys: list[str]


def as_served(
    fitted: Fitted, training: TaskData, untrained: TaskData, subject: Subject
) -> tuple[list[Inputs], Stream]:
    """Return inputs, and what a student would have done on them: on all exchanges of its training.

    Inputs that training saw once are predicted out of fold, as new ones will be. The student itself
    answers inputs that came again, as it will when serving, and exchanges that are not trained on.
    A student that runs in another process takes seconds for each. Of it only predictions out of
    fold are used, and exchanges that are not trained on get confidences drawn from theirs.
    """
    student = fitted.student
    since = np.sort(training.place)[-LATEST:][0]
    parts = [(training.take(fitted.rows), fitted.confidence, loss_of(fitted))]
    unseen = untrained.take(np.flatnonzero(untrained.place >= since))
    if rungs()[student.rung].asked == "remote":
        parts.append((unseen, _like(fitted.confidence, len(unseen)), np.ones(len(unseen))))
    else:
        repeated = np.ones(len(training), np.bool_)
        repeated[fitted.rows] = False
        repeats = training.take(np.flatnonzero(repeated & (training.place >= since)))
        parts += [(part, *_answered(student, part, subject)) for part in (repeats, unseen)]
    place = np.concatenate([part.place for part, _, _ in parts])
    order = np.argsort(place, kind="stable")
    order = order[place[order] >= since]
    inputs = [values for part, _, _ in parts for values in part.inputs]
    keys = [key for part, _, _ in parts for key in part.keys]
    return [inputs[i] for i in order], Stream(
        np.concatenate([confidence for _, confidence, _ in parts])[order],
        np.concatenate([losses for _, _, losses in parts])[order],
        [keys[i] for i in order],
    )


def loss_of(fitted: Fitted) -> FloatArray:
    """Return the loss of each answer out of fold, shape (n,)."""
    return (~fitted.agrees).astype(np.float64) if fitted.loss is None else fitted.loss


def _like(confidence: FloatArray, n: int) -> FloatArray:
    """Return confidences with the distribution of others, in no order."""
    if not len(confidence):
        return np.zeros(n)
    return np.random.default_rng(0).permutation(np.quantile(confidence, np.linspace(0, 1, n)))


def _answered(student: Student, data: TaskData, subject: Subject) -> tuple[FloatArray, FloatArray]:
    """Return a student's confidences, and how far its answers are from the teacher's.

    Where a comparison is not free, an answer that is not equal has lost all.
    """
    record = subject.record
    index: dict[Inputs, int] = {}
    which = np.array([index.setdefault(values, len(index)) for values in data.inputs], np.int64)
    if not index:
        return np.zeros(0), np.zeros(0)
    texts, confidence = student.answer(list(index))  # equal inputs once
    if subject.comparison.free and not subject.comparison.equality:
        pairs = [
            Pair("", answer_in(text, record.form), answer_in(texts[i], record.form))
            for i, text in zip(which, data.texts, strict=True)
        ]
        losses = np.ones(len(data))
        rows = [i for i, done in enumerate(data.finished) if done and texts[which[i]]]
        losses[rows] = subject.comparison.losses([pairs[i] for i in rows])
        return confidence[which], losses
    if not student.answers:  # the student spells answers as the teacher does
        folds = record.folds
        texts = [
            text and canonical_answer(answer_in(text, record.form), record.form, folds)
            for text in texts
        ]
    same = [
        done and bool(texts[i]) and texts[i] == answer
        for i, done, answer in zip(which, data.finished, data.answers, strict=True)
    ]
    return confidence[which], 1.0 - np.array(same, np.float64)


def _better(new: Trained, old: Trained) -> bool:
    """Return whether a dearer rung is worth its cost, or nearer if neither would pass."""
    if new.coverage or old.coverage:
        return new.coverage > old.coverage + CHEAPER
    return (new.growth or np.inf) < (old.growth or np.inf) or (
        new.growth == old.growth and new.agreement > old.agreement
    )


def _share_of_votes(inputs: Sequence[Inputs], variables: tuple[int, ...]) -> float:
    """Return how many votes a future exchange has, estimated from the latest third."""
    latest = inputs[2 * len(inputs) // 3 :][-LATEST // 10 :]
    return len(set(bursts(latest, variables).tolist())) / len(latest) if latest else 1.0


def is_new(
    training: Sequence[Inputs], calibration: Sequence[Inputs], variables: tuple[int, ...]
) -> npt.NDArray[np.bool_]:
    """Return which inputs training never saw, shape (n,)."""
    seen = set(seen_keys(training, variables))
    return np.array([key not in seen for key in seen_keys(calibration, variables)], np.bool_)


def _with_slices(
    slicer: Slicer,
    inputs: Sequence[Inputs],
    stream: Stream,
    settings: LoopSettings,
    delta: float,
    *,
    floor: float,
) -> tuple[npt.NDArray[np.float64], Slicer]:
    """Leave evidently bad slices to the teacher; return confidences with those set to 0."""
    confidence = stream.confidence
    if slicer.variable is None:
        return confidence, slicer
    plan = make_plan(
        confidence,
        stream.losses,
        epsilon=settings.epsilon,
        delta=delta,
        calibration=max(len(inputs) // 3, 1),
        floor=floor,
    )
    if not plan.thresholds:
        return confidence, slicer
    start = plan.thresholds[int(np.argmax(plan.weights))]
    names = [slicer.slice_of(values) for values in inputs]
    bad = evidently_bad(names, confidence >= start, stream.losses, settings.epsilon)
    deferring = msgspec.structs.replace(slicer, deferred=bad)
    deferred = np.array([deferring.defers(values) for values in inputs], np.bool_)
    return np.where(deferred, 0.0, confidence), deferring


MOST_SLICES = 20
FEWEST_SHARE = 0.005
"""A slice rarer than this in training is deferred like one never seen."""

EVIDENT = 0.01
"""A slice is left to the teacher when chance alone, with disagreement at epsilon, would show what
training showed less often than this."""


def find_slicer(inputs: Sequence[Inputs], *, layouts: bool = False) -> Slicer:
    """Choose the variable whose values or layouts name the slices, from training inputs in order.

    Its values are few, none of them rare, and none appeared only lately. A date has few values
    in a log of a few days, but tomorrow's is new, which would defer everything.

    Args:
        inputs: In order of arrival.
        layouts: Whether the layout of an input may name the slice, where no value does.
    """
    width = min((len(values) for values in inputs), default=0)
    best = Slicer()
    lately = 3 * len(inputs) // 4
    for variable in range(width if width > 1 else 0):
        counts = Counter(values[variable] for values in inputs)
        if not 2 <= len(counts) <= MOST_SLICES or len(counts) <= len(best.known):
            continue
        before = {values[variable] for values in inputs[:lately]}
        after = {values[variable] for values in inputs[lately:]}
        if not after <= before or len(after) < len(before) / 2:
            continue
        fewest = FEWEST_SHARE * len(inputs)
        frequent = tuple(sorted(value for value, number in counts.items() if number >= fewest))
        if len(frequent) >= 2:
            best = Slicer(variable, frequent)
    if best.variable is None and layouts:
        latest = inputs[-LATEST:]
        for variable in range(width):
            found = find_layouts([values[variable] for values in latest])
            if len(found) > len(best.known):
                names = tuple(sorted(layout.name for layout in found))
                best = Slicer(variable, names, layouts=found)
    return best


def evidently_bad(
    names: Sequence[str],
    answered: npt.NDArray[np.bool_],
    losses: npt.NDArray[np.float64],
    epsilon: float,
) -> tuple[str, ...]:
    """Return the slices whose disagreement among answered training inputs is evidently too high.

    Of n training inputs are taken: their slices, whether they would be answered, and the losses of
    out-of-fold answers, from 0 to 1.
    """
    slices = np.array(names)
    bad = []
    for name in np.unique(slices[answered]):
        inside = answered & (slices == name)
        # Losses between 0 and 1 vary less than as many of 0 and 1: no slice is left too lightly.
        wrong, total = np.floor(losses[inside].sum()), int(inside.sum())
        if scipy.special.bdtrc(wrong - 1, total, epsilon) < EVIDENT:
            bad.append(str(name))
    return tuple(bad)
