import random

import pytest

from openwheel.errors import SettingError
from openwheel.loop.judging import PROMPT_SHA256, Share, asked_twice, believed, measure
from openwheel.tasks.compare import Pair
from openwheel.wire import Answer


def exchanges(n, seed=0):
    rng = random.Random(seed)
    return [
        Pair(f"question {i}", Answer(f"it is {rng.random()} and {i}"), Answer("")) for i in range(n)
    ]


def test_a_fair_judge_will_do(model, make_judge):
    judge = make_judge()
    found = measure(judge, exchanges(60))
    assert found.identical == Share(0, 50)
    assert found.swapped == Share(0, 50)
    assert found.flips.count == found.unread.count == found.own.of == 0
    assert found.problems(0.05) == ()
    assert len(model.bodies) == 1_000 - judge.left() == 150
    measure(judge, exchanges(60))
    assert len(model.bodies) == 150  # measured again at no cost


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (lambda *_: True, "took the answer to another request for as good in 50 of 50"),
        (lambda *_: False, "found an answer different from itself in 50 of 50"),
        (lambda first, second: first <= second, "changed its mind with the order of the answers"),
    ],
)
def test_a_judge_that_is_inconsistent_is_refused_with_numbers(model, make_judge, rule, said):
    model.rule = rule
    problems = measure(make_judge(), exchanges(60)).problems(0.05)
    assert any(said in problem for problem in problems)
    assert any("%" in problem for problem in problems)


def test_which_order_is_favoured_is_counted(model, make_judge):
    model.rule = lambda first, second: first <= second
    found = measure(make_judge(), exchanges(50))
    assert found.flips.count == 50
    assert 0 < found.first < 50


def test_a_judge_that_cannot_be_read_is_refused(model, make_judge):
    model.reply = "it depends"
    problems = measure(make_judge(), exchanges(25)).problems(0.05)
    assert any("neither yes nor no" in problem for problem in problems)


def test_too_few_exchanges_say_nothing_of_a_judge(make_judge):
    problems = measure(make_judge(), exchanges(7)).problems(0.05)
    assert problems == ("it was tried on 7 exchanges, and 20 are needed",)


def test_a_teacher_that_disagrees_with_itself_is_told_of(model, make_judge):
    twice = [
        Pair(f"q {i}", Answer(f"yes {i}"), Answer(f"no {i}" if i % 3 else f"{i} yes"))
        for i in range(30)
    ]
    found = measure(make_judge(), exchanges(30), twice)
    assert found.own == Share(20, 30)
    (problem,) = found.problems(0.05)
    assert "the teacher's own second answers have a loss of 20 of 30 (66.7%)" in problem
    assert found.problems(0.6) == ()
    measured = found.measured()
    assert measured["own"] == pytest.approx(2 / 3)
    assert measured["own_of"] == 30
    assert set(measured) >= {"identical", "swapped", "flips", "unread", "flips_of"}


def test_equal_second_answers_count_without_a_question(model, make_judge):
    twice = [Pair(f"q {i}", Answer(f"yes {i}"), Answer(f"yes {i}")) for i in range(30)]
    found = measure(make_judge(), exchanges(20), twice)
    assert found.own == Share(0, 30)
    assert len(model.bodies) == 60


def test_the_budget_holds_for_measuring_too(make_judge):
    with pytest.raises(SettingError, match="judge_budget"):
        measure(make_judge(budget=10), exchanges(30))


def test_requests_asked_twice_are_found_once_each():
    rows = [("a", "1"), ("b", "2"), ("a", "3"), ("a", "4"), ("c", "5"), ("b", "2")]
    found = asked_twice([Pair(request, Answer(text), Answer("")) for request, text in rows])
    assert [(p.request, p.teacher.text, p.student.text) for p in found] == [
        ("a", "1", "3"),
        ("b", "2", "2"),
    ]


def test_what_a_certificate_says_of_a_judge_that_will_do(make_judge):
    judge = make_judge()
    found = believed(judge, exchanges(40), (), 0.05)
    assert (found.setting, found.model) == ("judge", "big")
    assert found.sha256 == judge.fingerprint != PROMPT_SHA256
    assert found.measured["identical_of"] == 40


def test_one_that_will_not_do_is_an_error_with_numbers(model, make_judge):
    model.rule = lambda *_: True
    with pytest.raises(SettingError, match=r"big cannot judge here: .* 40 of 40 cases \(100.0%"):
        believed(make_judge(), exchanges(40), (), 0.05)
