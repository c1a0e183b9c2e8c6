"""Exports a task's exchanges as a data set.

The answers are the teacher's, or a correction's where one is believed; a student's own answers are
left out, and so are answers that the policy forbids to learn from.
"""

import itertools
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from openwheel.errors import RequestError
from openwheel.loop.data import load_answers
from openwheel.loop.feedback.corrections import task_corrections
from openwheel.loop.records import TaskRecord
from openwheel.store import Exchange, Store
from openwheel.trust import Policy
from openwheel.wire import Answer

VALIDATION: Final = 0.1
"""Share of a data set, its latest exchanges, that is for validation by default."""

_decoder = msgspec.json.Decoder(dict[str, Any])
_FIELDS: Final = ("tools", "tool_choice", "parallel_tool_calls", "functions", "response_format")


class Example(msgspec.Struct, frozen=True):
    """One exchange of a data set.

    Attributes:
        id: Of the exchange.
        time: Of the request, in seconds since 1970; 0.0 if unknown.
        task: The task's name.
        split: ``train``, or ``validation`` for the latest.
        model: The model that answered.
        corrected: Whether the answer is a correction.
        messages: The messages of the request, as chat completions have them.
        settings: The request's tools and response format.
        answer: The answer.
    """

    id: str
    time: float
    task: str
    split: str
    model: str
    corrected: bool
    messages: list[dict[str, Any]]
    settings: dict[str, Any]
    answer: Answer

    def row(self) -> dict[str, Any]:
        """Return the example as a row of a table."""
        texts = [m["content"] for m in self.messages if isinstance(m.get("content"), str)]
        return {
            "id": self.id,
            "time": self.time or None,
            "task": self.task,
            "split": self.split,
            "model": self.model,
            "corrected": self.corrected,
            "input": texts[-1] if texts else "",
            "messages": msgspec.json.encode(self.messages).decode(),
            "output": self.answer.text,
            "tool_calls": msgspec.json.encode(self.answer.tool_calls).decode(),
        }

    def fine_tuning(self) -> dict[str, Any]:
        """Return the example as a line of a fine-tuning file for chat models."""
        reply: dict[str, Any] = {"role": "assistant", "content": self.answer.text}
        if self.answer.tool_calls:
            reply["content"] = self.answer.text or None
            reply["tool_calls"] = [
                {
                    "id": f"call_{i}",
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for i, call in enumerate(self.answer.tool_calls)
            ]
        return {"messages": [*self.messages, reply], **self.settings}


def examples(
    store: Store,
    record: TaskRecord,
    *,
    policy: Policy | None = None,
    validation: float = VALIDATION,
) -> Iterator[Example]:
    """Yield a task's examples in the order in which they came; the latest are for validation.

    The policy says which answers may be learned from.
    """
    data = load_answers(store, record.task.id, record.form, policy=policy)
    learned = {int(seq) for seq in data.seq[data.trains]}
    believed = task_corrections(store, record, data.to_train()).believed
    first = len(learned) - round(validation * len(learned))
    place = itertools.count()
    for seq, exchange in store.exchanges(task_id=record.task.id):
        correction = believed.get(seq)
        if seq not in learned and correction is None:
            continue
        number = next(place) if seq in learned else 0
        answer = exchange.answer if correction is None else Answer(correction.row.correction)
        split = "train" if number < first else "validation"
        example = _example(exchange, answer, record.task.name, split, correction is not None)
        if example is not None:
            yield example


def _example(
    exchange: Exchange, answer: Answer, task: str, split: str, corrected: bool
) -> Example | None:
    try:
        prompt = exchange.prompt()
        body = _decoder.decode(exchange.request)
    except (RequestError, msgspec.DecodeError):  # the request cannot be sent again
        return None
    if exchange.api == "chat":
        messages = body["messages"]
        settings = {name: body[name] for name in _FIELDS if body.get(name) is not None}
    else:
        # Completions have one message, whose role is `text`.
        messages = [
            {"role": "user" if m.role == "text" else m.role, "content": m.text}
            for m in prompt.messages
        ]
        settings = {}
    return Example(
        id=exchange.id,
        time=exchange.time,
        task=task,
        split=split,
        model=exchange.model,
        corrected=corrected,
        messages=messages,
        settings=settings,
        answer=answer,
    )
