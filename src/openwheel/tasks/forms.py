"""The answer form of a task, inferred from the teacher's answers, and their comparison."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import msgspec

from openwheel.wire import Answer

Form = Literal["label", "record", "tool_call", "text", "unknown"]

_FENCED = re.compile(r"\A```(?:json|JSON)?[ \t]*\r?\n(.*?)\r?\n?[ \t]*```\Z", re.DOTALL)
_encoder = msgspec.json.Encoder(order="sorted")

MIN_ANSWERS = 20
# A label's form is that of at least this share of the answers: a teacher asked for a label now
# and then explains itself (about 2% in logs of real endpoints), which must not hide the task.
MAJORITY = 0.95
MAX_LABEL_CHARACTERS = 120
MAX_LABEL_WORDS = 12
MAX_LABELS = 1000


class FormEvidence(msgspec.Struct, frozen=True):
    """What a task's answers are, and why one may think so.

    Attributes:
        form: ``label`` (one of a closed set), ``record`` (a JSON object), ``tool_call``,
            ``text`` (anything else), or ``unknown`` while there is too little evidence.
        n: Answers looked at.
        distinct: Distinct answers among them, compared as the form compares.
        reason: One sentence for people.
    """

    form: Form
    n: int
    distinct: int
    reason: str


def infer_form(answers: Sequence[Answer]) -> FormEvidence:
    """Infer the form of a task from a sample of its answers.

    A form is given to the whole task when at least 95% of the answers have it; what is left is
    for the teacher. Labels are a closed set: short answers on one line whose set has been seen
    nearly whole, judged by Good and Turing's estimate of the probability that the next answer is
    new (answers seen once, divided by all answers).

    Source: Good (1953), "The population frequencies of species", Biometrika 40.
    """
    n = len(answers)
    if n < MIN_ANSWERS:
        distinct = len({_normal(answer) for answer in answers})
        reason = f"{n} answers are too few to tell a form by; at least {MIN_ANSWERS} are needed."
        return FormEvidence("unknown", n, distinct, reason)
    calls = sum(1 for answer in answers if answer.tool_calls)
    if calls >= MAJORITY * n:
        distinct = len({canonical_answer(answer, "tool_call") for answer in answers})
        return FormEvidence("tool_call", n, distinct, f"{calls} of {n} answers call a tool.")
    records = sum(1 for answer in answers if _record(answer) is not None)
    if records >= MAJORITY * n:
        distinct = len({canonical_answer(answer, "record") for answer in answers})
        return FormEvidence("record", n, distinct, f"{records} of {n} answers are JSON objects.")
    if calls + records >= MAJORITY * n or calls > (1 - MAJORITY) * n:
        reason = f"{calls} of {n} answers call a tool, {records} are JSON objects: no one form."
        return FormEvidence("text", n, len({_normal(answer) for answer in answers}), reason)
    return _label_or_text(answers)


def _label_or_text(answers: Sequence[Answer]) -> FormEvidence:
    n = len(answers)
    counts = Counter(_normal(answer) for answer in answers)
    short = {text: count for text, count in counts.items() if _short(text)}
    shortly = sum(short.values())
    if shortly < MAJORITY * n:
        reason = f"Only {shortly} of {n} answers are short enough to be labels."
        return FormEvidence("text", n, len(counts), reason)
    repeated = {text for text, count in short.items() if count >= 2}
    covered = sum(short[text] for text in repeated)
    unseen = (shortly - covered) / shortly
    if not repeated or len(repeated) > MAX_LABELS:
        reason = f"{len(counts)} distinct answers among {n} are not a closed set."
        return FormEvidence("text", n, len(counts), reason)
    closed = unseen <= 0.05 and covered >= 3 * len(repeated)
    if closed:
        reason = (
            f"{len(repeated)} answers make up {covered} of {n}, and the next is a new one with"
            f" a probability of about {unseen:.1%}."
        )
        return FormEvidence("label", n, len(counts), reason)
    if covered >= 0.5 * shortly and n < 20 * len(repeated):
        reason = (
            f"{n} answers with {len(counts)} distinct ones may be labels, but the next is a new"
            f" one with a probability of about {unseen:.1%}; more are needed to tell."
        )
        return FormEvidence("unknown", n, len(counts), reason)
    reason = f"The next answer is a new one with a probability of about {unseen:.1%}."
    return FormEvidence("text", n, len(counts), reason)


def canonical_answer(answer: Answer, form: Form) -> str:
    """Return the text by which two answers of a task are compared: equal texts agree.

    * ``label``: Unicode NFC without surrounding whitespace; case counts.
    * ``record``: JSON with sorted keys and no spaces, a code fence around it removed; an answer
      that is no JSON object compares as text.
    * ``tool_call``: the names and canonical arguments in order; an answer without a call
      compares as text.
    * ``text`` and ``unknown``: without surrounding whitespace.

    An answer that calls tools never equals one that does not.
    """
    if answer.tool_calls:
        calls = [[call.name, _loaded(call.arguments)] for call in answer.tool_calls]
        return "\x00tool_calls" + _encoder.encode(calls).decode()
    if form == "label":
        return _normal(answer)
    if form == "record":
        record = _record(answer)
        if record is not None:
            return _encoder.encode(record).decode()
    return answer.final.strip()


def record_of(answer: Answer) -> dict[str, object] | None:
    """Return the JSON object an answer consists of, fenced or not, else None."""
    return _record(answer)


def _record(answer: Answer) -> dict[str, object] | None:
    if answer.tool_calls:
        return None
    text = answer.final.strip()
    if text.startswith("```"):
        fenced = _FENCED.match(text)
        text = fenced.group(1).strip() if fenced else ""
    if not (text.startswith("{") and text.endswith("}")):
        return None
    value = _loaded(text)
    return value if isinstance(value, dict) else None


def _loaded(text: str) -> object:
    """Return the value of a JSON text, or the text itself if it is not JSON."""
    try:
        value: object = msgspec.json.decode(text.encode("utf-8", "surrogatepass"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return text.strip()
    return value


def _normal(answer: Answer) -> str:
    if answer.tool_calls:
        return canonical_answer(answer, "tool_call")
    return unicodedata.normalize("NFC", answer.final).strip()


def _short(text: str) -> bool:
    return (
        0 < len(text) <= MAX_LABEL_CHARACTERS
        and "\n" not in text
        and len(text.split()) <= MAX_LABEL_WORDS
    )
