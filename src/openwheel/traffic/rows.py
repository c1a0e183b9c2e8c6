"""An exchange as a row of the store, and back."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from openwheel.traffic.exchange import Exchange
from openwheel.traffic.schema import exchanges as table
from openwheel.wire import Answer, ToolCall, Usage

_encoder = msgspec.json.Encoder()
_tool_calls = msgspec.json.Decoder(tuple[ToolCall, ...])


class TaskRow(NamedTuple):
    """What training and judging need of one exchange of a task.

    Attributes:
        seq: Its place in the order of arrival.
        time: Arrival in seconds since 1970; 0.0 if unknown.
        inputs: The task's variables, a JSON array of strings.
        settings: The request's, a JSON object with sorted keys; ``""`` if not known.
        text: The answer's text.
        tool_calls: The answer's tool calls as a JSON array, ``""`` if there were none.
        finish_reason: The answer's, as sent.
        source: As in `Exchange`, like all that follow.
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
    confidence: float | None

    @property
    def answer(self) -> Answer:
        """What was answered."""
        calls = _tool_calls.decode(self.tool_calls) if self.tool_calls else ()
        return Answer(self.text, calls, self.finish_reason)


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
)
EXCHANGE_COLUMNS: Sequence[sa.Column[Any]] = [table.c[name] for name in _EXCHANGE_FIELDS]


def values_of(exchange: Exchange) -> dict[str, Any]:
    """Return the values of an exchange's row; task and inputs are not known yet."""
    answer, usage = exchange.answer, exchange.usage
    return {
        "id": exchange.id,
        "time": exchange.time,
        "request": exchange.request,
        "text": answer.text,
        "tool_calls": _encoder.encode(answer.tool_calls).decode() if answer.tool_calls else "",
        "finish_reason": answer.finish_reason,
        "source": exchange.source,
        "api": exchange.api,
        "model": exchange.model,
        "task": exchange.task,
        "latency_ms": exchange.latency_ms,
        "prompt_tokens": None if usage is None else usage.prompt_tokens,
        "completion_tokens": None if usage is None else usage.completion_tokens,
        "unbiased": exchange.unbiased,
        "audit_probability": exchange.audit_probability,
        "student": exchange.student,
        "student_answer": exchange.student_answer,
        "confidence": exchange.confidence,
        "key": exchange.key,
    }


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
    ) = row
    return Exchange(
        id=identity,
        time=time,
        request=request,
        answer=Answer(text, _tool_calls.decode(tool_calls) if tool_calls else (), finish_reason),
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
    )
