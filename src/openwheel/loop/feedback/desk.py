"""Takes feedback: finds its exchange, checks the key's right, and checks the correction.

Knows nothing of HTTP. Corrections are used in `openwheel.loop.feedback.corrections`.
"""

import time
from typing import Final

import msgspec

from openwheel.errors import RequestError
from openwheel.loop.records import TaskRecord
from openwheel.loop.registry import Registry
from openwheel.store import Store, traffic
from openwheel.store.feedback import FeedbackStore, FoundExchange, Label, Verdict
from openwheel.tasks import FORMS, Form, canonical_answer
from openwheel.wire import Answer, usable_id

MOST_CORRECTION: Final = 64 << 10
MOST_COMMENT: Final = 4_096
LATEST_ANSWERS: Final = 5_000
"""A correction of a label task must be an answer that was given among so many exchanges."""

_SHOWN = 10
_TASKS_LAST_S = 30.0


class Feedback(msgspec.Struct, frozen=True):
    """A client's feedback on one answer.

    Attributes:
        id: That of the answer, in its body or in its ``x-request-id`` header.
        score: From 0 to 1.
        label: Whether the answer was good.
        correction: The right answer, as text; a record as its JSON.
        comment: For people.
    """

    id: str
    score: float | None = None
    label: Label | None = None
    correction: str | None = None
    comment: str | None = None


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``POST /v1/feedback``."""

    id: str
    score: float | None = None
    label: Label | None = None
    correction: msgspec.Raw = msgspec.Raw(b"null")
    comment: str | None = None


class Speaker(msgspec.Struct, frozen=True):
    """The key that feedback comes with.

    Attributes:
        id: Never used for another key.
        name: As exchanges have it.
        created: In seconds since 1970; a key of the same name before it was another.
        anywhere: Whether it may give feedback on the answers that other keys got.
    """

    id: int
    name: str
    created: float
    anywhere: bool


class FeedbackError(RequestError):
    """Feedback that is not taken.

    Attributes:
        status: As HTTP has it.
        code: Short, for programs.
    """

    def __init__(self, message: str, *, status: int = 400, code: str = "invalid_feedback") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class UnknownExchangeError(FeedbackError):
    """No exchange has the id, or none yet, or none of this key."""

    def __init__(self) -> None:
        super().__init__(
            "There is no answer with this id that feedback may be given on",
            status=404,
            code="answer_not_found",
        )


_decoder = msgspec.json.Decoder(_Body)
_correction = msgspec.json.Decoder(str | dict[str, msgspec.Raw] | None)


def read_feedback(body: bytes) -> Feedback:
    """Read the feedback in a request's body.

    Raises:
        FeedbackError: It is not feedback.
    """
    try:
        fields = _decoder.decode(body)
        correction = _text_of(fields.correction)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FeedbackError(f"The body is not feedback: {error}") from None
    feedback = Feedback(fields.id, fields.score, fields.label, correction, fields.comment)
    if not usable_id(feedback.id):
        raise FeedbackError("id must be that of an answer: 1 to 200 printable ASCII characters")
    if feedback.score is not None and not 0 <= feedback.score <= 1:
        raise FeedbackError(f"score must be from 0 to 1, was {feedback.score}")
    if (
        feedback.score is None
        and feedback.label is None
        and feedback.correction is None
        and not feedback.comment
    ):
        raise FeedbackError("Feedback must have a score, a label, a correction or a comment")
    _check_text("comment", feedback.comment, MOST_COMMENT)
    _check_text("correction", feedback.correction, MOST_CORRECTION)
    return feedback


class FeedbackDesk:
    """Takes feedback into a store; used by all workers and threads at once."""

    def __init__(self, store: Store) -> None:
        self._kept = FeedbackStore(store)
        self._registry = Registry(store)
        # Replaced whole: tasks by their ids, and until when they may be believed.
        self._tasks: tuple[float, dict[str, TaskRecord]] = (0.0, {})

    def take(self, feedback: Feedback, key: Speaker | None) -> str:
        """Keep a client's feedback, and return the form of the task that it was checked by.

        The form is ``""`` if the exchange has no task yet: its correction is then checked when it
        is used.

        Args:
            feedback: From `read_feedback`.
            key: The client's key; None where none is needed.

        Raises:
            UnknownExchangeError: No exchange that the key may give feedback on has the id.
            FeedbackError: More than one exchange has the id, or the correction cannot be used.
            StoreError: The store could not be read or written.
        """
        exchanges = [
            exchange for exchange in self._kept.find(feedback.id) if may_speak(key, exchange)
        ]
        if not exchanges:
            raise UnknownExchangeError
        if len(exchanges) > 1:
            raise FeedbackError(
                "More than one answer has this id, so it cannot be told which is meant; use the "
                "other one of the answer's two ids",
                status=409,
                code="ambiguous_id",
            )
        [exchange] = exchanges
        record = self._task(exchange.task_id) if exchange.task_id is not None else None
        correction = feedback.correction
        if correction is not None and record is not None:
            self._check(correction, record)
        written = self._kept.put(
            exchange.seq,
            key.id if key is not None else 0,
            score=feedback.score,
            label=feedback.label,
            correction=correction,
            comment=feedback.comment,
        )
        if not written:  # retention was faster
            raise UnknownExchangeError
        return record.form if record is not None else ""

    def judge(self, seq: int, key: int, verdict: Verdict, correction: str = "") -> None:
        """Keep a person's verdict on the teacher's and the student's answer to a request.

        The answer that was judged right is kept as a correction, which trains as far as the key is
        trusted; the answers of tasks that call tools take none.

        Args:
            seq: The exchange with the teacher's answer.
            key: The person's, 0 where none is needed.
            verdict: Which answer is right.
            correction: The right answer where neither is.

        Raises:
            UnknownExchangeError: There is no such exchange.
            FeedbackError: The correction cannot be used, or there is no student's answer.
            StoreError: The store could not be read or written.
        """
        with self._kept.store.read() as transaction:
            found = traffic.find(transaction, seq)
        if found is None:
            raise UnknownExchangeError
        exchange, _, task_id = found
        student = exchange.student_answer
        if student is None:
            student = exchange.student_guess
        if verdict in {"student", "both"} and student is None:
            raise FeedbackError("No student was asked for an answer to this request")
        right: str | None = {
            "teacher": exchange.answer.text,
            "student": student,
            "other": correction,
        }.get(verdict)
        record = self._task(task_id) if task_id is not None else None
        if record is not None and FORMS[record.form].calls:
            right = None
        if right is not None:
            _check_text("correction", right, MOST_CORRECTION)
            if record is not None:
                self._check(right, record)
        if not self._kept.judge(seq, key, verdict, right):
            raise UnknownExchangeError

    def _task(self, task_id: str) -> TaskRecord | None:
        until, tasks = self._tasks
        if task_id not in tasks or time.monotonic() > until:
            tasks = {record.task.id: record for record in self._registry.tasks()}
            self._tasks = (time.monotonic() + _TASKS_LAST_S, tasks)
        return tasks.get(task_id)

    def _check(self, correction: str, record: TaskRecord) -> None:
        if reason := why_unusable(correction, record.form, record.folds):
            raise FeedbackError(reason, code="invalid_correction")
        if not FORMS[record.form].closed:
            return
        answers = self._kept.answers_of(record.task.id, LATEST_ANSWERS)
        labels = {canonical_answer(Answer(text), record.form, record.folds) for text in answers}
        if canonical_answer(Answer(correction), record.form, record.folds) not in labels:
            examples = ", ".join(repr(text[:40]) for text in sorted(labels)[:_SHOWN])
            raise FeedbackError(
                f"The correction must be one of the {len(labels)} answers of its task, such as "
                f"{examples}; was {correction[:40]!r}",
                code="invalid_correction",
            )


def may_speak(key: Speaker | None, exchange: FoundExchange) -> bool:
    """Return whether a key may give feedback on an exchange: its own, or any if it is trusted."""
    if key is None or key.anywhere:
        return True
    # Names of revoked keys may be given again.
    return exchange.key == key.name and exchange.time >= key.created


def why_unusable(correction: str, form: Form, folds: tuple[str, ...] = ()) -> str:
    """Return why a correction is no answer of this form, ``""`` if it is one."""
    if not correction.strip():
        return "The correction must not be empty"
    return FORMS[form].why_unusable(correction, folds) if form else ""


def _text_of(raw: msgspec.Raw) -> str | None:
    """Return a correction as the text of an answer: an object keeps its style."""
    correction = _correction.decode(raw)
    return bytes(raw).decode() if isinstance(correction, dict) else correction


def _check_text(field: str, text: str | None, most: int) -> None:
    if text is None:
        return
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise FeedbackError(f"{field} must be Unicode text, has half a surrogate pair") from None
    if size > most:
        raise FeedbackError(f"{field} must have at most {most:,} bytes, has {size:,}")
