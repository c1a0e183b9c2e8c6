import random
import re
import sys

import pytest

import long_run
from audit_bench import promise, traffic
from audit_bench.promise import Change, Given

EPSILON = DELTA = 0.05


def answers(n, rate, *, student="linear-a", start=0, seed=0):
    rng = random.Random(seed)
    return [Given(start + i, student, rng.random() < rate, audited=False) for i in range(n)]


def judged(given, changes=(), began=None):
    found = promise.count(given, changes, began or {"linear-a": -1}, EPSILON)
    return found, promise.verdict({"only": found}, EPSILON, DELTA)


def test_students_that_keep_their_promise_break_nothing():
    found, said = judged(answers(20_000, 0.04))
    assert found.answered == 20_000
    assert found.excused == 0
    assert not said.broken


def test_a_student_above_epsilon_without_a_change_breaks_the_promise():
    found, said = judged(answers(20_000, 0.07))
    assert said.beyond == ("only",)
    assert said.broken
    assert found.wrong > EPSILON * found.answered


def test_what_is_served_between_a_change_and_the_alarm_is_excused():
    given = answers(10_000, 0.03) + answers(500, 0.3, start=10_000)
    found, said = judged(given, [Change("drift", 10_000, 10_000)])
    assert (found.answered, found.excused, found.overdue) == (10_000, 500, 0)
    assert found.excused_wrong > 100
    assert not said.broken


def test_a_loop_that_hears_no_alarm_is_not_excused_for_ever():
    given = answers(10_000, 0.03) + answers(40_000, 0.15, start=10_000)
    found, said = judged(given, [Change("drift", 10_000, 10_000)])
    assert found.overdue > 1_000
    assert found.excused == pytest.approx(promise.patience(0.15, EPSILON), rel=0.2)
    assert said.broken


def test_a_student_whose_evidence_came_after_the_change_is_not_excused():
    changes = [Change("drift", 10_000, 12_000)]
    late = answers(5_000, 0.15, start=20_000)
    found, said = judged(late, changes, {"linear-a": 12_000})
    assert (found.excused, said.broken) == (0, True)
    # While the world was still changing, it is: what it was judged on is not what is.
    found, said = judged(late, changes, {"linear-a": 11_000})
    assert (found.excused, said.broken) == (5_000, False)


def test_a_second_change_opens_a_window_of_its_own():
    given = answers(1_000, 0.0) + answers(9_000, 0.3, start=1_000)
    given += answers(300, 1.0, start=34_000)
    first, second = Change("first", 1_000, 1_000), Change("second", 34_000, 34_000)
    alone, _ = judged(given, [first])
    both, _ = judged(given, [first, second])
    assert alone.overdue > 0
    assert both.excused == alone.excused + 300
    assert both.wrong == alone.wrong - 300


def test_tasks_may_be_unlucky_as_often_as_delta_allows():
    good, _ = judged(answers(100_000, 0.01))
    bad, _ = judged(answers(1_000, 0.09))
    tasks = {str(number): good for number in range(8)}
    said = promise.verdict(tasks, EPSILON, DELTA)
    assert (said.allowed, said.broken) == (2, False)
    assert not promise.verdict(tasks | {"0": bad, "1": bad}, EPSILON, DELTA).broken
    said = promise.verdict(tasks | {"0": bad, "1": bad, "2": bad}, EPSILON, DELTA)
    assert said.broken
    assert not said.overall


def test_one_bad_task_that_outweighs_the_others_breaks_the_promise():
    good, _ = judged(answers(1_000, 0.01))
    bad, _ = judged(answers(100_000, 0.06))
    said = promise.verdict({"good": good, "bad": bad}, EPSILON, DELTA)
    assert said.overall
    assert said.broken


@pytest.mark.usefixtures("shared_data")
def test_the_stream_is_the_same_again_and_changes_when_it_says():
    apps = [make() for make in traffic.APPS]
    first = list(traffic.stream(apps, 2_000, seed=3))
    again = list(traffic.stream([make() for make in traffic.APPS], 2_000, seed=3))
    assert first == again
    assert first != list(traffic.stream(apps, 2_000, seed=4))
    bank = [one for one in first if one.id.startswith("bank/")]
    (split, at, _), *_ = apps[0].changes(2_000)
    assert split == "labels split"
    coarse = {"pending", "declined"}
    numbers = [int(one.id.partition("/")[2]) for one in bank if one.answer.text in coarse]
    assert numbers
    assert max(numbers) < at
    assert {one.model for one in first} == {"teacher-1"}
    named = traffic.stream(apps, 2_000, seed=3, named=True)
    assert {one.model for one in named if one.id.startswith("bank/")} == {"teacher-1", "teacher-2"}


@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize(
    ("requests", "least"),
    [(6_000, 3_000), pytest.param(60_000, 30_000, marks=pytest.mark.evidence)],
)
def test_once_sends_no_text_twice_except_in_real_order(requests, least):
    apps = [make() for make in traffic.APPS]
    sent = [
        (one.id.partition("/")[0], one.request)
        for one in traffic.stream(apps, requests, seed=0, once=True)
    ]
    drawn = [one for one in sent if one[0] != "work orders"]
    assert len(drawn) == len(set(drawn)) > least


@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize(
    ("requests", "names"),
    [
        (900, {"assistant", "messages"}),
        pytest.param(
            4_000,
            {"bank", "assistant", "voice", "messages", "desk", "slots", "work orders"},
            marks=pytest.mark.evidence,
        ),
    ],
)
def test_a_small_run_says_what_it_did(monkeypatch, capsys, requests, names):
    kept = [make for make in traffic.APPS if make().name in names]
    monkeypatch.setattr(traffic, "APPS", kept if len(names) == 2 else traffic.APPS)
    monkeypatch.setattr(sys, "argv", ["long_run.py", "--requests", str(requests), "--seed", "5"])
    code, said = long_run.main(), capsys.readouterr().out
    assert code == 0, said
    assert "Promise broken: no" in said
    (counts,) = re.findall(r"([\d,]+) turns; .* (\d+) certificates, (\d+) promotions", said)
    assert all(int(count.replace(",", "")) > 0 for count in counts)
    for app in names:
        assert f"| {app} | " in said
