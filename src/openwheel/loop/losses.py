"""The loss of a student's answer: one rule for calibration, audits and evaluation.

What is counted is what a client would have got instead of the teacher's answer.
"""

from collections.abc import Sequence

from openwheel.loop.judging import TeacherJudge
from openwheel.tasks import Form, canonical_answer
from openwheel.tasks.compare import Comparison, Pair
from openwheel.wire import Answer


def finished(teacher: Answer) -> bool:
    """Whether the teacher gave an answer that a student could have given.

    One that was cut, filtered or refused is none, nor is an empty one, a call of a tool or a
    rejected request. Such an exchange trains nobody, and any answer of a student to it disagrees.
    """
    return teacher.complete and not teacher.tool_calls and bool(teacher.text.strip())


def agrees(teacher: Answer, student: Answer, form: Form, folds: tuple[str, ...] = ()) -> bool:
    """Whether a student's answer equals the teacher's, as form and folds compare them."""
    return finished(teacher) and (
        canonical_answer(teacher, form, folds) == canonical_answer(student, form, folds)
    )


def losses_of(
    pairs: Sequence[Pair],
    form: Form,
    comparison: Comparison | None,
    folds: tuple[str, ...] = (),
) -> list[float]:
    """Return how far each student's answer is from the teacher's, from 0 (agrees) to 1.

    Args:
        pairs: The answers.
        form: Of the task's answers.
        comparison: How answers are compared; None: canonical answers agree if equal.
        folds: How these may differ and still be one.

    Raises:
        TeacherError: A judge could not be asked.
    """
    if comparison is None:
        return [float(not agrees(pair.teacher, pair.student, form, folds)) for pair in pairs]
    losses = [1.0] * len(pairs)
    rows = [i for i, pair in enumerate(pairs) if finished(pair.teacher)]
    for i, loss in zip(rows, comparison.losses([pairs[i] for i in rows]), strict=True):
        losses[i] = loss
    return losses


def affordable(pairs: Sequence[Pair], comparison: Comparison | None) -> int:
    """Return of how many pairs, from the first on, the loss can be told.

    A judge's budget may not reach for all. What it leaves out depends on no reply, so that the
    first pairs are still traffic as it came.
    """
    if not isinstance(comparison, TeacherJudge):
        return len(pairs)
    rows = [i for i, pair in enumerate(pairs) if finished(pair.teacher)]
    number = comparison.affordable([pairs[i] for i in rows])
    return rows[number] if number < len(rows) else len(pairs)
