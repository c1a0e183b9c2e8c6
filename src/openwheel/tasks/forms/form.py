"""Defines an answer form as data: how its answers are compared, corrected and learned."""

from collections.abc import Callable
from typing import NamedTuple

Form = str
"""The name of an answer form, a key of `openwheel.tasks.forms.FORMS`."""


SHOWN = 60
"""Characters of an answer that a sentence shows."""


def shown(text: str) -> str:
    """Return an answer for a sentence: in quotes, cut, with invisible characters escaped."""
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")


def as_text(text: str) -> str:
    """Return a text as it is."""
    return text


def always_usable(_text: str, _folds: tuple[str, ...]) -> str:
    """Return ``""``: every text is an answer."""
    return ""


class AnswerForm(NamedTuple):
    """The form of a task's answers.

    Attributes:
        name: As the store, certificates and messages have it.
        canonical: Returns the text by which answers are compared where no fold is set, given one
            without surrounding white space.
        closed: Whether answers are a closed set that students choose from.
        comparisons: The kinds of comparison that it allows beside ``exact``.
        asks_for_comparison: Whether its tasks are left to the teacher until a comparison is chosen.
        calls: Whether answers call a tool; students write such a call as a record.
        has_fields: Whether answers have fields that can be compared one by one.
        has_refusals: Whether a refusal in text is an answer like any other.
        left: Why no student learns its tasks, as the end of a sentence or ``""``; None: one may.
        why_unusable: Returns why a text that is not empty is no answer of this form under some
            folds, as a sentence about a correction without a stop; ``""`` if it is one.
    """

    name: Form
    canonical: Callable[[str], str] = as_text
    closed: bool = False
    comparisons: frozenset[str] = frozenset()
    asks_for_comparison: bool = False
    calls: bool = False
    has_fields: bool = False
    has_refusals: bool = False
    left: str | None = None
    why_unusable: Callable[[str, tuple[str, ...]], str] = always_usable
