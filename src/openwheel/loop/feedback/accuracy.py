"""Measures the accuracy of teacher and student against corrections, side by side.

Corrected exchanges are no random sample: people correct what is wrong, so both accuracies are far
below those of all traffic. What may be compared is the two on the same exchanges, and even there
the students' answers were the ones that clients saw.
"""

from typing import Final

import msgspec

from openwheel.gate.bounds import clopper_pearson
from openwheel.loop.data import load_answers
from openwheel.loop.feedback.corrections import Sorted, task_corrections
from openwheel.loop.records import TaskRecord
from openwheel.loop.registry import Registry
from openwheel.store import Store
from openwheel.store.feedback import NO_KEY, FeedbackStore
from openwheel.tasks import canonical_answer
from openwheel.wire import Answer

CONDITION: Final = (
    "Corrected exchanges are not a random sample: people correct what is wrong, so both "
    "accuracies lie below those of all traffic."
)
LEVEL: Final = 0.95


class Rate(msgspec.Struct, frozen=True):
    """How often an answer equals the correction.

    Attributes:
        n: Corrected exchanges.
        right: Of these, those whose answer equals the correction in canonical form.
    """

    n: int
    right: int

    @property
    def interval(self) -> tuple[float, float]:
        """The exact interval (Clopper and Pearson) at 95%, taking exchanges as independent."""
        return clopper_pearson(self.right, self.n, LEVEL) if self.n else (0.0, 1.0)


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
    pairs: list[tuple[bool | None, bool | None]] = []
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
            else canonical_answer(Answer(text), form, folds) == correction.answer
            for text in (by_teacher, by_student)
        ]
        pairs.append((right[0], right[1]))
    trusts = feedback.trusts()
    pairs += [
        (verdict.verdict == "both",) * 2
        for verdict in feedback.verdicts(record.task.id)
        if verdict.key == NO_KEY or trusts.get(verdict.key) in {"normal", "high"}
    ]
    both = [pair for pair in pairs if None not in pair]
    return TaskAccuracy(
        record.task.name,
        corrections,
        _rate([teacher for teacher, _ in pairs]),
        _rate([student for _, student in pairs]),
        _rate([teacher for teacher, _ in both]),
        _rate([student for _, student in both]),
    )


def _rate(right: list[bool | None]) -> Rate:
    judged = [verdict for verdict in right if verdict is not None]
    return Rate(len(judged), sum(judged))
