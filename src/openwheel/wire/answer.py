"""What an endpoint answered, free of the wire format it came in."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

_REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "": "stop",
        "stop": "stop",
        "stopped": "stop",
        "stop_sequence": "stop",
        "stop_token": "stop",
        "stop_criteria_met": "stop",
        "eos": "stop",
        "eos_token": "stop",
        "end": "stop",
        "end_of_text": "stop",
        "endoftext": "stop",
        "end_turn": "stop",
        "end_of_turn": "stop",
        "complete": "stop",
        "completed": "stop",
        "done": "stop",
        "finish": "stop",
        "finished": "stop",
        "tool_calls": "tool_calls",
        "tool_call": "tool_calls",
        "tool_use": "tool_calls",
        "function_call": "function_call",
        "length": "length",
        "max_tokens": "length",
        "max_output_tokens": "length",
        "max_length": "length",
        "model_length": "length",
        "model_context_window_exceeded": "length",
        "content_filter": "content_filter",
        "content_filtered": "content_filter",
        "safety": "content_filter",
    }
)
_COMPLETE: Final = frozenset({"stop", "tool_calls", "function_call"})
_THINK = re.compile(r"\A\s*<think>(.*?)</think>\s*", re.DOTALL)


class Usage(msgspec.Struct, frozen=True):
    """Tokens as the endpoint counted them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


Probabilities = tuple[tuple[str, float], ...]
"""What an answer could have been, itself included, each with its probability."""


class ToolCall(msgspec.Struct, frozen=True):
    """One call of a tool: its name, and its arguments as the JSON text that was sent."""

    name: str
    arguments: str


class Answer(msgspec.Struct, frozen=True):
    """One assistant message.

    Attributes:
        text: The content, byte for byte as it was sent; ``""`` if there was none.
        tool_calls: The tools called, in order.
        finish_reason: Why it ended, as `ended` returns it; ``refusal`` for an answer that says
            why it is none.
        probabilities: Of all answers that it could have been, as whoever answered gave them; empty
            where it gave none.
    """

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str = "stop"
    probabilities: Probabilities = ()

    @property
    def complete(self) -> bool:
        """Whether the answer ended by itself, so that it may be learned from."""
        # Read again, since earlier versions kept some reasons as they were sent.
        return ended(self.finish_reason) in _COMPLETE

    @property
    def final(self) -> str:
        """The text without what a reasoning model thought in ``<think>`` tags before it."""
        return split_reasoning(self.text)[1]


def ended(reason: Any) -> str:
    """Return why an answer ended, in the words of chat completions where they have one.

    Servers spell the same reasons in many ways. One without a reason ended by itself: this is to
    be asked only of an answer that is whole. Reasons that mean something else are returned as
    they were sent.

    Args:
        reason: A finish reason, stop reason or status, as sent.

    >>> [ended(reason) for reason in ("eos_token", "STOP", "FINISH_REASON_STOP", None)]
    ['stop', 'stop', 'stop', 'stop']
    >>> ended("tool-calls"), ended("max_tokens"), ended("Blocked")
    ('tool_calls', 'length', 'Blocked')
    """
    if isinstance(reason, dict):
        reason = reason.get("type")
    if reason is None:
        return "stop"
    sent = str(reason)
    if (stop_reason := _REASONS.get(sent)) is not None:
        return stop_reason
    # Enumerations are written with their name before the value.
    spelled = sent.strip().lower().replace("-", "_").rpartition(".")[2]
    return _REASONS.get(spelled.removeprefix("finish_reason_"), sent)


def split_reasoning(text: str) -> tuple[str, str]:
    """Return what a teacher thought in ``<think>`` tags before its answer, and the answer.

    An answer that never stopped thinking has none: it is all reasoning.

    >>> split_reasoning("<think>is it red?</think>yes")
    ('is it red?', 'yes')
    """
    if "<think>" not in text[:64]:
        return "", text
    match = _THINK.match(text)
    if match:
        return match.group(1).strip(), text[match.end() :]
    if text.lstrip().startswith("<think>"):
        return text.lstrip().removeprefix("<think>").strip(), ""
    return "", text


class Reply(msgspec.Struct, frozen=True):
    """One completion as an endpoint sent it.

    Attributes:
        answer: The answer.
        model: The model that it names, ``""`` if it names none.
        usage: Tokens counted, if it says.
        fingerprint: Of the system that answered (``system_fingerprint``), ``""`` if it has none.
    """

    answer: Answer
    model: str = ""
    usage: Usage | None = None
    fingerprint: str = ""


def as_answer(answer: str | Answer) -> Answer:
    """Return ``answer``, a text as the answer that is just this text."""
    return Answer(answer) if isinstance(answer, str) else answer
