"""Judges a candidate on its calibration exchanges, and writes its certificate."""

import datetime
import platform
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from importlib.metadata import version

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
from openwheel.gate.certificate import (
    POPULATIONS,
    SCHEMA,
    ByAnswer,
    ByField,
    Critical,
    critical_bound,
)
from openwheel.gate.judge import Method
from openwheel.loop.data import TaskData
from openwheel.loop.losses import affordable, losses_of
from openwheel.loop.probabilities import given
from openwheel.loop.records import Candidate, decode_settings
from openwheel.loop.turn.bursts import bursts
from openwheel.loop.turn.choose import is_new
from openwheel.progress import Progress, Step, silent
from openwheel.students import Student, rungs
from openwheel.tasks import FORMS, Inputs, Task, answer_in
from openwheel.tasks.compare import Comparison, Pair, verdicts_on
from openwheel.trust import licence_summary
from openwheel.wire import Answer, Probabilities

FloatArray = npt.NDArray[np.float64]

MOST_FIELDS = 100
"""Fields of records that a certificate counts."""

WRITTEN_AT_ONCE = 256
"""Exchanges that a student of the rung ``lm`` answers between two times that it is told how far it
is."""


class Calibrated(msgspec.Struct, frozen=True):
    """A candidate with the gate's judgement and the evidence for it.

    Attributes:
        judgement: The gate's judgement.
        data: The calibration exchanges.
        new: Whose input training never saw, shape (n,).
        answers: What the student answered to each, ``""`` where it had no answer.
        confidence: Its confidences, 0 where a slice was deferred, shape (n,).
        losses: How far its answer was from the teacher's, from 0 (agrees) to 1, shape (n,).
        compared: Whether its loss was computed: where no threshold would answer, a comparison that
            costs money is skipped and the loss is set to 1, shape (n,).
        first: Which exchanges are the first of their burst and so have a vote.
        deferred: Requests that students deferred, which count as evidence by their weight.
    """

    judgement: Judgement
    data: TaskData
    new: npt.NDArray[np.bool_]
    answers: list[str]
    confidence: FloatArray
    losses: FloatArray
    compared: npt.NDArray[np.bool_]
    first: npt.NDArray[np.intp]
    deferred: TaskData

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
    comparison: Comparison,
    request_of: Callable[[Inputs], str] = "\n".join,
    possible: Collection[str] | None = None,
    method: Method | None = None,
    progress: Progress = silent,
) -> Calibrated:
    """Judge a candidate.

    A judge with a budget compares as many exchanges, from the first on, as it suffices for.

    Args:
        candidate: What to judge it by.
        training: The inputs it was trained on.
        calibration: Exchanges it has not seen, in order of arrival, whether or not the teacher
            gave an answer: unbiased ones, and requests that students deferred. Those are evidence
            by their weight if the method is ``anytime`` and to compare answers costs nothing.
        comparison: How answers are compared.
        request_of: Returns the request that has these inputs, as text, for a judge.
        possible: The answers that clients can be given, since the task is a question that has no
            others; None where a student's may be any. Requests with others go to the teacher.
        method: How it is tested; by default as the candidate says.
        progress: Called with how many exchanges a student that writes its answers has answered.

    Raises:
        SettingError: The comparison is not the one the candidate was registered with.
        TeacherError: A judge could not be asked; its replies so far are kept.
    """
    method = method or candidate.method
    calibration = calibration.without(candidate.outside)  # answers that it never gives
    weighs = method == "anytime" and comparison.free and bool((calibration.weight < 1).any())
    if not weighs:
        calibration = calibration.take(np.flatnonzero(calibration.unbiased))
    data = calibration
    answers, confidence = _answers(candidate, student, data.inputs, progress)
    # Requests that it leaves to the teacher do not show how good its answers are.
    deferred = np.array([candidate.slicer.defers(values) for values in data.inputs], np.bool_)
    deferred |= ~_accepted(candidate, data)
    if possible is not None:
        said = (candidate.surfaces.get(text, text) for text in answers)
        deferred |= np.array([text not in possible for text in said], np.bool_)
    confidence = np.where(deferred, 0.0, confidence)
    # A comparison that costs money is skipped where no threshold would answer.
    least = 0.0 if comparison.free else min(candidate.plan.thresholds, default=np.inf)
    compared = confidence >= least
    _require_same(comparison, candidate)
    rows = np.flatnonzero(compared)
    probabilities: list[Probabilities] = [()] * len(rows)
    if not comparison.equality:
        asked = [data.inputs[i] for i in rows]
        probabilities = given(student, asked, candidate.surfaces)
    pairs = [
        Pair(
            "" if comparison.free else request_of(data.inputs[i]),
            answer_in(data.texts[i], candidate.form, data.probabilities[i])
            if data.finished[i]
            else Answer(data.texts[i], (), "unfinished"),
            answer_in(answers[i], candidate.form, own),
        )
        for i, own in zip(rows, probabilities, strict=True)
    ]
    number = affordable(pairs, comparison)
    if number < len(pairs):
        reached = int(rows[number])
        data, answers, pairs = data.take(np.arange(reached)), answers[:reached], pairs[:number]
        confidence, compared = confidence[:reached], compared[:reached]
    losses = np.ones(len(data))
    losses[compared] = losses_of(pairs, comparison)
    clusters = bursts(data.inputs, candidate.variables)
    new = is_new(training, data.inputs, candidate.variables)
    judgement = judge(
        confidence,
        losses,
        clusters,
        candidate.plan,
        epsilon=candidate.epsilon,
        delta=candidate.delta_spent * candidate.share,
        method=method,
        probabilities=data.probability,
        new=new,
        weights=data.weight if weighs else None,
        unbiased=data.unbiased if weighs else None,
    )
    rows = np.flatnonzero(data.unbiased)
    return Calibrated(
        judgement,
        data.take(rows),
        new[rows],
        [answers[i] for i in rows],
        confidence[rows],
        losses[rows],
        compared[rows],
        first_of_each(clusters[rows]),
        data.take(np.flatnonzero(~data.unbiased)),
    )


