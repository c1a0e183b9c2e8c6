"""Infers the answer form of a task from the teacher's answers."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from openwheel.tasks.folds.objects import object_in
from openwheel.tasks.forms.canonical import canonical_answer
from openwheel.tasks.forms.form import Form, shown
from openwheel.tasks.refusals import is_refusal
from openwheel.wire import Answer

_encoder = msgspec.json.Encoder(order="sorted")

MIN_ANSWERS = 20
# The least share of answers that must be labels: a teacher that is asked for a label sometimes
# explains itself (about 2% in logs of real endpoints), which must not hide the task.
MAJORITY = 0.95
ODD = 0.15
"""The share of answers that may be none of a task's labels where these are plain: each has come
``PLAIN`` times on average. Else a client with a few odd requests could turn labels into text. That
costs no promise: an odd answer is a disagreement like any other."""
PLAIN = 10
CALLS = 0.5
"""The same for calls of a tool: a student learns which requests get none, and leaves these."""

MAX_LABEL_CHARACTERS = 120
MAX_LABEL_WORDS = 12
MAX_LABELS = 1000
MAX_RECORD_CHARACTERS = 1000
"""Of a JSON object, in canonical form, that is one of a closed set."""


class FormEvidence(msgspec.Struct, frozen=True):
    """The form of a task's answers, and the evidence for it.

    Attributes:
        form: ``label`` (one of a closed set, of texts or of JSON objects), ``record`` (another
            JSON object), ``tool_call``, ``text`` (anything else), or ``unknown`` while there is
            too little evidence.
        n: Answers in the sample.
        distinct: Distinct answers among them, compared as the form compares.
        reason: One sentence for people.
    """

    form: Form
    n: int
    distinct: int
    reason: str


def infer_form(
    answers: Sequence[Answer], folds: tuple[str, ...] = (), *, closed: bool = True
) -> FormEvidence:
    """Infer the form of a task from a sample of its answers.

    A task has a form if at least 95% of the answers have it; the others are left to the teacher.
    Labels are a closed set: short answers on one line, or JSON objects, whose set has been seen
    nearly whole, judged by Good and Turing's estimate of the probability that the next answer is
    new (answers seen once, divided by all answers). Refusals in text do not count, unless most
    answers are refusals. Calls of a tool are the form if more than half of the answers are calls.

    Source: Good (1953), "The population frequencies of species", Biometrika 40.

    Args:
        folds: The folds that the user set, as `read_folds` returns them.
        closed: Whether JSON objects that are a closed set are labels.
    """
    direct = [answer for answer in answers if answer.tool_calls or not is_refusal(answer.final)]
    if 2 * len(direct) >= len(answers):
        answers = direct
    n = len(answers)
    if n < MIN_ANSWERS:
        distinct = len({canonical_answer(answer, "label", folds) for answer in answers})
        reason = f"{n} answers are too few to tell a form by; at least {MIN_ANSWERS} are needed."
        return FormEvidence("unknown", n, distinct, reason)
    calls = sum(1 for answer in answers if answer.tool_calls)
    if calls > CALLS * n:
        distinct = len({canonical_answer(answer, "tool_call") for answer in answers})
        others = "" if calls >= MAJORITY * n else "; the others are left to the teacher"
        reason = f"{calls} of {n} answers call a tool{others}."
        return FormEvidence("tool_call", n, distinct, reason)
    counts = Counter(canonical_answer(answer, "label", folds) for answer in answers)
    return form_of(counts, calls, closed=closed)


def form_of(counts: Counter[str], calls: int = 0, *, closed: bool = True) -> FormEvidence:
    """Infer a form from counts of canonical answers, and of calls of a tool, at most half."""
    n = counts.total()
    records = sum(count for text, count in counts.items() if object_in(text) is not None)
    if records >= MAJORITY * n:
        return _record_or_label(counts, records, closed=closed)
    if calls + records >= MAJORITY * n or calls > (1 - MAJORITY) * n:
        reason = f"{calls} of {n} answers call a tool, {records} are JSON objects: no one form."
        return FormEvidence("text", n, len(counts), reason)
    return _label_or_text(counts)


class ClosedSet(NamedTuple):
    """The evidence that distinct answers are a closed set.

    Attributes:
        size: Answers seen twice or more.
        covered: How often these were seen.
        unseen: The probability that the next one is new, as estimated.
        closed: Whether they are one.
    """

    size: int
    covered: int
    unseen: float
    closed: bool


def closed_set(counts: Iterable[int]) -> ClosedSet:
    """Return whether distinct answers are a closed set, from the count of each."""
    counts = list(counts)
    repeated = [count for count in counts if count >= 2]
    size, covered, total = len(repeated), sum(repeated), sum(counts)
    unseen = (total - covered) / total if total else 1.0
    closed = 0 < size <= MAX_LABELS and unseen <= 0.05 and covered >= 3 * size
    return ClosedSet(size, covered, unseen, closed)


def _record_or_label(counts: Counter[str], records: int, *, closed: bool) -> FormEvidence:
    n = counts.total()
    small = {
        text: count
        for text, count in counts.items()
        if len(text) <= MAX_RECORD_CHARACTERS and object_in(text) is not None
    }
    classes = closed_set(small.values())
    if closed and classes.closed and sum(small.values()) >= MAJORITY * n:
        reason = f"{classes.size} JSON objects make up {classes.covered} of {n} answers."
        return FormEvidence("label", n, len(counts), reason)
    reason = (
        f"{records} of {n} answers are JSON objects, {len(counts)} distinct ones{_such(counts)}."
        f"{_open_fields(counts)}"
    )
    return FormEvidence("record", n, len(counts), reason)


def _open_fields(counts: Counter[str]) -> str:
    """Name the fields that keep JSON objects from being a closed set, ``""`` if none does."""
    values: dict[str, Counter[bytes]] = defaultdict(Counter)
    for text, count in counts.items():
        for name, value in (object_in(text) or {}).items():
            values[name][_encoder.encode(value)] += count
    sizes = [
        (len(seen), name) for name, seen in values.items() if not closed_set(seen.values()).closed
    ]
    named = [f"{shown(name)} ({size} values)" for size, name in sorted(sizes, reverse=True)[:3]]
    return f" No closed set are the values of {', '.join(named)}." if named else ""


def _label_or_text(counts: Counter[str]) -> FormEvidence:
    n = counts.total()
    short = {text: count for text, count in counts.items() if _short(text)}
    shortly, classes = sum(short.values()), closed_set(short.values())
    if shortly >= MAJORITY * n and classes.closed:
        likely = f"the next is a new one with a probability of about {classes.unseen:.1%}"
        reason = f"{classes.size} answers make up {classes.covered} of {n}, and {likely}."
        return FormEvidence("label", n, len(counts), reason)
    odd = n - classes.covered
    if PLAIN * classes.size <= classes.covered >= (1 - ODD) * n and 1 < classes.size <= MAX_LABELS:
        strange = [text for text in counts if short.get(text, 1) == 1]
        reason = (
            f"{classes.size} answers make up {classes.covered} of {n}; {odd} ({odd / n:.1%}) are "
            f"others{_such(strange)}."
        )
        return FormEvidence("label", n, len(counts), reason)
    if shortly < MAJORITY * n:
        longer = [text for text, _ in counts.most_common() if text not in short]
        reason = (
            f"Only {shortly} of {n} answers are short enough to be labels (one line of up to "
            f"{MAX_LABEL_CHARACTERS} characters and {MAX_LABEL_WORDS} words). Longer are others"
            f"{_such(longer)}."
        )
        return FormEvidence("text", n, len(counts), reason)
    rare = [text for text, count in short.items() if count == 1] or [*short]
    if not classes.size or classes.size > MAX_LABELS:
        reason = f"{len(counts)} distinct answers among {n} are not a closed set{_such(rare)}."
        return FormEvidence("text", n, len(counts), reason)
    likely = f"the next is a new one with a probability of about {classes.unseen:.1%}"
    if classes.covered >= 0.5 * shortly and n < 20 * classes.size:
        reason = (
            f"{n} answers with {len(counts)} distinct ones may be labels, but {likely}; more are "
            "needed to tell."
        )
        return FormEvidence("unknown", n, len(counts), reason)
    reason = (
        f"{len(counts)} distinct answers among {n} are not a closed set: {likely}; so far "
        f"{len(rare)} came once{_such(rare)}."
    )
    return FormEvidence("text", n, len(counts), reason)


def _such(texts: Iterable[str]) -> str:
    """Return two of some answers as examples in a sentence."""
    examples = [shown(text) for text, _ in zip(texts, range(2), strict=False)]
    return f", such as {' and '.join(examples)}" if examples else ""


def _short(text: str) -> bool:
    return (
        0 < len(text) <= MAX_LABEL_CHARACTERS
        and "\n" not in text
        and len(text.split()) <= MAX_LABEL_WORDS
    )
