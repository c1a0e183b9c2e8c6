"""Puts together what the console shows of exchanges: searches, one exchange, the review queue."""

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from openwheel.errors import RequestError
from openwheel.loop.data import decode_inputs
from openwheel.loop.records import TaskRecord
from openwheel.loop.registry import Registry
from openwheel.store import AUDIT_SUFFIX, BY_STUDENTS, Exchange, Store, traffic
from openwheel.store.feedback import FeedbackStore, KeptFeedback
from openwheel.store.traffic import Found, Search
from openwheel.tasks import answer_in, canonical_answer
from openwheel.wire import Answer, PromptMessage

PAGE: Final = 50
MOST_LOOKED_AT: Final = 20_000
"""A search looks at so many exchanges; the next page goes on."""
MOST_REVIEWED: Final = 2_000
"""The review queue is made of so many of the latest exchanges that are not judged."""
MOST_DIFFED: Final = 4_000
"""Pieces of two answers together; longer ones are shown without marks."""

_PIECES = re.compile(r"\s+|\w+|[^\w\s]")


class Piece(msgspec.Struct, frozen=True):
    """A piece of an answer, and whether the other answer has it too."""

    text: str
    same: bool


class Listed(msgspec.Struct, frozen=True):
    """An exchange in a list.

    Attributes:
        seq: Its place in the store.
        exchange: The exchange.
        task: Its task's name, ``""`` if it has none.
        inputs: The values of its variables, or its last message.
        answer, student: The answer, and the student's; None where there is none.
        differs: Whether the two differ as the task compares answers.
    """

    seq: int
    exchange: Exchange
    task: str
    inputs: str
    answer: str
    student: str | None
    differs: bool


class Page(msgspec.Struct, frozen=True):
    """One page of a search, and where the next begins; 0 if nothing is left."""

    listed: tuple[Listed, ...]
    next_before: int
    looked_at: int


class ExchangeView(msgspec.Struct, frozen=True, kw_only=True):
    """What the page of an exchange shows.

    Attributes:
        listed: The exchange.
        messages: The prompt.
        raw: The request as JSON, indented.
        teacher, student: Both answers in pieces; None where there is none.
        who: Who gave the first answer: ``Teacher``, ``Student`` or ``Log``.
        routed: Why the request was routed as it was, in sentences.
        counterpart: The exchange with the other answer, for an audit in the background; 0 if none.
        feedback: What people said of it.
        calls: Whether its task's answers call tools, which take no corrections.
    """

    listed: Listed
    messages: tuple[PromptMessage, ...]
    raw: str
    teacher: tuple[Piece, ...] | None
    student: tuple[Piece, ...] | None
    who: str
    routed: tuple[str, ...]
    counterpart: int
    feedback: tuple[KeptFeedback, ...]
    calls: bool


def find_page(store: Store, wanted: Search) -> Page:
    """Return a page of a search."""
    records = {record.task.id: record for record in Registry(store).tasks()}
    with store.read() as transaction:
        found = traffic.search(transaction, wanted, page=PAGE, most=MOST_LOOKED_AT)
    listed = _listed(found, records)
    if wanted.pairs == "differ":
        listed = [row for row in listed if row.differs]
    return Page(tuple(listed), found.next_before, found.looked_at)


def review(store: Store, task_id: str, skipped: Sequence[int] = ()) -> list[Listed]:
    """Return the exchanges that are worth judging, those that teach most first.

    First answers that clients got and that differ from the teacher's, the surest first: either the
    teacher is wrong, or the student is sure of something wrong. Then answers that the student kept
    to itself and that differ, likewise.
    """
    records = {record.task.id: record for record in Registry(store).tasks()}
    queue: list[Listed] = []
    for kind in ("differ", "deferred"):
        wanted = Search(task_id=task_id, pairs=_pairs(kind), unjudged=True)
        with store.read() as transaction:
            found = traffic.search(transaction, wanted, page=PAGE * 2, most=MOST_REVIEWED)
        rows = [row for row in _listed(found, records) if row.differs and row.seq not in skipped]
        queue += sorted(rows, key=lambda row: (-(row.exchange.confidence or 0.0), -row.seq))
    return queue


def _pairs(kind: str) -> Literal["differ", "deferred"]:
    return "differ" if kind == "differ" else "deferred"


def view_exchange(store: Store, seq: int) -> ExchangeView | None:
    """Return what the page of an exchange shows; None if there is no such exchange."""
    registry = Registry(store)
    records = {record.task.id: record for record in registry.tasks()}
    with store.read() as transaction:
        found = traffic.find(transaction, seq)
        if found is None:
            return None
        exchange, inputs, task_id = found
        other = (
            exchange.id.removesuffix(AUDIT_SUFFIX)
            if exchange.id.endswith(AUDIT_SUFFIX)
            else exchange.id + AUDIT_SUFFIX
        )
        counterpart = traffic.seqs_of(transaction, [other]).get(other, 0)
    listed = _as_listed(seq, exchange, inputs, task_id, records)
    student: str | None = listed.student
    teacher: str | None = listed.answer
    if exchange.source in BY_STUDENTS:
        student, teacher = listed.answer, None
    marked = _marked(teacher, student)
    record = records.get(task_id or "")
    try:
        messages = exchange.prompt().messages
    except RequestError:
        messages = ()
    return ExchangeView(
        listed=listed,
        messages=messages,
        raw=_indented(exchange.request),
        teacher=marked[0],
        student=marked[1],
        who="Log" if exchange.source == "log" else "Teacher",
        routed=tuple(_routed(exchange, registry)),
        counterpart=counterpart,
        feedback=tuple(FeedbackStore(store).on(seq)),
        calls=record is not None and bool(exchange.answer.tool_calls),
    )


