"""Telling what a model thinks from what it answers, by the marks its chat template declares.

Four forms are known: ``<think>`` (Qwen, DeepSeek, GLM, MiniMax and many more), the same with the
answer in ``<answer>`` (Hunyuan), ``[THINK]`` (Mistral), and the channels of gpt-oss (harmony).
Which one a model has is read from its template, never from its name.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, Protocol, get_args

ReasoningStyle = Literal["none", "think", "think_answer", "mistral", "harmony"]
Kind = Literal["content", "reasoning", "tool"]

STYLES: Final[tuple[ReasoningStyle, ...]] = get_args(ReasoningStyle)

_THINK: Final = MappingProxyType(
    {
        "think": ("<think>", "</think>"),
        "think_answer": ("<think>", "</think>"),
        "mistral": ("[THINK]", "[/THINK]"),
    }
)
HARMONY_MARKS: Final = (
    "<|start|>",
    "<|end|>",
    "<|message|>",
    "<|channel|>",
    "<|constrain|>",
    "<|return|>",
    "<|call|>",
)
_HARMONY_TURN: Final = "<|start|>assistant"


class Piece(NamedTuple):
    """A piece of what a model wrote; one of kind ``tool`` is a whole call.

    ``name`` is the tool's where the model's form has it outside the text.
    """

    kind: Kind
    text: str
    name: str = ""


class Reader(Protocol):
    """Sorts a text that arrives in pieces."""

    @property
    def kind(self) -> Kind:
        """What the next character is part of, as far as can be told."""

    def feed(self, text: str) -> list[Piece]:
        """Take more of the text, and return what is certain by now."""

    def close(self) -> list[Piece]:
        """Return the rest: the text has ended."""


def reasoning_style(template: str) -> ReasoningStyle:
    """Return the form in which a model thinks, by its chat template."""
    if "<|channel|>" in template and "<|message|>" in template:
        return "harmony"
    if "[THINK]" in template:
        return "mistral"
    if "</think>" in template or "<think>" in template:
        return "think_answer" if "<answer>" in template else "think"
    return "none"


def style_marks(style: ReasoningStyle) -> tuple[str, ...]:
    """Return the marks of a form; as special tokens they must be kept when tokens become text."""
    if style == "harmony":
        return HARMONY_MARKS
    answer = ("<answer>", "</answer>") if style == "think_answer" else ()
    return _THINK.get(style, ()) + answer


def begins_inside(style: ReasoningStyle, prompt: str) -> bool:
    """Return whether a prompt ends within what the model thinks, as some templates have it."""
    return style in _THINK and prompt.rstrip().endswith(_THINK[style][0])


def thinking_closed(style: ReasoningStyle, template: str, prompt: str) -> str:
    """Return what to add to a prompt so that the model answers without thinking first.

    Templates that can be told not to think have done so already; for the others an empty
    thought is written, as those templates would.
    """
    if style == "harmony":
        return "<|channel|>final<|message|>" if prompt.endswith(_HARMONY_TURN) else ""
    if style not in _THINK:
        return ""
    opened, closed = _THINK[style]
    written = prompt.rstrip()
    answer = "<answer>\n" if style == "think_answer" else ""
    if written.endswith(opened):
        return f"\n{closed}\n\n{answer}"
    if written.endswith((closed, "<answer>")) or "enable_thinking" in template:
        return ""
    # Only for models that are told to open a thought by themselves; others merely drop old ones.
    return f"{opened}\n\n{closed}\n\n{answer}" if opened in template else ""


def thought_opened(style: ReasoningStyle, template: str, prompt: str) -> str:
    """Return what to add to a prompt so that the model thinks before it answers in a set form.

    Otherwise the form would apply from the first token on and forbid the thought.
    """
    if style not in _THINK or begins_inside(style, prompt):
        return ""
    opened = _THINK[style][0]
    return f"{opened}\n" if opened in template else ""


def make_reader(
    style: ReasoningStyle, *, inside: bool = False, tool_marks: tuple[str, str] | None = None
) -> Reader:
    """Return a reader for one answer.

    Args:
        style: The form in which the model thinks.
        inside: Whether the prompt ends within a thought.
        tool_marks: What stands before and after a tool call (``""``: the end of the text).
    """
    if style == "harmony":
        return _ChannelReader()
    marks: dict[Kind, dict[str, Kind]] = {"content": {}, "reasoning": {}, "tool": {}}
    if style in _THINK:
        opened, closed = _THINK[style]
        marks["content"][opened] = "reasoning"
        marks["reasoning"][closed] = "content"
    if style == "think_answer":
        marks["content"] |= {"<answer>": "content", "</answer>": "content"}
    if tool_marks:
        before, after = tool_marks
        marks["content"][before] = "tool"
        marks["tool"][after or before] = "content" if after else "tool"
    return _MarkReader(marks, "reasoning" if inside else "content")


def held_back(text: str, marks: tuple[str, ...]) -> int:
    """Return how many characters at the end may be the beginning of a mark."""
    longest = max((len(mark) for mark in marks), default=0)
    for size in range(min(longest - 1, len(text)), 0, -1):
        if any(mark.startswith(text[-size:]) for mark in marks):
            return size
    return 0


def next_mark(text: str, marks: tuple[str, ...]) -> tuple[int, str]:
    """Return where the first mark is, and which; -1 where there is none."""
    found = [(at, mark) for mark in marks if (at := text.find(mark)) >= 0]
    return min(found, key=lambda one: (one[0], -len(one[1])), default=(-1, ""))


class _MarkReader:
    """Reads texts in which a mark leads from one kind to another."""

    def __init__(self, marks: Mapping[Kind, Mapping[str, Kind]], kind: Kind) -> None:
        self._marks = marks
        self._kind: Kind = kind
        self._pending = ""
        self._call: list[str] = []
        # White space around marks is part of the form, not of the answer.
        self._at_start = any(marks.values())

    @property
    def kind(self) -> Kind:
        return self._kind

    def feed(self, text: str) -> list[Piece]:
        pieces: list[Piece] = []
        if not self._marks[self._kind]:
            self._take(text, pieces)
            return pieces
        self._pending += text
        while True:
            here = self._marks[self._kind]
            marks = tuple(here)
            at, mark = next_mark(self._pending, marks)
            if at < 0:
                size = len(self._pending) - held_back(self._pending, marks)
                before, self._pending = self._pending[:size], self._pending[size:]
                self._take(before, pieces)
                return pieces
            before, self._pending = self._pending[:at], self._pending[at + len(mark) :]
            self._take(before, pieces)
            self._end_call(pieces)
            self._kind = here[mark]
            self._at_start = True

    def close(self) -> list[Piece]:
        pieces: list[Piece] = []
        rest, self._pending = self._pending, ""
        self._take(rest, pieces)
        self._end_call(pieces)
        return pieces

    def _take(self, text: str, pieces: list[Piece]) -> None:
        if self._kind == "tool":
            self._call.append(text)
            return
        if self._at_start:
            text = text.lstrip()
        if text:
            self._at_start = False
            pieces.append(Piece(self._kind, text))

    def _end_call(self, pieces: list[Piece]) -> None:
        call = "".join(self._call).strip()
        self._call.clear()
        if call:
            pieces.append(Piece("tool", call))


class _ChannelReader:
    """Reads the messages of harmony: a header, ``<|message|>``, a text, and a mark that ends it.

    Source: OpenAI, "OpenAI harmony response format".
    """

    def __init__(self) -> None:
        self._header: str | None = ""
        self._pending = ""
        self._kind: Kind = "reasoning"
        self._tool = ""
        self._call: list[str] = []

    @property
    def kind(self) -> Kind:
        return "reasoning" if self._header is not None else self._kind

    def feed(self, text: str) -> list[Piece]:
        self._pending += text
        pieces: list[Piece] = []
        while True:
            at, mark = next_mark(self._pending, HARMONY_MARKS)
            if at < 0:
                size = len(self._pending) - held_back(self._pending, HARMONY_MARKS)
                before, self._pending = self._pending[:size], self._pending[size:]
                self._take(before, pieces)
                return pieces
            before, self._pending = self._pending[:at], self._pending[at + len(mark) :]
            self._take(before, pieces)
            self._pass(mark, pieces)

    def close(self) -> list[Piece]:
        pieces: list[Piece] = []
        rest, self._pending = self._pending, ""
        self._take(rest, pieces)
        self._end_call(pieces)
        return pieces

    def open_final(self) -> None:
        """Begin within the answer, as where the prompt has opened its channel."""
        self._header, self._kind = None, "content"

    def _take(self, text: str, pieces: list[Piece]) -> None:
        if not text:
            return
        if self._header is not None:
            self._header += text
        elif self._kind == "tool":
            self._call.append(text)
        else:
            pieces.append(Piece(self._kind, text))

    def _pass(self, mark: str, pieces: list[Piece]) -> None:
        if mark == "<|message|>":
            header = self._header or ""
            _, to, name = header.partition("to=functions.")
            self._tool = name.split()[0].partition("<")[0] if to and name.split() else ""
            if self._tool:
                self._kind = "tool"
            else:
                self._kind = "reasoning" if "<|channel|>analysis" in header else "content"
            self._header = None
        elif mark in {"<|channel|>", "<|constrain|>"} and self._header is not None:
            self._header += mark
        elif mark in {"<|start|>", "<|end|>", "<|return|>", "<|call|>"}:
            self._end_call(pieces)
            self._header = ""

    def _end_call(self, pieces: list[Piece]) -> None:
        call = "".join(self._call).strip()
        self._call.clear()
        if call:
            pieces.append(Piece("tool", call, self._tool))


def reader_for(
    style: ReasoningStyle, prompt: str, *, tool_marks: tuple[str, str] | None = None
) -> Reader:
    """Return a reader for what a model writes after a prompt."""
    reader = make_reader(style, inside=begins_inside(style, prompt), tool_marks=tool_marks)
    if isinstance(reader, _ChannelReader) and prompt.endswith("<|message|>"):
        reader.open_final()
    return reader


def plain_reader() -> Reader:
    """Return a reader of texts that are an answer and nothing else."""
    return _MarkReader({"content": {}, "reasoning": {}, "tool": {}}, "content")


def template_of(tokenizer: Any) -> str:
    """Return the text of a tokenizer's chat template, ``""`` if it has none."""
    template = tokenizer.chat_template
    if isinstance(template, dict):  # several, of which this is the one used by default
        template = template.get("default", "")
    return template or ""
