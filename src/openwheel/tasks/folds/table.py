"""The table of folds, and the canonical text of an answer after several of them."""

import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

import msgspec

from openwheel.errors import SettingError
from openwheel.tasks.folds.letters import fold_case, fold_invisible, fold_width
from openwheel.tasks.folds.lists import parts_of
from openwheel.tasks.folds.marks import (
    fold_brackets,
    fold_emphasis,
    fold_fence,
    fold_quotes,
    fold_stop,
)
from openwheel.tasks.folds.objects import loaded, object_in
from openwheel.tasks.folds.words import cut_explanation, cut_reasoning, fold_prefix, prefix_fold

VERSION: Final = 1
"""Of all folds: changes when one makes something else of some text. A certificate hashes it."""

LONGEST: Final = 2_000
"""Characters of the longest answer that is folded, once reasoning or explanation is cut off. A
longer one is no label, and compared as it is."""

OFTEN: Final = 200
"""Characters up to which a text is likely to be a label, and asked for again."""

Step = Callable[[str], str]


class Fold(msgspec.Struct, frozen=True):
    """One difference between answers that does not count.

    Attributes:
        name: As the setting has it.
        does: Its effect, for people.
        differ: How two answers differ that only this fold makes equal: "answers differ by ...".
        step: Folds a text; None for folds that work on more than one text.
        inside: Whether it works on the texts inside a JSON object, too.
    """

    name: str
    does: str
    differ: str
    step: Step | None
    inside: bool = False


# From the fold that ignores least to the one that ignores most, which is the order of trying.
FOLDS: Final = {
    fold.name: fold
    for fold in (
        Fold(
            "invisible",
            "characters without a shape (zero-width spaces and joiners, byte order marks) are "
            "ignored, and all kinds of spaces are one space",
            "characters that cannot be seen",
            fold_invisible,
            inside=True,
        ),
        Fold(
            "width",
            "full-width and half-width characters are as their usual ones",
            "full-width or half-width characters",
            fold_width,
            inside=True,
        ),
        Fold("case", "upper case is as lower case", "upper and lower case", None, inside=True),
        Fold(
            "stop",
            "a full stop or an exclamation mark at the end is ignored, but not where there are "
            "several",
            "a full stop at the end",
            fold_stop,
            inside=True,
        ),
        Fold("quotes", "quotes around all of it are ignored", "quotes", fold_quotes, inside=True),
        Fold(
            "emphasis",
            "marks of emphasis around all of it are ignored: `**x**`, `_x_`, `` `x` ``, "
            "`<b>x</b>`, `\\boxed{x}`; so are those of a heading or a list before it: `# x`, `- x`",
            "marks of emphasis",
            fold_emphasis,
            inside=True,
        ),
        Fold(
            "brackets",
            "brackets or tags around all of it are ignored: `[x]`, `(x)`, `<answer>x</answer>`",
            "brackets",
            fold_brackets,
            inside=True,
        ),
        Fold("fence", "a code fence around all of it is ignored", "a code fence", fold_fence),
        Fold(
            "prefix",
            "words that lead to the answer are ignored: `Answer: x`, `The label is x`; "
            "`prefix:Queue` names words of your own",
            "words before the answer",
            fold_prefix,
        ),
        Fold(
            "set",
            "a list (lines, or parts with semicolons, bars, commas or `and` between, or a JSON "
            "list) is the set of its parts, in any order",
            "the order of their parts",
            None,
        ),
        Fold(
            "explanation",
            "what comes after the answer is cut off: all after the first line, after `because` or "
            "`Reason:`, and three words or more after a sentence, a dash or a bracket",
            "an explanation after the answer",
            cut_explanation,
        ),
        Fold(
            "reasoning",
            "what comes before the answer is cut off: all up to a tag such as `</think>`, before "
            "the last `Answer:`, or else all but the last line, JSON object or code fence",
            "reasoning before the answer",
            cut_reasoning,
        ),
    )
}
OWN: Final = "prefix:"
_CUTS: Final = ("reasoning", "explanation")
_encoder = msgspec.json.Encoder(order="sorted")


def read_folds(written: Sequence[str]) -> tuple[str, ...]:
    """Return the names of folds, each once, in one order.

    Raises:
        SettingError: One is no fold, or two exclude each other.

    Examples:
        >>> read_folds(["stop", "case"])
        ('case', 'stop')
    """
    names = [name.strip() for name in written]
    prefixes = sorted(
        {f"{OWN}{name[len(OWN) :].strip()}" for name in names if name.startswith(OWN)}
    )
    for name in names:
        if name not in FOLDS and not name[len(OWN) :].strip(" :\uff1a=") * name.startswith(OWN):
            raise SettingError(f"answer must be of {', '.join(FOLDS)} or {OWN}WORDS; was {name!r}")
    if set(_CUTS) <= set(names):
        raise SettingError(
            "answer must have reasoning or explanation, was both: one keeps what stands last, the "
            "other what stands first"
        )
    return (*(name for name in FOLDS if name in names), *prefixes)