def _listed(found: Found, records: Mapping[str, TaskRecord]) -> list[Listed]:
    return [
        _as_listed(seq, exchange, inputs, task_id, records)
        for (seq, exchange), inputs, task_id in zip(
            found.rows, found.inputs, found.task_ids, strict=True
        )
    ]


def _as_listed(
    seq: int,
    exchange: Exchange,
    inputs: str | None,
    task_id: str | None,
    records: Mapping[str, TaskRecord],
) -> Listed:
    record = records.get(task_id or "")
    student = exchange.student_answer
    if student is None:
        student = exchange.student_guess
    differs = False
    if student is not None:
        differs = student != written(exchange.answer)
        if record is not None:
            form, folds = record.form, record.folds
            differs = canonical_answer(exchange.answer, form, folds) != canonical_answer(
                answer_in(student, form), form, folds
            )
    values = decode_inputs(inputs) if inputs is not None else ()
    return Listed(
        seq,
        exchange,
        record.task.name if record is not None else "",
        "\n".join(values) if values else _last_message(exchange),
        written(exchange.answer),
        student,
        differs,
    )


def _last_message(exchange: Exchange) -> str:
    try:
        messages = exchange.prompt().messages
    except RequestError:
        return ""
    return messages[-1].text if messages else ""


def written(answer: Answer) -> str:
    """Return an answer as one text; calls of tools as a line each."""
    calls = [f"{call.name}({call.arguments})" for call in answer.tool_calls]
    return "\n".join([answer.text, *calls] if answer.text else calls)


def _marked(
    teacher: str | None, student: str | None
) -> tuple[tuple[Piece, ...] | None, tuple[Piece, ...] | None]:
    """Return both answers in pieces, each marked as to whether the other has it too.

    Examples:
        >>> [piece.text for piece in _marked("to billing", "to returns")[1] if not piece.same]
        ['returns']
    """
    if teacher is None or student is None:
        return _whole(teacher), _whole(student)
    first, second = _PIECES.findall(teacher), _PIECES.findall(student)
    if len(first) + len(second) > MOST_DIFFED:
        return _whole(teacher), _whole(student)
    left: list[Piece] = []
    right: list[Piece] = []
    matcher = difflib.SequenceMatcher(None, first, second, autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        left += [Piece("".join(first[a:b]), kind == "equal")] if a < b else []
        right += [Piece("".join(second[c:d]), kind == "equal")] if c < d else []
    return tuple(left), tuple(right)


def _whole(text: str | None) -> tuple[Piece, ...] | None:
    return None if text is None else (Piece(text, same=True),)


def _indented(request: bytes) -> str:
    try:
        value: Any = json.loads(request)
    except (ValueError, RecursionError):
        return request.decode(errors="replace")
    return json.dumps(value, indent=2, ensure_ascii=False)


def _routed(exchange: Exchange, registry: Registry) -> list[str]:
    """Say why a request was routed as it was, from what was kept of it."""
    if exchange.source == "log":
        return ["It comes from a log: a teacher answered before it reached Openwheel."]
    threshold = _threshold(registry, exchange.student)
    sure = "" if exchange.confidence is None else f" Its confidence was {exchange.confidence:.4g}"
    if sure:
        sure += f", its threshold {threshold:.4g}." if threshold is not None else "."
    asked = exchange.audit_probability
    if exchange.source == "student":
        return [
            f"Student {exchange.student} answered.{sure}",
            f"The teacher was asked besides with a probability of {asked:.3g}.",
        ]
    if exchange.source == "best_effort":
        return [
            f"Student {exchange.student} answered below its threshold, since no teacher could be "
            f"reached.{sure} No certificate covers this answer."
        ]
    if exchange.student_answer is not None:
        background = exchange.id.endswith(AUDIT_SUFFIX)
        return [
            f"Student {exchange.student} {'answered the client' if background else 'could answer'},"
            f" and a coin of probability {asked:.3g} had the teacher asked: an audit.{sure}",
            "The client got the student's answer."
            if background
            else "The client got the teacher's answer, since the request was held back.",
        ]
    if exchange.student:
        below = (
            exchange.confidence is not None
            and threshold is not None
            and exchange.confidence < threshold
        )
        reason = (
            "it was not sure enough"
            if below
            else "the request was unlike its training, of a slice or a key that is left to the "
            "teacher, or asked for something else than it gives"
        )
        return [f"Student {exchange.student} left it to the teacher: {reason}.{sure}"]
    return ["No student was promoted for it then, so the teacher answered."]


def _threshold(registry: Registry, student: str) -> float | None:
    """Return the threshold of a student's latest certificate, None if it has none."""
    found = [one.threshold for one in registry.certificates() if one.student == student]
    return found[-1] if found else None
