"""Finds tasks in traffic: prompt templates, variables, answer forms, comparisons.

Knows nothing of how students work.
"""

from openwheel.tasks.find import MIN_SUPPORT, find_tasks, find_templates
from openwheel.tasks.forms import (
    FORMS,
    Form,
    FormEvidence,
    answer_in,
    canonical_answer,
    infer_form,
    record_of,
    written_answer,
)
from openwheel.tasks.match import Task, TaskMatcher
from openwheel.tasks.template import Inputs, Part, Template, prompt_parts

__all__ = [
    "FORMS",
    "MIN_SUPPORT",
    "Form",
    "FormEvidence",
    "Inputs",
    "Part",
    "Task",
    "TaskMatcher",
    "Template",
    "answer_in",
    "canonical_answer",
    "find_tasks",
    "find_templates",
    "infer_form",
    "prompt_parts",
    "record_of",
    "written_answer",
]
