"""Defines the form of labels: a closed set of texts or of JSON objects."""

import unicodedata

from openwheel.tasks.forms.form import AnswerForm
from openwheel.tasks.forms.record import canonical_record


def _canonical(text: str) -> str:
    record = canonical_record(text)
    return unicodedata.normalize("NFC", text).strip() if record is None else record


LABEL = AnswerForm(
    "label",
    _canonical,
    closed=True,
    comparisons=frozenset({"side", "within", "difference"}),  # of decisions
)
