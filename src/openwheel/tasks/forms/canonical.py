"""Computes the canonical text of an answer, and the text that a student writes."""

from openwheel.tasks.folds import folding
from openwheel.tasks.forms.call import TOOL_CALL, call_in, canonical_calls, written_call
from openwheel.tasks.forms.form import AnswerForm, Form
from openwheel.tasks.forms.label import LABEL
from openwheel.tasks.forms.others import TEXT, UNKNOWN
from openwheel.tasks.forms.record import RECORD
from openwheel.wire import Answer, Probabilities

FORMS: dict[Form, AnswerForm] = {
    form.name: form for form in (LABEL, RECORD, TOOL_CALL, TEXT, UNKNOWN)
}
"""All forms by name. A new one is registered here."""


def canonical_answer(answer: Answer, form: Form, folds: tuple[str, ...] = ()) -> str:
    """Return the text by which two answers of a task are compared: equal texts agree.

    * ``label``: Unicode NFC without surrounding whitespace; case counts. A JSON object is as in
      ``record``.
    * ``record``: JSON with sorted keys and no spaces, a code fence around it removed; an answer
      that is no JSON object compares as text.
    * ``tool_call``: the names and canonical arguments of all calls, in whatever order; an answer
      without a call compares as text.
    * ``text`` and ``unknown``: without surrounding whitespace.

    With folds it is the same for all forms: see `openwheel.tasks.folds`. An answer that calls tools
    never equals one that does not.
    """
    if answer.tool_calls:
        return "\x00tool_calls" + canonical_calls(answer.tool_calls)
    if folds:
        return folding(folds)(answer.final)
    return FORMS[form].canonical(answer.final.strip())


def written_answer(answer: Answer, form: Form, folds: tuple[str, ...] = ()) -> str:
    """Return an answer as a student would write it: its spelling, without parts that folds cut.

    Calls of tools are written as a record; see `openwheel.tasks.forms.call`.
    """
    if FORMS[form].calls:
        return written_call(answer)
    return folding(folds).written(answer.final) if folds else answer.final


def answer_in(text: str, form: Form, probabilities: Probabilities = ()) -> Answer:
    """Return the answer that a student's text is: of a task that calls tools, calls.

    Args:
        text: The text.
        probabilities: Of the answers that it could have been, where the student gave any.
    """
    if FORMS[form].calls:
        return call_in(text)
    return Answer(text, probabilities=probabilities)
