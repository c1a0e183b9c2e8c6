import doctest

import pytest

from openwheel.errors import SettingError
from openwheel.tasks.compare import Given, Pair, decisions, make_comparison, read_comparison
from openwheel.wire import Answer, Question
from openwheel.wire.question import predicate_answer, score_answer

PREDICATE = Question("predicate", "Is it spam?")
SCORE = Question("score", "How urgent?", (("low", None), ("mid", None), ("high", None)))
CHOICE = Question("choice", "Which?", (("a", None), ("b", None)))


def loss(setting, question, teacher, student):
    comparison = make_comparison(read_comparison(setting), Given("label", question=question))
    return comparison.losses([Pair("", teacher, student)])[0]


def test_the_examples_are_true():
    assert doctest.testmod(decisions).failed == 0


@pytest.mark.parametrize(
    ("threshold", "teacher", "student", "lost"),
    [(0.5, 0.5, 0.9, 0), (0.5, 0.49, 0.51, 1), (0.7, 0.6, 0.1, 0), (0.7, 0.6, 0.7, 1)],
)
def test_predicates_agree_on_the_same_side_of_the_threshold(threshold, teacher, student, lost):
    answers = predicate_answer(teacher), predicate_answer(student)
    assert loss(f"side:{threshold}", PREDICATE, *answers) == lost


def test_a_difference_is_between_0_and_1():
    ends = score_answer([1, 0, 0]), score_answer([0, 0, 1])
    assert loss("difference", SCORE, *ends) == 1
    assert loss("difference", SCORE, score_answer([0.5, 0.5, 0]), ends[0]) == 0.25
    assert loss("difference", PREDICATE, predicate_answer(0.9), predicate_answer(0.6)) == (
        pytest.approx(0.3)
    )


@pytest.mark.parametrize(("tolerance", "lost"), [(0.5, 0), (0.49, 1), (0, 1)])
def test_scores_agree_within_a_tolerance_of_their_means(tolerance, lost):
    answers = score_answer([0.5, 0.5, 0]), score_answer([0, 1, 0])
    assert loss(f"within:{tolerance}", SCORE, *answers) == lost
    assert loss(f"within:{tolerance}", SCORE, answers[0], answers[0]) == 0


def test_an_answer_without_probabilities_is_certain():
    assert loss("difference", PREDICATE, predicate_answer(0.9), Answer("true")) == (
        pytest.approx(0.1)
    )
    assert loss("within:0.5", SCORE, score_answer([0, 0.3, 0.7]), Answer("2")) == 0


@pytest.mark.parametrize("text", ["maybe", "", "-1"])
def test_what_is_no_decision_disagrees(text):
    assert loss("difference", SCORE, Answer(text), score_answer([1, 0, 0])) == 1
    assert loss("side:0.5", PREDICATE, predicate_answer(1), Answer(text)) == 1


@pytest.mark.parametrize("setting", ["side:0", "side:1", "side:x", "within:-1", "within:nan"])
def test_limits_are_checked(setting):
    with pytest.raises(SettingError, match="compare must be"):
        read_comparison(setting)


@pytest.mark.parametrize(
    ("setting", "question", "said"),
    [
        ("side:0.5", SCORE, "is for a predicate; this is a score"),
        ("difference", CHOICE, "is for a predicate or a score; this is a choice"),
        ("within:1", None, "this is no typed question"),
    ],
)
def test_a_comparison_is_for_some_questions(setting, question, said):
    with pytest.raises(SettingError, match=said):
        make_comparison(read_comparison(setting), Given("label", question=question))


def test_another_limit_or_question_is_another_comparison():
    def fingerprint(setting, question):
        comparison = make_comparison(read_comparison(setting), Given("label", question=question))
        return comparison.fingerprint

    longer = Question("score", "?", (*SCORE.choices, ("top", None)))
    prints = {
        fingerprint("side:0.5", PREDICATE),
        fingerprint("side:0.7", PREDICATE),
        fingerprint("difference", PREDICATE),
        fingerprint("difference", SCORE),
        fingerprint("difference", longer),
    }
    assert len(prints) == 5
