"""Defines the answer forms, one file each: how answers are compared, inferred and corrected.

Knows nothing of how students learn them.
"""

from openwheel.tasks.forms.canonical import FORMS, answer_in, canonical_answer, written_answer
from openwheel.tasks.forms.form import AnswerForm, Form, shown
from openwheel.tasks.forms.infer import MIN_ANSWERS, FormEvidence, form_of, infer_form
from openwheel.tasks.forms.record import leaves, record_of

__all__ = [
    "FORMS",
    "MIN_ANSWERS",
    "AnswerForm",
    "Form",
    "FormEvidence",
    "answer_in",
    "canonical_answer",
    "form_of",
    "infer_form",
    "leaves",
    "record_of",
    "shown",
    "written_answer",
]
