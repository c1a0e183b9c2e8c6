"""What the audits of a promoted student say."""

from collections.abc import Iterable

from openwheel.loop.data import decode_inputs
from openwheel.loop.subject import Subject
from openwheel.tasks import canonical_answer
from openwheel.tasks.compare import Pair
from openwheel.traffic import TaskRow
from openwheel.wire import Answer


def audited(rows: Iterable[TaskRow], student: str, subject: Subject) -> list[float]:
    """Return the loss of each of a student's answers that was audited, in order.

    Args:
        rows: A task's exchanges.
        student: Id of the student; audits of others do not count.
        subject: The task, and how its answers are compared.
    """
    audits = [
        (row, Answer(row.student_answer))
        for row in rows
        if row.source == "teacher" and row.student == student and row.student_answer is not None
    ]
    if subject.comparison is None:
        form = subject.record.form
        return [
            float(canonical_answer(row.answer, form) != canonical_answer(answer, form))
            for row, answer in audits
        ]
    return subject.comparison.losses(
        [
            Pair(subject.request_of(decode_inputs(row.inputs)), row.answer, answer)
            for row, answer in audits
        ]
    )
