"""Explains the gate's judgement in sentences, counts and curves."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from openwheel.gate import Certificate, Judgement, Partial, Test
from openwheel.gate.plan import Plan
from openwheel.loop.data import TaskData
from openwheel.loop.offline.findings import Bin, Confusion, Example, Frontier, Point
from openwheel.loop.records import Candidate
from openwheel.loop.subject import Subject
from openwheel.loop.turn.certify import Calibrated
from openwheel.students import rungs
from openwheel.students.model import text_of
from openwheel.tasks import FORMS, hints
from openwheel.tasks.forms import shown
from openwheel.trust import LeftOut

MOST_LABELS = 12
MOST_FIELDS = 5
EXAMPLES = 12
BINS = 10
FRONTIER = 8
LONGEST = 400
"""Characters of an input that a report shows."""


def passed(judgement: Judgement, candidate: Candidate) -> str:
    """Describe in a sentence the evidence for a certified student."""
    test = judgement.best
    assert test is not None
    return (
        f"Certified: it answered {_of_all(test, judgement, candidate)}; the upper bound is "
        f"{judgement.bound:.2%}, the limit {candidate.epsilon:.2%}."
    )


def refused(judgement: Judgement, candidate: Candidate) -> str:
    """Say in a sentence why a student did not pass."""
    test = judgement.best
    if test is None or not test.answered:
        return (
            f"Refused: of {judgement.exchanges:,} calibration exchanges the student was "
            "confident on none, so there is no evidence."
        )
    if judgement.vetoed:
        return f"Refused: {vetoed(judgement, candidate)}"
    return (
        f"Refused: no threshold showed disagreement evidently below {candidate.epsilon:.2%}. At "
        f"the nearest it answered {_of_all(test, judgement, candidate)}; the chance of that under "
        f"a rate above the limit is {test.p_value:.3g}, and had to be at most "
        f"{max(test.level, 0):.3g}."
    )


def vetoed(judgement: Judgement, candidate: Candidate) -> str:
    """Say in a sentence that the gate's tests passed and a veto held the student back."""
    if judgement.outweighed:
        return (
            "the tests pass, but where each exchange stands for as many as one over the "
            "probability that the teacher was asked, every threshold disagreed on more than "
            f"{candidate.epsilon:.2%}."
        )
    return (
        "the tests pass, but on inputs that training never saw, every threshold disagreed "
        f"evidently on more than {candidate.epsilon:.2%}."
    )


def judged_before(judged: int, fresh: int) -> str:
    """Say in a sentence that too few exchanges are left that may judge a new attempt."""
    return (
        f"Refused: {judged:,} of these exchanges were there when a verdict was given, which may "
        "have been read; they train, and judge no second attempt. The "
        f"{fresh:,} that may are too few. No share of delta was spent, and whoever is promoted "
        "stays so."
    )


def in_the_way(subject: Subject, data: TaskData) -> str:
    """Describe what in a task's answers keeps students from learning it, and which setting helps.

    With a space before it; ``""`` if nothing is known. The exchanges judge no student, since a
    setting may be chosen by the description.
    """
    record = subject.record
    texts = [text for text, done in zip(data.texts, data.finished, strict=True) if done]
    sentences = [hints.in_the_way(texts, record.task.name, record.folds, record.form)]
    if not any(rungs()[rung].new_inputs for rung in subject.rungs):
        advice = "a small language model can learn such answers: base under [lm]"
        if FORMS[record.form].closed:
            advice = "rungs under [loop] may name others"
        sentences.insert(
            0,
            f"{record.form_reason} Of the rungs that may be tried only exact answers the form "
            f"{record.form}, and only to requests that came before; {advice}.",
        )
    return "".join(f" {text}" for text in sentences if text)


def remarks(certificate: Certificate) -> tuple[str, ...]:
    """Return what a certificate's reader should know beside its promise, a sentence each."""
    sentences = [_never_given(certificate)] if certificate.never_given else []
    if certificate.deferred_keys:
        keys = ", ".join(shown(key) if key else "none" for key in certificate.deferred_keys)
        sentences.append(
            f"Requests of these keys are left to the teacher, and judged nobody: {keys}."
        )
    differ = [part for part in certificate.fields if part.agreed < part.records]
    if differ:
        named = ", ".join(
            f"{part.field!r} in {part.records - part.agreed:,} of {part.records:,}"
            for part in differ[:MOST_FIELDS]
        )
        sentences.append(
            f"Where its records differed from the teacher's, these fields did: {named}."
        )
    critical, bound = certificate.critical, certificate.critical_bound
    if critical is not None and bound is not None:
        share = critical.otherwise / critical.teacher if critical.teacher else 0.0
        sentences.append(
            f"Of {critical.teacher:,} calibration requests with a critical answer "
            f"({', '.join(map(repr, critical.answers))}), the student answered "
            f"{critical.otherwise:,} otherwise ({share:.2%}, at most {bound:.2%})."
        )
    return tuple(sentences)


def _never_given(certificate: Certificate) -> str:
    missing = [part for part in certificate.answers if part.answer in certificate.never_given]
    named = ", ".join(f"{part.answer!r} ({part.teacher:,})" for part in missing[:MOST_LABELS])
    more = f", and {len(missing) - MOST_LABELS:,} more" if len(missing) > MOST_LABELS else ""
    exchanges = certificate.calibration_window.exchanges
    return (
        f"The student never gave these answers, which the teacher gave among {exchanges:,} "
        f"calibration exchanges: {named}{more}. Where it answers such a request, it is wrong."
    )


