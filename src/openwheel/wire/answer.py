"""What an endpoint answered, free of the wire format it came in."""

import re

import msgspec

_THINK = re.compile(r"\A\s*<think>(.*?)</think>\s*", re.DOTALL)


class Usage(msgspec.Struct, frozen=True):
    """Tokens as the endpoint counted them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class ToolCall(msgspec.Struct, frozen=True):
    """One call of a tool: its name, and its arguments as the JSON text that was sent."""

    name: str
    arguments: str


class Answer(msgspec.Struct, frozen=True):
    """One assistant message.

    Attributes:
        text: The content, byte for byte as it was sent; ``""`` if there was none.
        tool_calls: The tools called, in order.
        finish_reason: Why it ended, in the words of chat completions (``stop``, ``length``,
            ``tool_calls``, ``content_filter``) where they have one, else as sent; ``refusal``
            for an answer that says why it is none.
    """

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str = "stop"

    @property
    def complete(self) -> bool:
        """Whether the answer ended by itself, so that it may be learned from."""
        return self.finish_reason in {"stop", "tool_calls", "function_call", "end_turn"}

    @property
    def final(self) -> str:
        """The text without what a reasoning model thought in ``<think>`` tags before it."""
        return split_reasoning(self.text)[1]


def split_reasoning(text: str) -> tuple[str, str]:
    """Return what a teacher thought in ``<think>`` tags before its answer, and the answer.

    An answer that never stopped thinking has none: it is all reasoning.

    >>> split_reasoning("<think>is it red?</think>yes")
    ('is it red?', 'yes')
    """
    if "<think>" not in text[:64]:
        return "", text
    found = _THINK.match(text)
    if found:
        return found.group(1).strip(), text[found.end() :]
    if text.lstrip().startswith("<think>"):
        return text.lstrip().removeprefix("<think>").strip(), ""
    return "", text


def as_answer(answer: str | Answer) -> Answer:
    """Return ``answer``, a text as the answer that is just this text."""
    return Answer(answer) if isinstance(answer, str) else answer
