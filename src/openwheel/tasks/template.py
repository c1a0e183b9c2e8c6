"""Defines the prompt template: constant text around variables whose values it reads."""

import hashlib
from functools import cached_property
from typing import Any, NamedTuple

import msgspec

from openwheel.wire import Prompt, called_last, question_in, read_tools
from openwheel.wire.question import MARK

Inputs = tuple[str, ...]
Parts = tuple[str, str, str, str]

PART_NAMES = ("system", "history", "message", "tail")
_SYSTEM_ROLES = frozenset({"system", "developer"})


def prompt_parts(prompt: Prompt) -> Parts:
    """Return a prompt's system text, history, last user message, and what follows it.

    Conversations of any length have these four parts, so that length does not split a task.
    History and tail are rendered with a line ``<role>`` before each message. System messages
    after the first other message belong to the history.
    """
    messages = prompt.messages
    n = len(messages)
    if n == 1:
        only = messages[0]
        if only.role == "user":
            return "", "", only.text, ""
    head = 0
    while head < n and messages[head].role in _SYSTEM_ROLES:
        head += 1
    last = n - 1
    while last >= head and messages[last].role != "user":
        last -= 1
    system = messages[0].text if head == 1 else "\n\n".join(m.text for m in messages[:head])
    if last < head:
        return system, "", "", _render(prompt, head, n)
    history = _render(prompt, head, last) if last > head else ""
    tail = _render(prompt, last + 1, n) if last + 1 < n else ""
    return system, history, messages[last].text, tail


def _render(prompt: Prompt, start: int, stop: int) -> str:
    return "".join(f"<{m.role}>\n{m.text}\n" for m in prompt.messages[start:stop])


class PromptKey(NamedTuple):
    """What a prompt must have in common with a template beside its texts.

    Attributes:
        tools: As in :class:`Prompt`; where there may be more, only what goes with them.
        response_format: As in :class:`Prompt`.
        after: The tools whose results the answer goes on from.
        more: Whether there may be more tools than the template's.
    """

    tools: str
    response_format: str
    after: str
    more: bool


def prompt_key(prompt: Prompt, *, more: bool = False) -> PromptKey:
    """Return the key of the templates that a prompt may fit."""
    tools = read_tools(prompt.tools).rest if more else prompt.tools
    return PromptKey(tools, prompt.response_format, called_last(prompt.messages), more)


class Part(msgspec.Struct, frozen=True):
    """One part of a template: ``literals[0] {1} literals[1] {2} ... literals[-1]``.

    Attributes:
        literals: The constant texts, in order; only the first and the last may be empty. One
            literal alone is a part without variables.
        pivot: Which variable (counted from 0) takes text that could belong to several. The literals
            before it are searched from the start, those after it from the end, so a long input may
            quote any of them.
    """

    literals: tuple[str, ...] = ("",)
    pivot: int = 0

    def match(self, text: str) -> Inputs | None:
        """Return the variables' values, or None; the time is linear in the text."""
        literals = self.literals
        last = len(literals) - 1
        if last == 0:
            return () if text == literals[0] else None
        start, end = len(literals[0]), len(text) - len(literals[last])
        if end < start or not text.startswith(literals[0]) or not text.endswith(literals[last]):
            return None
        if last == 1:
            return (text[start:end],)
        values: list[str] = []
        for i in range(1, self.pivot + 1):
            position = text.find(literals[i], start, end)
            if position < 0:
                return None
            values.append(text[start:position])
            start = position + len(literals[i])
        tail: list[str] = []
        for i in range(last - 1, self.pivot, -1):
            position = text.rfind(literals[i], start, end)
            if position < 0:
                return None
            tail.append(text[position + len(literals[i]) : end])
            end = position
        values.append(text[start:end])
        values.extend(reversed(tail))
        return tuple(values)

    def overlaps(self, other: "Part") -> bool:
        """Whether some text matches both.

        Between the longer start and the longer end all other literals fit, one after another.
        """
        mine, theirs = self.literals, other.literals
        if not self.variables:
            return other.match(mine[0]) is not None
        if not other.variables:
            return self.match(theirs[0]) is not None
        starts = mine[0].startswith(theirs[0]) or theirs[0].startswith(mine[0])
        return starts and (mine[-1].endswith(theirs[-1]) or theirs[-1].endswith(mine[-1]))

    def render(self, values: Inputs) -> str:
        """Return the text with ``values`` in the variables' places."""
        pieces = [self.literals[0]]
        for value, literal in zip(values, self.literals[1:], strict=True):
            pieces += [value, literal]
        return "".join(pieces)

    @property
    def variables(self) -> int:
        """How many variables there are."""
        return len(self.literals) - 1


ANY = Part(("", ""))
NONE = Part()

FEWEST_LETTERS = 12
"""A template with fewer letters of constant text is bare: two or three words say no task."""


