from collections import Counter

import msgspec
import numpy as np
import pytest

from openwheel.loop.data import TaskData
from openwheel.loop.soft_labels import soft_labels


def data(answers, probabilities, surfaces=None):
    n = len(answers)
    whole, none = np.ones(n, np.bool_), np.arange(n)
    fields = {name: [""] * n for name in TaskData.__struct_fields__}
    fields |= dict.fromkeys(("seq", "place"), none)
    fields |= dict.fromkeys(("time", "probability", "weight"), np.ones(n))
    fields |= dict.fromkeys(("unbiased", "finished", "trains"), whole)
    fields |= {"answers": answers, "probabilities": probabilities, "left_out": ()}
    fields["surfaces"] = surfaces or {answer: answer for answer in set(answers)}
    return TaskData(**fields)


ANSWERS = ["billing", "billing", "billing", "bug", "technical", "refund", "refund"]


def of(*given, answers=ANSWERS, surfaces=None, folds=()):
    rows = [given, *[()] * (len(answers) - 1)]
    return soft_labels(data(answers, rows, surfaces), "label", folds)


def test_whole_answers_and_beginnings_that_one_label_has():
    found = of(("billing", 0.5), ("tech…", 0.3), ("bu…", 0.2))
    assert found == {0: {"billing": 0.5, "technical": 0.3, "bug": 0.2}}


def test_labels_that_begin_alike_share_by_how_often_they_came():
    assert of(("b…", 0.8)) == {0: {"billing": pytest.approx(0.6), "bug": pytest.approx(0.2)}}


def test_a_beginning_of_no_label_is_left_out():
    assert of(("billing", 0.6), ("Sure…", 0.3), (" …", 0.1)) == {0: {"billing": 0.6}}


def test_beginnings_are_of_answers_as_they_are_written():
    surfaces = {label: f'{{"topic": "{label}"}}' for label in Counter(ANSWERS)}
    found = of(('{"topic": "tech…', 0.4), surfaces=surfaces)
    assert found == {0: {"technical": pytest.approx(0.4)}}


def test_a_label_that_ends_like_a_beginning_is_itself():
    answers = ["more…", "more or less"]
    assert of(("more…", 1.0), answers=answers) == {0: {"more…": 1.0}}


def test_without_probabilities_or_for_another_form_there_are_none():
    assert of() == {}
    rows = [(("a", 1.0),)]
    assert soft_labels(msgspec.structs.replace(data(["a"], rows)), "text", ()) == {}
