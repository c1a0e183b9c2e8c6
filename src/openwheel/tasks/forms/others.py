"""Defines the forms of texts, of tool calls, and of answers whose form is still unknown."""

from openwheel.tasks.forms.form import AnswerForm


def _calls_tools(_text: str, _folds: tuple[str, ...]) -> str:
    return "Answers of this task call tools, which cannot be corrected yet"


TEXT = AnswerForm(
    "text",
    comparisons=frozenset({"rouge", "embedding", "judge"}),
    asks_for_comparison=True,
    has_refusals=True,
)
TOOL_CALL = AnswerForm(
    "tool_call", left=" Students do not learn tool calls yet.", why_unusable=_calls_tools
)
UNKNOWN = AnswerForm("unknown", left="")