def _steps(names: tuple[str, ...], among: tuple[str, ...]) -> list[Step]:
    steps = (FOLDS[name].step for name in among if name in names)
    return [step for step in steps if step is not None]


class Folding:
    """Applies folds, in the order of `read_folds`, to an answer's text.

    They are repeated until the text no longer changes, since each takes one layer off. So the
    result does not depend on the order of layers, and folding it again does not change it.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self._cut = next((FOLDS[name].step for name in _CUTS if name in names), None)
        prefixes = [prefix_fold(name[len(OWN) :]) for name in names if name.startswith(OWN)]
        prefix_steps = [*_steps(names, ("prefix",)), *prefixes]
        around = _steps(names, ("fence", "emphasis", "quotes", "brackets", "stop"))
        first = _steps(names, ("invisible", "width"))
        # An explanation begins after the answer, so words before the answer are taken off first.
        self._before = [*first, *prefix_steps] if "explanation" in names else first
        self._after = [*prefix_steps, *around]
        inside = tuple(name for name in names if name in FOLDS and FOLDS[name].inside)
        self._inside = self if inside == names else folding(inside)
        self._case, self._set = "case" in names, "set" in names
        self._known = lru_cache(maxsize=4096)(self._fold)

    def written(self, text: str) -> str:
        """Return a text as a student writes it: its spelling, without the parts that folds cut off.

        Reasoning and explanations of the teacher belong to one request.
        """
        text = text.strip()
        if self._cut is None or self._json(text) is not None:
            return text
        short, canonical = self._cut(text), self(text)
        return short if self(short) == canonical else canonical

    def __call__(self, text: str) -> str:
        """Return the canonical text."""
        return self._known(text) if len(text) <= OFTEN else self._fold(text)

    def _fold(self, text: str) -> str:
        text = unicodedata.normalize("NFC", text).strip()
        while (value := self._json(text)) is None:
            before = text
            for step in self._before if len(text) <= LONGEST else ():
                text = step(text)
            text = self._cut(text) if self._cut is not None else text
            for step in self._after if len(text) <= LONGEST else ():
                text = step(text)
            if text == before:
                break
        if value is not None:
            return self._canonical_json(value)
        if len(text) > LONGEST:
            return text
        if self._set:
            return self._as_set(parts_of(text), text)
        return fold_case(text) if self._case else text

    def _json(self, text: str) -> object:
        """Return the JSON object that a text is, or a list where order does not count."""
        if text[:1] in ("{", "`"):
            return object_in(text)
        if self._set and text[:1] + text[-1:] == "[]":
            value = loaded(text)
            return value if isinstance(value, list) else None
        return None

    def _canonical_json(self, value: object) -> str:
        if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
            return self._as_set(value, "")
        return _encoder.encode(self._leaves(value)).decode()

    def _leaves(self, value: object) -> object:
        """Return a JSON value with its texts folded; names of fields are brought to NFC alone."""
        # Escaped characters were not brought to NFC before.
        if isinstance(value, str):
            return self._inside(unicodedata.normalize("NFC", value))
        if isinstance(value, dict):
            return {
                unicodedata.normalize("NFC", name): self._leaves(part)
                for name, part in value.items()
            }
        if isinstance(value, list):
            parts = [self._leaves(part) for part in value]
            if not self._set:
                return parts
            by_text = {_encoder.encode(part): part for part in parts}
            return [by_text[key] for key in sorted(by_text)]
        return value

    def _as_set(self, parts: list[str], text: str) -> str:
        """Return a set as a JSON list, one of a single part as this part."""
        members = sorted({self._inside(unicodedata.normalize("NFC", part)) for part in parts})
        if len(members) > 1:
            return _encoder.encode(members).decode()
        [only] = members
        # A part that would itself be taken for a list stays inside one.
        return only if only == text or self(only) == only else _encoder.encode(members).decode()


@lru_cache(maxsize=256)
def folding(names: tuple[str, ...]) -> Folding:
    """Return the function that applies some folds."""
    return Folding(names)


def fold(text: str, names: tuple[str, ...]) -> str:
    """Return the canonical text of an answer after some folds.

    >>> fold('"Damage".', ("case", "stop", "quotes"))
    'damage'
    """
    return folding(names)(text)
