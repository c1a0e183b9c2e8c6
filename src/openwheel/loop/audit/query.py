"""Reads audits from the store, with their losses and costs."""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from openwheel.loop import losses
from openwheel.loop.audit.shares import UNKNOWN_AUDITED, UNKNOWN_DEFERRED, WRONG_GUESSES
from openwheel.loop.audit.state import ALL, Audit
from openwheel.loop.data import decode_inputs
from openwheel.loop.judging import TeacherJudge
from openwheel.loop.records import Slicer
from openwheel.loop.subject import Subject
from openwheel.store import AUDIT_SUFFIX, Store, audits
from openwheel.tasks import Inputs, answer_in, canonical_answer
from openwheel.tasks.compare import Pair
from openwheel.wire import Answer, Probabilities

BYTES_A_TOKEN = 4
"""A rough average, to estimate tokens if a teacher did not count them."""

AT_ONCE = 2_000
"""Audits read in one look."""

NEWS_AT_ONCE = 5_000
"""Answers to deferred requests that are read in one look; of more the oldest are skipped."""

JUDGED_AT_ONCE = 64
"""Audits read in one look if a teacher judges each: a look should not take long."""


class Answered(msgspec.Struct, frozen=True):
    """The teacher's and the student's answer to one request.

    Attributes:
        inputs: Values of the task's variables; None if it was not assigned to its task.
        teacher: The teacher's.
        student: The student's, as it wrote it.
        probabilities: That the student gave with its answer.
    """

    inputs: Inputs | None
    teacher: Answer
    student: str
    probabilities: Probabilities


class AuditRow(Answered, frozen=True):
    """One audited answer as the store has it.

    Attributes:
        seq, id, time: Of the exchange with the teacher's answer.
        probability: With which it was audited.
        endpoint: Name of the teacher that answered.
        tokens: The tokens that it read and wrote.
        extra: Whether the teacher was asked for the audit alone.
    """

    seq: int
    id: str
    time: float
    probability: float
    endpoint: str
    tokens: tuple[int, int]
    extra: bool


class Free(msgspec.Struct, frozen=True):
    """The teacher's answers that cost no audit, in order of arrival.

    Attributes:
        deferred: Answers to requests that the student deferred.
        audited: Answers to those it answered, or was held back from.
        guesses: Deferred requests with the answer that the student would have given.
    """

    deferred: list[Answer]
    audited: list[Answer]
    guesses: list[Answered]


class Traffic(msgspec.Struct, frozen=True):
    """Requests of a task, how many of them students answered, and how many by best effort."""

    requests: int
    answered: int
    best_effort: int = 0


def read_audits(
    store: Store, student: str, *, after: int, until: int, limit: int = AT_ONCE
) -> list[AuditRow]:
    """Return a student's audited answers in a range of ``seq``, the first ``limit`` of them."""
    with store.read() as transaction:
        rows = audits.audited(transaction, student, after=after, until=until, limit=limit)
    return [_audit_row(row) for row in rows]


def _audit_row(row: audits.AuditedAnswer) -> AuditRow:
    read, written = row.prompt_tokens, row.completion_tokens
    if read is None:
        read = row.size // BYTES_A_TOKEN + 1
        written = len(row.text.encode("utf-8", "surrogatepass")) // BYTES_A_TOKEN + 1
    return AuditRow(
        seq=row.seq,
        id=row.id,
        time=row.time,
        inputs=None if row.inputs is None else decode_inputs(row.inputs),
        teacher=row.answer,
        student=row.student_answer,
        probabilities=row.student_given,
        probability=row.audit_probability,
        endpoint=row.teacher,
        tokens=(read, written or 0),
        extra=row.id.endswith(AUDIT_SUFFIX),
    )


def read_free(store: Store, task_id: str, *, after: int, until: int) -> Free:
    """Return a range's teacher answers that cost no audit, the latest ones if there are many."""
    with store.read() as transaction:
        rows = audits.by_teachers(
            transaction, task_id, after=after, until=until, limit=NEWS_AT_ONCE
        )
    free = Free([], [], [])
    for row in rows:
        answer = row.answer
        (free.deferred if row.student_answer is None else free.audited).append(answer)
        if row.student_guess is not None:
            inputs = decode_inputs(row.inputs)
            free.guesses.append(Answered(inputs, answer, row.student_guess, row.student_given))
    return free


def read_traffic(store: Store, task_id: str, *, after: int, until: int) -> Traffic:
    """Count a task's kept requests in a range of ``seq``."""
    with store.read() as transaction:
        return Traffic(*audits.count_requests(transaction, task_id, after=after, until=until))


def losses_of(rows: Sequence[Answered], subject: Subject) -> list[float]:
    """Return the loss of each answer of a student, from 0 (agrees) to 1.

    It is 1 where the teacher gave no finished answer, since the student would have given one. If
    a judge's budget does not suffice for all, the first losses are returned, which are still
    audits as they came. Raises `TeacherError` if a judge could not be asked.
    """
    form = subject.record.form
    pairs = []
    for row in rows:
        # Only a judge reads the request; one that no task has by now has no inputs.
        request = "" if row.inputs is None else subject.request_of(row.inputs)
        student = answer_in(row.student, form, row.probabilities)
        pairs.append(Pair(request, row.teacher, student))
    pairs = pairs[: losses.affordable(pairs, subject.comparison)]
    return losses.losses_of(pairs, subject.comparison)


def news_of(free: Free, subject: Subject, labels: Collection[str] | None) -> dict[str, list[float]]:
    """Return the losses that signals look at, by the signal's name.

    Args:
        free: What teachers answered.
        subject: The task. Answers for a judge to compare are left out: that costs money.
        labels: The canonical answers that the student can give; None if it writes its own.
    """
    news = {}
    if labels is not None:
        form, folds = subject.record.form, subject.record.folds
        for name, answers in ((UNKNOWN_DEFERRED, free.deferred), (UNKNOWN_AUDITED, free.audited)):
            news[name] = [
                float(
                    not losses.finished(answer)
                    or canonical_answer(answer, form, folds) not in labels
                )
                for answer in answers
            ]
    if not isinstance(subject.comparison, TeacherJudge):
        news[WRONG_GUESSES] = losses_of(free.guesses, subject)
    return news


def to_audits(
    rows: Sequence[AuditRow],
    lost: Sequence[float],
    slicer: Slicer,
    prices: Mapping[str, tuple[float, float]],
) -> list[Audit]:
    """Return audits as a state takes them: with slice, loss and cost."""
    built = []
    for row, loss in zip(rows, lost, strict=True):
        sliced = slicer.variable is not None and row.inputs is not None
        read, written = prices.get(row.endpoint, (0.0, 0.0))
        cost = row.tokens[0] * read + row.tokens[1] * written
        built.append(
            Audit(
                row.seq,
                row.id,
                row.time,
                slicer.slice_of(row.inputs or ()) if sliced else ALL,
                loss,
                row.probability,
                cost if row.extra else None,
            )
        )
    return built