def _answers(
    candidate: Candidate, student: Student, inputs: Sequence[Inputs], progress: Progress
) -> tuple[list[str], FloatArray]:
    """Return a student's answers, ``""`` where it has none, and its confidences."""
    # Others are asked about all at once, and quickly.
    remote = rungs()[candidate.rung].asked == "remote"
    size = WRITTEN_AT_ONCE if remote else max(1, len(inputs))
    answers: list[str] = []
    confidences: list[FloatArray] = [np.zeros(0)]
    with Step(progress, "judging", len(inputs), "exchanges") as step:
        for start in range(0, len(inputs), size):
            part = inputs[start : start + size]
            texts, confidence = student.answer(part)
            answers += texts
            confidences.append(confidence)
            step(len(answers))
    return answers, np.concatenate(confidences)


def _require_same(comparison: Comparison, candidate: Candidate) -> None:
    """Raise a SettingError unless a candidate was registered to be compared like this."""
    registered = candidate.compared.sha256 if candidate.compared is not None else ""
    if not comparison.equality and registered and comparison.fingerprint != registered:
        raise SettingError(
            f"Student {candidate.id} was registered to be compared by "
            f"{candidate.compare!r} as of {registered[:12]}, and that has changed to "
            f"{comparison.setting!r} as of {comparison.fingerprint[:12]}: a new attempt"
        )


def _accepted(candidate: Candidate, data: TaskData) -> npt.NDArray[np.bool_]:
    allowed = {
        text: candidate.accepted.accepts(decode_settings(text)) for text in set(data.settings)
    }
    return np.array([allowed[text] for text in data.settings], np.bool_)


def write_certificate(task: Task, candidate: Candidate, calibrated: Calibrated) -> Certificate:
    """Write the certificate of a candidate that passed.

    Raises:
        ValueError: It did not pass.
    """
    judgement = calibrated.judgement
    if judgement.chosen is None:
        raise ValueError(f"student {candidate.id} did not pass the gate")
    test = judgement.tests[judgement.chosen]
    critical = _critical(candidate, calibrated, test)
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
        delta_spent=candidate.delta_spent * candidate.share,
        share=candidate.share,
        method=judgement.method,
        tests=judgement.tests,
        chosen=judgement.chosen,
        threshold=test.threshold,
        calibration=Evidence(judgement.n, test.answered, test.disagreements),
        observed=test.loss / test.answered,
        bound=judgement.bound,
        coverage=test.answered_with_repeats / judgement.exchanges,
        design_effect=judgement.design_effect,
        populations=tuple(
            _slice(calibrated, test, name, rows, np.arange(judgement.exchanges))
            for name, rows in zip(POPULATIONS, (calibrated.new, ~calibrated.new), strict=True)
        ),
        unfinished=_slice(
            calibrated,
            test,
            "unfinished",
            ~calibrated.data.finished,
            np.arange(judgement.exchanges),
        ),
        answers=by_answer(calibrated, test) if FORMS[candidate.form].closed else (),
        fields=by_field(calibrated, test, candidate) if FORMS[candidate.form].has_fields else (),
        critical=critical,
        deferred_window=calibrated.deferred.window() if len(calibrated.deferred) else None,
        critical_bound=(
            critical_bound(critical, candidate.delta, judgement.method) if critical else None
        ),
        repeat_disagreement=judgement.repeat_disagreement,
        weighted_disagreement=judgement.weighted_disagreement,
        training=candidate.training,
        calibration_window=calibrated.data.window(),
        slices=_slices(candidate, calibrated, test),
        deferred_slices=candidate.slicer.deferred,
        deferred_keys=candidate.outside,
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
        delta: The probability allowed for the promise to be wrong.
        compared: How answers are compared, if not by equality.
    """
    disagrees = (
        f"this student gets more than {epsilon:.2%} of the fields of an answer wrong, on average "
        "over the requests it answers,"
        if compared is not None and compared.loss == "fields"
        else f"this student disagrees with the teacher on more than {epsilon:.2%} of the requests "
        "it answers"
    )
    sentence = (
        f"On traffic like that of the calibration window, the probability that {disagrees} is at "
        f"most {delta:.2%}, over the draw of the calibration set and all attempts on this task. "
        "All requests that it answers count, also those seen in training, and those to which the "
        "teacher gave no finished answer. It supposes requests that come independently, or in "
        "bursts as dense as those of training and the calibration window."
    )
    if compared is None:
        return sentence
    if compared.setting.startswith("exact"):
        equal = compared.setting.removeprefix("exact ")
        return (
            f"{sentence} Two answers agree if they are equal {equal}, as of {compared.sha256[:12]}."
        )
    if compared.loss == "fields":
        return (
            f"{sentence} A field is wrong if it is not the teacher's, compared by "
            f"{compared.setting}, as of {compared.sha256[:12]}; an answer that is no record where "
            "the teacher's is one, or calls another tool, is wrong in all its fields."
        )
    by = f"{compared.setting} of {compared.model}" if compared.model else compared.setting
    return (
        f"{sentence} An answer disagrees by its loss, from 0 to 1, in the comparison {by}, as of "
        f"{compared.sha256[:12]}; the promise is for the mean of the losses."
    )


def now() -> str:
    """Return the time as ISO 8601 in UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def by_answer(calibrated: Calibrated, test: Test) -> tuple[ByAnswer, ...]:
    """Count each answer at a threshold, the teacher's most frequent first."""
    answered = calibrated.confidence >= test.threshold
    teacher = Counter(
        answer
        for answer, done in zip(calibrated.data.answers, calibrated.data.finished, strict=True)
        if done
    )
    student: Counter[str] = Counter()
    agreed: Counter[str] = Counter()
    for i in np.flatnonzero(answered):
        student[calibrated.answers[i]] += 1
        agreed[calibrated.answers[i]] += int(calibrated.losses[i] == 0)
    ordered = sorted(teacher | student, key=lambda answer: (-teacher[answer], answer))
    return tuple(ByAnswer(name, teacher[name], student[name], agreed[name]) for name in ordered)