class Template(msgspec.Struct, frozen=True, dict=True):
    """The constant text of a task's prompts, in the parts of :func:`prompt_parts`.

    Attributes:
        parts: System text, history, last user message, tail.
        tools: The tools every prompt offers, as in :class:`Prompt`; they must be equal.
        response_format: The response format every prompt asks for, or the typed question that it
            is; it must be equal.
        after: The tools whose results every prompt goes on from, as in :func:`called_last`.
        more: Whether prompts may offer further tools. Then the names of all tools that may be
            called are a further input, the last one.
    """

    parts: tuple[Part, Part, Part, Part]
    tools: str = ""
    response_format: str = ""
    after: str = ""
    more: bool = False

    def match(self, prompt: Prompt) -> Inputs | None:
        """Return the values of the variables in order, or None if the prompt does not fit."""
        if self.key != prompt_key(prompt) and self.key != prompt_key(prompt, more=True):
            return None
        inputs = self.match_parts(prompt_parts(prompt))
        return None if inputs is None else self.with_tools(inputs, prompt.tools)

    def with_tools(self, inputs: Inputs, tools: str) -> Inputs | None:
        """Return the inputs with the tools that a prompt offers, None if it lacks any.

        Args:
            inputs: Values of the variables in the texts.
            tools: As in :class:`Prompt`; equal to the template's unless there may be more.
        """
        if not self.more:
            return inputs
        offered = read_tools(tools)
        own = read_tools(self.tools).likeness
        if any(offered.likeness.get(name) != same for name, same in own.items()):
            return None
        return (*inputs, "\n".join(sorted(offered.schemas)))

    @cached_property
    def key(self) -> PromptKey:
        """What its prompts have in common beside their texts and further tools."""
        rest = read_tools(self.tools).rest if self.more else self.tools
        return PromptKey(rest, self.response_format, self.after, self.more)

    def match_parts(self, parts: Parts) -> Inputs | None:
        """As :meth:`match`, for the texts alone and their parts already taken."""
        inputs: Inputs = ()
        for part, text in zip(self.parts, parts, strict=True):
            values = part.match(text)
            if values is None:
                return None
            inputs += values
        return inputs

    def overlaps(self, other: "Template") -> bool:
        """Whether some prompt matches both."""
        return self._offers_as(other) and all(
            mine.overlaps(outer) for mine, outer in zip(self.parts, other.parts, strict=True)
        )

    def _offers_as(self, other: "Template") -> bool:
        """Whether some prompt has tools, response format and last calls as both have them."""
        if not (self.more or other.more):
            return self.key == other.key
        if (self.response_format, self.after) != (other.response_format, other.after):
            return False
        mine, theirs = read_tools(self.tools), read_tools(other.tools)
        if mine.rest != theirs.rest:
            return False
        fixed = [read.likeness for one, read in ((self, mine), (other, theirs)) if not one.more]
        both = {*mine.likeness.items(), *theirs.likeness.items()}
        return all(both <= set(likeness.items()) for likeness in fixed)

    def render(self, inputs: Inputs) -> Parts:
        """Return the parts of the prompt that has these values.

        Raises:
            ValueError: There are not as many inputs as variables.
        """
        if len(inputs) != self.variables:
            raise ValueError(f"The template has {self.variables} variables, got {len(inputs)}")
        texts, at = [], 0  # tools are in no text
        for part in self.parts:
            texts.append(part.render(inputs[at : at + part.variables]))
            at += part.variables
        system, history, message, tail = texts
        return system, history, message, tail

    def describe(self) -> str:
        """Return the template for people: the literals, with ``{1}``, ``{2}`` for variables."""
        lines, at = [], 0
        if self.after:
            lines.append(f"[after] {', '.join(self.after.split())}")
        for name, part in zip(PART_NAMES, self.parts, strict=True):
            if part.literals == ("",):
                continue
            names = tuple(f"{{{at + i + 1}}}" for i in range(part.variables))
            at += part.variables
            lines.append(f"[{name}]\n{part.render(names)}")
        if self.more:
            lines.append(f"[tools] {{{at + 1}}}")
        question = question_in(self.response_format)
        if question is not None:
            lines.append(f"[{question.type}]\n{question.described}")
        return "\n".join(lines)

    @cached_property
    def id(self) -> str:
        """A short name for the content: 12 hexadecimal digits of its SHA-256."""
        content: list[Any] = [[p.literals for p in self.parts], self.tools, self.response_format]
        if self.after or self.more:
            content += [self.after, self.more]
        return hashlib.sha256(msgspec.json.encode(content)).hexdigest()[:12]

    @property
    def variables(self) -> int:
        """How many inputs there are."""
        return self.texts + self.more

    @property
    def texts(self) -> int:
        """How many variables the texts have."""
        return sum(part.variables for part in self.parts)

    @property
    def literal_length(self) -> int:
        """Characters of constant text: the more, the more specific."""
        return sum(len(literal) for part in self.parts for literal in part.literals)

    @property
    def bare(self) -> bool:
        """Whether there is hardly any constant text, so that texts of other tasks fit, too.

        New tasks may hide among the prompts that a bare template takes: pass those to
        :func:`find_tasks` too.
        """
        if self.response_format.startswith(MARK):
            return False
        literals = (literal for part in self.parts for literal in part.literals)
        return sum(c.isalpha() for literal in literals for c in literal) < FEWEST_LETTERS


def question_template(response_format: str) -> Template:
    """Return the template of a typed question: all of its input is one variable."""
    return Template((NONE, NONE, ANY, NONE), "", response_format)
