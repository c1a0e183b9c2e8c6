"""Defines the forms of texts, and of answers whose form is still unknown."""

from openwheel.tasks.forms.form import AnswerForm

TEXT = AnswerForm(
    "text",
    comparisons=frozenset({"rouge", "embedding", "judge"}),
    asks_for_comparison=True,
    has_refusals=True,
)
UNKNOWN = AnswerForm("unknown", left="")