def by_field(calibrated: Calibrated, test: Test, candidate: Candidate) -> tuple[ByField, ...]:
    """Count each field of the records answered at a threshold, the one that differs most first."""
    verdicts = verdicts_on(candidate.by_field, candidate.folds)
    records: Counter[str] = Counter()
    apart: Counter[str] = Counter()
    for i in np.flatnonzero(calibrated.confidence >= test.threshold):
        if not calibrated.data.finished[i]:
            continue
        teacher, student = (
            answer_in(text, candidate.form)
            for text in (calibrated.data.texts[i], calibrated.answers[i])
        )
        right = verdicts(Pair("", teacher, student))
        records.update(right.keys())
        apart.update(name for name, same in right.items() if not same)
    ordered = sorted(records, key=lambda name: (-apart[name], -records[name], name))
    return tuple(
        ByField(name, records[name], records[name] - apart[name]) for name in ordered[:MOST_FIELDS]
    )


def _critical(candidate: Candidate, calibrated: Calibrated, test: Test) -> Critical | None:
    """Count the votes whose answer is critical, None if the user named no such answer."""
    if not candidate.critical:
        return None
    data = calibrated.data
    rows = [
        i for i in calibrated.first if data.finished[i] and data.answers[i] in candidate.critical
    ]
    wrong = calibrated.confidence[[i for i in rows if calibrated.losses[i] > 0]]
    laxest = min(other.threshold for other in calibrated.judgement.tests)
    return Critical(
        answers=candidate.critical,
        teacher=len(rows),
        otherwise=int((wrong >= test.threshold).sum()),
        at_most=int((wrong >= laxest).sum()),
    )


def _slices(candidate: Candidate, calibrated: Calibrated, test: Test) -> tuple[Slice, ...]:
    """Count the votes by slice at a threshold."""
    names = np.array(
        [candidate.slicer.slice_of(values) for values in calibrated.data.inputs], np.object_
    )
    voting = set(names[calibrated.first].tolist())
    return tuple(
        _slice(calibrated, test, name, names == name, calibrated.first)
        for name in sorted(voting & set(candidate.slicer.known or ("all",)))
    )


def _slice(
    calibrated: Calibrated,
    test: Test,
    name: str,
    inside: npt.NDArray[np.bool_],
    among: npt.NDArray[np.intp],
) -> Slice:
    """Count a part of the calibration exchanges at a threshold, among some of them."""
    rows = among[inside[among]]
    answered = rows[calibrated.confidence[rows] >= test.threshold]
    steps = in_steps(calibrated.losses[answered])
    wrong = steps[steps > 0].tolist()
    partial = Counter(step for step in wrong if step < STEPS)
    return Slice(name, len(rows), len(answered), len(wrong), tuple(sorted(partial.items())))
