import doctest

import numpy as np
import pytest

from openwheel.errors import SettingError
from openwheel.tasks.compare import (
    EXACT,
    KINDS,
    ExactComparison,
    FieldSettings,
    Given,
    Pair,
    RougeComparison,
    fingerprint_of,
    kinds,
    make_comparison,
    read_comparison,
)
from openwheel.wire import Answer, Question, ToolCall


class Encoder:
    fingerprint = "f"

    def embed(self, texts):
        return np.ones((len(texts), 1), np.float32)


SETTINGS = {
    "exact": "exact",
    "rouge": "rouge:0.7",
    "embedding": "embedding:0.9",
    "order": "order",
    "side": "side:0.7",
    "within": "within:0.5",
    "difference": "difference",
    "judge": "judge",
}


def test_the_examples_are_true():
    assert doctest.testmod(kinds).failed == 0


def test_every_kind_can_be_written():
    assert set(SETTINGS) == set(KINDS)
    for kind, setting in SETTINGS.items():
        assert read_comparison(f" {setting} ").kind == kind
        assert read_comparison(setting).setting == setting


@pytest.mark.parametrize(
    "setting",
    ["", "rouge", "rouge:", "rouge:0", "rouge:1.1", "rouge:x", "rouge:nan", "embedding:-1",
     "exact:1", "judge:big", "bleu:0.5", "Exact"],
)  # fmt: skip
def test_what_is_no_comparison_is_named(setting):
    with pytest.raises(SettingError, match="compare must be exact, rouge:F"):
        read_comparison(setting)


@pytest.mark.parametrize(
    ("setting", "form", "said"),
    [
        (
            "rouge:0.7",
            "label",
            "is for answers of the form text; these are of the form label",
        ),
        ("judge", "record", "is for answers of the form text"),
        ("embedding:0.9", "text", "needs a sentence encoder"),
        ("judge", "text", "needs a teacher"),
    ],
)
def test_a_comparison_goes_with_a_form_and_has_what_it_needs(setting, form, said):
    with pytest.raises(SettingError, match=said):
        make_comparison(read_comparison(setting), Given(form))


def test_what_is_chosen_is_made():
    judge = RougeComparison(0.5)
    forms = {"exact": "label", "order": "tool_call"}
    forms |= dict.fromkeys(("side", "within", "difference"), "label")
    question = Question("predicate", "Is it spam?")
    for kind in KINDS:
        given = Given(forms.get(kind, "text"), (), Encoder(), judge, question)
        made = make_comparison(read_comparison(SETTINGS[kind]), given)
        assert made.setting == ("rouge:0.5" if kind == "judge" else SETTINGS[kind])
        text = "true" if given.form == "label" else "{}"
        assert made.losses([Pair("r", Answer(text), Answer(text))]) == [0.0]


def test_exact_is_equality_in_the_sense_of_the_form():
    pair = Pair("r", Answer('{"a": 1, "b": 2}'), Answer('{"b":2,"a":1}'))
    call = Pair(
        "r", Answer("", (ToolCall("f", '{"a": 1}'),)), Answer("", (ToolCall("f", '{"a":1}'),))
    )
    assert ExactComparison("record").losses([pair]) == [0.0]
    assert ExactComparison("text").losses([pair]) == [1.0]
    assert ExactComparison("tool_call").losses([call, pair]) == [0.0, 1.0]
    assert ExactComparison("text").fingerprint != ExactComparison("record").fingerprint


def test_other_folds_are_another_comparison():
    found = [make_comparison(EXACT, Given("label", folds)) for folds in ((), ("case",), ("stop",))]
    assert len({one.fingerprint for one in found}) == 3
    assert found[1].setting == "exact after case"
    # What was certified before there were folds keeps its hash.
    assert found[0].fingerprint == fingerprint_of("exact", "label")


def test_answers_go_through_folds_before_they_are_compared():
    pairs = [
        Pair("", Answer('{"total": 1, "buyer": "Ann"}'), Answer('{"total": 1.0, "buyer": "ANN."}')),
        Pair("", Answer('**{"total": 1, "buyer": "A"}**'), Answer('{"total": 1, "buyer": "a"}')),
        Pair("", Answer('{"total": 1, "buyer": "Ann"}'), Answer('{"total": 1, "buyer": "Bob"}')),
    ]  # fmt: skip
    by_field = FieldSettings(fields={"total": (), "buyer": ()})
    folds = ("case", "stop", "emphasis")
    plain, folded = (
        make_comparison(EXACT, Given("record", each, by_field=by_field)) for each in ((), folds)
    )
    assert plain.losses(pairs) == [1.0, 1.0, 1.0]
    assert folded.losses(pairs) == [0.0, 0.0, 1.0]
    words = [Pair("", Answer("**Yes.**"), Answer("yes")), Pair("", Answer("yes"), Answer("no"))]
    assert ExactComparison("label", folds).losses(words) == [0.0, 1.0]


@pytest.mark.parametrize(
    ("chosen", "form", "said"),
    [
        (
            "exact",
            "label",
            "are for answers of the form record or tool_call; these are of the form",
        ),
        ("rouge:0.7", "text", "and compare = 'rouge:0.7' compares whole ones"),
    ],
)
def test_fields_go_with_answers_that_have_some(chosen, form, said):
    given = Given(form, by_field=FieldSettings("fields"))
    with pytest.raises(SettingError, match=said):
        make_comparison(read_comparison(chosen), given)