def _of_all(test: Test, judgement: Judgement, candidate: Candidate) -> str:
    """Say how many a student answered and disagreed on, of all exchanges and of the votes."""
    by_fields = candidate.by_field.loss == "fields"
    mean = "{:.2%} of fields" if by_fields else "a mean loss of {:.2%}"
    answered, wrong = test.answered_with_repeats, test.disagreements_with_repeats
    sentence = (
        f"{answered:,} of {judgement.exchanges:,} calibration exchanges "
        f"({answered / judgement.exchanges:.1%}) and disagreed on "
        f"{_wrong(wrong, test.loss_with_repeats / answered, test.partial_with_repeats, mean)}"
    )
    if answered != test.answered:
        share = _wrong(test.disagreements, test.loss / max(test.answered, 1), test.partial, mean)
        sentence += f", with a burst counted once on {share} of {test.answered:,}"
    deferred = sum(n for weight, _, n in test.weighed_with_repeats if weight < 1)
    if deferred:
        sentence += f", and {deferred:,} requests that were deferred count by their weight"
    if judgement.design_effect > 1:
        sentence += (
            f" (disagreements come in bursts: evidence divided by {judgement.design_effect:.1f})"
        )
    return sentence


def _wrong(disagreements: int, loss: float, partial: Partial, mean: str) -> str:
    """Say how many disagreed, and what share that is; with losses below 1, their mean."""
    return f"{disagreements:,} ({mean.format(loss) if partial else f'{loss:.2%}'})"


def trade_off(calibrated: Calibrated) -> tuple[Point, ...]:
    """Return coverage and disagreement at each threshold tested, on calibration exchanges."""
    judgement = calibrated.judgement
    return tuple(
        (
            test.answered_with_repeats / judgement.exchanges,
            test.loss_with_repeats / test.answered_with_repeats,
        )
        for test in judgement.tests
        if test.answered_with_repeats
    )


def frontier(calibrated: Calibrated, plan: Plan) -> tuple[Frontier, ...]:
    """Return about ``FRONTIER`` thresholds evenly spread over coverage, and the chosen one."""
    judgement = calibrated.judgement
    tests = [test for test in judgement.tests if test.answered]
    chosen = [i for i, test in enumerate(tests) if test == judgement.best]
    shown = {*np.linspace(0, len(tests) - 1, FRONTIER).round().astype(int).tolist(), *chosen}
    unknown = dict(zip(plan.thresholds, plan.unknown, strict=bool(plan.unknown)))
    return tuple(
        Frontier(
            threshold=tests[i].threshold,
            coverage=tests[i].answered_with_repeats / judgement.exchanges,
            disagreement=tests[i].loss_with_repeats / tests[i].answered_with_repeats,
            unknown=unknown.get(tests[i].threshold),
            chosen=i in chosen,
        )
        for i in sorted(shown)
        if tests
    )


def expected(plan: Plan) -> tuple[Point, ...]:
    """Return the same as training predicted it."""
    return tuple(zip(plan.coverage, plan.disagreement, strict=True))


def reliability(calibrated: Calibrated) -> tuple[Bin, ...]:
    """Return confidence against agreement, in bins of about equal size."""
    first = calibrated.first
    confidence, agrees = calibrated.confidence[first], 1 - calibrated.losses[first]
    order = np.argsort(confidence, kind="stable")
    order = order[(confidence[order] > 0) & calibrated.compared[first][order]]
    return tuple(
        Bin(float(confidence[rows].mean()), float(agrees[rows].mean()), len(rows))
        for rows in np.array_split(order, BINS)
        if len(rows)
    )


def confusion(calibrated: Calibrated) -> Confusion | None:
    """Return the counts of the labels that are confused most; None if none is."""
    teacher, student = calibrated.data.answers, calibrated.answers
    missed: dict[str, int] = {}
    for truth, answer in zip(teacher, student, strict=True):
        if answer and truth != answer:
            missed[truth] = missed.get(truth, 0) + 1
            missed[answer] = missed.get(answer, 0) + 1
    if not missed:
        return None
    worst = sorted(missed, key=lambda label: (-missed[label], label))[:MOST_LABELS]
    labels = sorted(worst)
    other = len(set(teacher) | set(student)) > len(labels)
    index = {label: i for i, label in enumerate(labels)}
    size = len(labels) + other
    counts = np.zeros((size, size), np.int64)
    for truth, answer in zip(teacher, student, strict=True):
        if answer:
            counts[index.get(truth, size - 1), index.get(answer, size - 1)] += 1
    return Confusion(
        (*labels, "(other)") if other else tuple(labels),
        tuple(tuple(row) for row in counts.tolist()),
    )


def examples(
    calibrated: Calibrated, candidate: Candidate
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Return the most confident deferred and the most confident disagreed exchanges."""
    best = calibrated.judgement.best
    threshold = best.threshold if best is not None else np.inf
    confidence, agrees = calibrated.confidence, calibrated.agrees
    deferred = np.flatnonzero(confidence < threshold)
    disagreed = np.flatnonzero((confidence >= threshold) & ~agrees)

    def show(rows: npt.NDArray[np.intp]) -> tuple[Example, ...]:
        rows = rows[np.argsort(-confidence[rows], kind="stable")][:EXAMPLES]
        return tuple(
            Example(
                text_of(calibrated.data.inputs[i], candidate.variables)[:LONGEST],
                calibrated.data.answers[i][:LONGEST],
                calibrated.answers[i][:LONGEST],
                float(confidence[i]),
            )
            for i in rows
        )

    return show(deferred), show(disagreed)


def left_out(answers: Iterable[LeftOut]) -> tuple[str, ...]:
    """Say of each teacher's model whose answers the policy kept out that it did, and why."""
    return tuple(f"Its answers are left out: {excluded.reason}" for excluded in answers)
