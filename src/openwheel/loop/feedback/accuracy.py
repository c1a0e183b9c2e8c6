"""Measures the accuracy of teacher and student against corrections, side by side.

Corrected exchanges are no random sample: people correct what is wrong, so both accuracies are far
below those of all traffic. What may be compared is the two on the same exchanges, and even there
the students' answers were the ones that clients saw.
"""

from typing import Final

import msgspec

from openwheel.gate import clopper_pearson, mean_interval
from openwheel.loop.data import load_answers
from openwheel.loop.feedback.corrections import Sorted, task_corrections
from openwheel.loop.records import TaskRecord
from openwheel.loop.registry import Registry
from openwheel.store import Store
from openwheel.store.feedback import NO_KEY, FeedbackStore
from openwheel.tasks.compare import Comparison, ExactComparison, FieldsComparison, Pair
from openwheel.wire import Answer

CONDITION: Final = (
    "Corrected exchanges are not a random sample: people correct what is wrong, so both "
    "accuracies lie below those of all traffic."
)
LEVEL: Final = 0.95


class Rate(msgspec.Struct, frozen=True):
    """How often an answer agrees with the correction.

    Attributes:
        n: Corrected exchanges.
        right: How many of these agree, in their canonical form or as their fields are compared;
            where the loss is the share of wrong fields, the sum of the shares of right ones.
        interval: Of the share that is right at 95%, taking exchanges as independent: Clopper and
            Pearson's, or by betting.
    """

    n: int
    right: float
    interval: tuple[float, float]


class TaskAccuracy(msgspec.Struct, frozen=True):
    """The accuracy on one task, by its believed corrections and the verdicts of trusted people.

    Attributes:
        task: Its name.
        corrections: How each correction was used.
        teacher, student: On all judged exchanges that it answered.
        both_teacher, both_student: On those that both answered, the same for both.
    """

    task: str
    corrections: Sorted
    teacher: Rate
    student: Rate
    both_teacher: Rate
    both_student: Rate


def accuracy(store: Store, task_id: str = "") -> list[TaskAccuracy]:
    """Return the accuracy on each task that has corrections or verdicts, or on one."""
    feedback = FeedbackStore(store)
    accuracies = []
    for record in Registry(store).tasks():
        if task_id in {"", record.task.id} and (
            feedback.corrections(record.task.id) or feedback.verdicts(record.task.id)
        ):
            accuracies.append(_accuracy(store, record))
    return accuracies


def _accuracy(store: Store, record: TaskRecord) -> TaskAccuracy:
    form, folds, feedback = record.form, record.folds, FeedbackStore(store)
    data = load_answers(store, record.task.id, form, folds)
    corrections = task_corrections(store, record, data)
    believed = corrections.believed.values()
    served = [correction.row.id for correction in believed if correction.row.source == "student"]
    audits = feedback.audits_of(served)
    comparison = _comparison(Registry(store), record)
    pairs: list[tuple[float | None, float | None]] = []
    for correction in believed:
        row = correction.row
        if row.source == "best_effort":  # it was not certified, and judges no student
            continue
        by_student = row.text if row.source == "student" else row.student_answer
        by_teacher: str | None = row.text
        if row.source == "student":
            by_teacher = audits[row.id][1] if row.id in audits else None
        right = [
            None
            if text is None
            else 1 - comparison.losses([Pair("", Answer(correction.answer), Answer(text))])[0]
            for text in (by_teacher, by_student)
        ]
        pairs.append((right[0], right[1]))
    trusts = feedback.trusts()
    pairs += [
        (float(verdict.verdict == "both"),) * 2
        for verdict in feedback.verdicts(record.task.id)
        if verdict.key == NO_KEY or trusts.get(verdict.key) in {"normal", "high"}
    ]
    both = [pair for pair in pairs if None not in pair]
    return TaskAccuracy(
        record.task.name,
        corrections,
        *(
            _rate([pair[side] for pair in some], by_fields=comparison.bounded)
            for some in (pairs, both)
            for side in (0, 1)
        ),
    )


def _comparison(registry: Registry, record: TaskRecord) -> Comparison:
    """Return how the task's promoted student, or its latest, was compared: by fields, or whole."""
    candidates = [candidate for candidate, _, _ in registry.candidates(task_id=record.task.id)]
    promotion = registry.promotions().get(record.task.id)
    if promotion is not None and promotion.certificate is not None:
        candidates.append(registry.candidate(promotion.certificate.student))
    comparison = candidates[-1].comparison() if candidates else None
    if isinstance(comparison, FieldsComparison):
        return comparison
    return ExactComparison(record.form, record.folds)


def _rate(agreement: list[float | None], *, by_fields: bool) -> Rate:
    judged = [share for share in agreement if share is not None]
    right = sum(judged)
    interval = (
        mean_interval(judged, LEVEL)
        if by_fields
        else clopper_pearson(round(right), len(judged), LEVEL)
    )
    whole = float(right).is_integer()
    return Rate(len(judged), int(right) if whole else round(right, 1), interval)
