"""Converts exchanges to rows and back."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from openwheel.store import sql
from openwheel.store.exchange import Exchange
from openwheel.store.schema import exchanges as table
from openwheel.store.schema import feedback
from openwheel.wire import Answer, Probabilities, ToolCall, Usage

_encoder = msgspec.json.Encoder()
_tool_calls = msgspec.json.Decoder(tuple[ToolCall, ...])
_probabilities = msgspec.json.Decoder(dict[str, float])


class TaskRow(NamedTuple):
    """The part of an exchange that training and judging need.

    Attributes:
        seq: Its place in the order of arrival.
        time: Arrival in seconds since 1970; 0.0 if unknown.
        inputs: The task's variables, a JSON array of strings.
        settings: The request's, a JSON object with sorted keys; ``""`` if not known.
        text: The answer's text.
        tool_calls: The answer's tool calls as a JSON array, ``""`` if there were none.
        finish_reason: The answer's, as sent.
        probabilities: The answer's, a JSON object; None if it has none.
        source: As in `Exchange`, like all that follow but ``probabilities``.
    """

    seq: int
    time: float
    inputs: str
    settings: str
    text: str
    tool_calls: str
    finish_reason: str
    source: str
    unbiased: bool
    audit_probability: float
    student: str
    student_answer: str | None
    teacher: str
    model: str
    key: str
    probabilities: str | None

    @property
    def answer(self) -> Answer:
        """The answer."""
        return answer_of(self.text, self.tool_calls, self.finish_reason, self.probabilities)


TASK_ROW_COLUMNS: Sequence[sa.Column[Any]] = [table.c[name] for name in TaskRow._fields]

_EXCHANGE_FIELDS = (
    "seq",
    "id",
    "time",
    "request",
    "text",
    "tool_calls",
    "finish_reason",
    "source",
    "api",
    "model",
    "task",
    "latency_ms",
    "prompt_tokens",
    "completion_tokens",
    "unbiased",
    "audit_probability",
    "student",
    "student_answer",
    "confidence",
    "key",
    "teacher",
    "reply_id",
    "request_id",
    "fingerprint",
    "student_guess",
    "probabilities",
    "student_probabilities",
)


def columns(names: Sequence[str]) -> list[sa.ColumnElement[Any]]:
    """Return columns of the exchanges by their names; a request may be in a table of its own."""
    return [
        sql.request_body().label(name) if name == "request" else table.c[name] for name in names
    ]


EXCHANGE_COLUMNS: Sequence[sa.ColumnElement[Any]] = columns(_EXCHANGE_FIELDS)

WRITTEN: Sequence[str] = _EXCHANGE_FIELDS[1:]
"""The columns that `values_of` gives: the seq is the database's to give."""


def values_of(exchange: Exchange) -> tuple[Any, ...]:
    """Return the values of the columns `WRITTEN`, before task and inputs are known."""
    answer, usage = exchange.answer, exchange.usage
    return (
        exchange.id,
        exchange.time,
        exchange.request,
        answer.text,
        _encoder.encode(answer.tool_calls).decode() if answer.tool_calls else "",
        answer.finish_reason,
        exchange.source,
        exchange.api,
        exchange.model,
        exchange.task,
        exchange.latency_ms,
        None if usage is None else usage.prompt_tokens,
        None if usage is None else usage.completion_tokens,
        exchange.unbiased,
        exchange.audit_probability,
        exchange.student,
        exchange.student_answer,
        exchange.confidence,
        exchange.key,
        exchange.teacher,
        exchange.reply_id or None,  # NULLs are not in the indexes
        exchange.request_id or None,
        exchange.fingerprint,
        exchange.student_guess,
        written_probabilities(answer.probabilities),
        written_probabilities(exchange.student_probabilities),
    )


def exchange_of(row: Sequence[Any]) -> Exchange:
    """Return the exchange that a row of `EXCHANGE_COLUMNS` holds."""
    (
        _seq,
        identity,
        time,
        request,
        text,
        tool_calls,
        finish_reason,
        source,
        api,
        model,
        task,
        latency_ms,
        prompt_tokens,
        completion_tokens,
        unbiased,
        audit_probability,
        student,
        student_answer,
        confidence,
        key,
        teacher,
        reply_id,
        request_id,
        fingerprint,
        student_guess,
        probabilities,
        student_probabilities,
    ) = row
    return Exchange(
        id=identity,
        time=time,
        request=request,
        answer=answer_of(text, tool_calls, finish_reason, probabilities),
        source=source,
        api=api,
        model=model,
        task=task,
        latency_ms=latency_ms,
        usage=None if prompt_tokens is None else Usage(prompt_tokens, completion_tokens),
        unbiased=unbiased,
        audit_probability=audit_probability,
        student=student,
        student_answer=student_answer,
        confidence=confidence,
        key=key,
        teacher=teacher,
        reply_id=reply_id or "",
        request_id=request_id or "",
        fingerprint=fingerprint,
        student_guess=student_guess,
        student_probabilities=read_probabilities(student_probabilities),
    )


def answer_of(text: str, tool_calls: str, finish_reason: str, probabilities: str | None) -> Answer:
    """Return the answer that columns of these names hold."""
    calls = _tool_calls.decode(tool_calls) if tool_calls else ()
    return Answer(text, calls, finish_reason, read_probabilities(probabilities))


def read_probabilities(column: str | None) -> Probabilities:
    """Return the probabilities that a column holds, in their order."""
    return tuple(_probabilities.decode(column).items()) if column else ()


def written_probabilities(probabilities: Probabilities) -> str | None:
    """Return probabilities as a column holds them; None if there are none."""
    return _encoder.encode(dict(probabilities)).decode() if probabilities else None


def delete_exchanges(connection: sa.Connection, seqs: Sequence[int]) -> int:
    """Delete exchanges with the feedback on them; return how many there were."""
    if not seqs:
        return 0
    connection.execute(sa.delete(feedback).where(feedback.c.seq.in_(seqs)))
    these = sa.and_(
        table.c.seq.in_(seqs), sql.after(table, min(seqs) - 1), sql.until(table, max(seqs))
    )
    sql.free_ids(connection, table, these)
    return connection.execute(sa.delete(table).where(these)).rowcount


def newest_seq(connection: sa.Connection) -> int:
    """Return the ``seq`` of the newest exchange, 0 when there is none."""
    return connection.execute(sa.select(sa.func.max(table.c.seq))).scalar_one() or 0
