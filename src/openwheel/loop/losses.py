"""Computes the loss of a student's answer for calibration, audits and evaluation.

It counts the answer that a client would have got instead of the teacher's.
"""

from collections.abc import Sequence

from openwheel.loop.judging import TeacherJudge
from openwheel.tasks.compare import Comparison, Pair
from openwheel.tasks.forms.call import NO_CALL, written_call
from openwheel.wire import Answer


def finished(teacher: Answer, *, calls: bool = False) -> bool:
    """Return whether the teacher gave an answer that a student could have given.

    One that was cut, filtered, refused or rejected is not, nor is an empty one. A student that
    calls tools could have given calls, another a text. Any answer disagrees with the rest.
    """
    if calls:
        return teacher.complete and written_call(teacher) != NO_CALL
    return teacher.complete and not teacher.tool_calls and bool(teacher.text.strip())


def _finished(pair: Pair) -> bool:
    return finished(pair.teacher, calls=bool(pair.student.tool_calls))


def losses_of(pairs: Sequence[Pair], comparison: Comparison) -> list[float]:
    """Return the loss of each student's answer, from 0 (agrees) to 1; raises `TeacherError`."""
    losses = [1.0] * len(pairs)
    rows = [i for i, pair in enumerate(pairs) if _finished(pair)]
    for i, loss in zip(rows, comparison.losses([pairs[i] for i in rows]), strict=True):
        losses[i] = loss
    return losses


def affordable(pairs: Sequence[Pair], comparison: Comparison) -> int:
    """Return of how many pairs, from the first on, a judge's budget covers the loss.

    The choice depends on no reply, so the first pairs are still traffic as it came.
    """
    if not isinstance(comparison, TeacherJudge):
        return len(pairs)
    rows = [i for i, pair in enumerate(pairs) if _finished(pair)]
    number = comparison.affordable([pairs[i] for i in rows])
    return rows[number] if number < len(rows) else len(pairs)
