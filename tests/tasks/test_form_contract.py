"""What every answer form must do; a new one is registered in `FORMS` and passes all of it."""

import pytest

from openwheel.students import rungs
from openwheel.tasks import FORMS, canonical_answer
from openwheel.tasks.compare import KINDS
from openwheel.wire import Answer, ToolCall

TEXTS = (
    "",
    "yes",
    "Yes.",
    '{"b": 1, "a": [2, 1]}',
    '```json\n{"a": 1}\n```',
    "{broken",
    "[1]",
    "\ud800 torn",
    "e\u0301" * 50,
    "line\nline",
)


@pytest.fixture(params=FORMS)
def form(request):
    return FORMS[request.param]


def test_it_is_registered_by_its_name(form):
    assert FORMS[form.name] is form


def test_white_space_around_an_answer_says_nothing(form):
    for text in TEXTS:
        assert canonical_answer(Answer(f" \n{text}\t"), form.name) == canonical_answer(
            Answer(text), form.name
        )


def test_a_canonical_answer_is_canonical(form):
    for text in TEXTS:
        once = canonical_answer(Answer(text), form.name)
        assert canonical_answer(Answer(once), form.name) == once


def test_a_call_never_equals_a_text(form):
    call = canonical_answer(Answer("", (ToolCall("look", "{}"),)), form.name)
    assert all(call != canonical_answer(Answer(text), form.name) for text in TEXTS)


def test_its_comparisons_exist(form):
    assert form.comparisons <= set(KINDS)
    assert form.comparisons or not form.asks_for_comparison


def test_students_learn_it_or_it_is_left(form):
    learned = any(form.name in rung.forms for rung in rungs().values())
    assert learned == (form.left is None)


def test_what_cannot_be_used_is_said_in_a_sentence(form):
    for text in TEXTS:
        why = form.why_unusable(text, ())
        assert why == "" or (why[0].isupper() and not why.endswith("."))
