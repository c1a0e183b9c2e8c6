"""Records: JSON objects that are no closed set."""

import msgspec

from openwheel.tasks.folds import folding
from openwheel.tasks.folds.objects import object_in
from openwheel.tasks.forms.form import AnswerForm, shown
from openwheel.wire import Answer

_encoder = msgspec.json.Encoder(order="sorted")


def canonical_record(text: str) -> str | None:
    """Return the JSON object that a text is, fenced or not, with sorted keys and no spaces.

    None if it is none.
    """
    if text[:1] not in ("{", "`"):
        return None
    record = object_in(text)
    return None if record is None else _encoder.encode(record).decode()


def record_of(answer: Answer, folds: tuple[str, ...] = ()) -> dict[str, object] | None:
    """Return the JSON object an answer consists of, fenced or not, else None."""
    if answer.tool_calls:
        return None
    return object_in(folding(folds)(answer.final) if folds else answer.final.strip())


def _canonical(text: str) -> str:
    record = canonical_record(text)
    return text if record is None else record


def _why_unusable(text: str, folds: tuple[str, ...]) -> str:
    if record_of(Answer(text), folds) is not None:
        return ""
    return f"The correction must be a JSON object, as answers of its task; was {shown(text)}"


RECORD = AnswerForm(
    "record", _canonical, comparisons=frozenset({"fields"}), why_unusable=_why_unusable
)
