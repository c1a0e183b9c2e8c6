import pytest

from openwheel.errors import SettingError, TeacherError
from openwheel.loop.judging import PROMPT_SHA256, TeacherJudge
from openwheel.tasks.compare import Pair
from openwheel.wire import Answer, ToolCall


def test_a_loss_is_the_share_of_orders_that_say_no(model, make_judge, make_pair):
    model.rule = lambda first, second: first == "nine" or "same" in first + second
    pairs = [make_pair("same a", "same b"), make_pair("nine", "ten"), make_pair("a", "b")]
    assert make_judge().losses(pairs) == [0.0, 0.5, 1.0]


def test_each_pair_is_asked_about_in_both_orders_and_nobody_is_named(model, make_judge, make_pair):
    make_judge().losses([make_pair("at nine", "nine at")])
    assert sorted(model.asked_about()) == [("at nine", "nine at"), ("nine at", "at nine")]
    for body in model.bodies:
        said = str(body).lower()
        assert "teacher" not in said
        assert "student" not in said
        assert body["model"] == "big"
        assert body["temperature"] == 0


def test_equal_answers_and_calls_of_tools_need_no_question(model, make_judge, make_pair):
    call = Answer("", (ToolCall("open", '{"a": 1}'),))
    same_call = Answer("", (ToolCall("open", '{"a":1}'),))
    pairs = [
        make_pair("at nine", " at nine\n"),
        Pair("r", call, same_call),
        Pair("r", call, Answer("at nine")),
        make_pair("long " * 4_000, "at nine"),
    ]
    assert make_judge().losses(pairs) == [0.0, 0.0, 1.0, 1.0]
    assert model.bodies == []


def test_what_was_said_is_paid_for_once_also_by_another_process(model, make_judge, make_pair):
    pairs = [make_pair("a b", "b a"), make_pair("a", "b")]
    assert make_judge().losses(pairs) == [0.0, 1.0]
    model.rule = lambda *_: True  # it would say something else now
    assert make_judge().losses(pairs) == [0.0, 1.0]
    assert len(model.bodies) == 4
    # Another model, request or answer is another question.
    assert make_judge(name="other").losses(pairs) == [0.0, 0.0]
    assert make_judge().losses([make_pair("a", "b", request="And on Sundays?")]) == [0.0]


def test_the_budget_is_kept_before_anything_is_asked(model, make_judge, make_pair):
    pairs = [make_pair("a", f"b{i}") for i in range(5)]
    judge = make_judge(budget=7)
    assert judge.affordable(pairs) == 3
    assert judge.affordable([make_pair("a", "a"), *pairs]) == 4
    with pytest.raises(SettingError, match=r"judge_budget allows 7 more questions .* 10 are to be"):
        judge.losses(pairs)
    assert model.bodies == []
    judge.losses(pairs[:3])
    assert judge.left() == 1
    # What is known costs nothing, so more of them can be afforded; other tasks have their own.
    assert judge.affordable(pairs) == 3
    assert make_judge(budget=7, task="u").left() == 7


def test_a_judge_that_does_not_say_is_asked_once_more_and_then_means_no(
    model, make_judge, make_pair
):
    model.reply = "They are alike: {number} rather than {other}."
    judge = make_judge()
    assert judge.losses([make_pair("a b", "b a")]) == [1.0]
    assert len(model.bodies) == 4
    assert judge.left() == 998
    numbers = {body["messages"][0]["content"] for body in model.bodies}
    assert len(numbers) == 4  # with other numbers each time


def test_a_judge_may_think_first(model, make_judge, make_pair):
    model.reply = "<think>Not {other}: hours agree. Or {other}?</think>\n\n{number}"
    assert make_judge().losses([make_pair("a b", "b a"), make_pair("a", "b")]) == [0.0, 1.0]


def test_a_teacher_that_stumbles_is_asked_again(model, make_judge, make_pair):
    model.failures = [503, 429]
    assert make_judge().losses([make_pair("a b", "b a")]) == [0.0]


def test_a_teacher_that_fails_loses_nothing_that_was_paid_for(model, make_judge, make_pair):
    known = [make_pair("a b", "b a")]
    make_judge().losses(known)
    model.failures = [500] * 100
    judge = make_judge()
    with pytest.raises(TeacherError, match="status 500"):
        judge.losses([*known, make_pair("a", "b")])
    assert judge.losses(known) == [0.0]
    model.failures = []
    assert judge.losses([make_pair("a", "b")]) == [1.0]


def test_a_teacher_that_is_not_there(make_judge, make_pair):
    with pytest.raises(TeacherError):
        make_judge(url="http://127.0.0.1:9").losses([make_pair("a", "b")])


def test_many_pairs_in_any_script(model, make_judge, make_pair):
    pairs = [make_pair(f"{i} 送る धन्यवाद", f"धन्यवाद {i} 送る") for i in range(100)]
    pairs += [make_pair(f"{i} \udc80", f"{i} \ud800 {{nonce}}") for i in range(3)]
    assert make_judge().losses(pairs) == [0.0] * 100 + [1.0] * 3


def test_the_fingerprint_is_of_prompt_and_model(make_judge):
    judge: TeacherJudge = make_judge()
    assert judge.fingerprint == make_judge(budget=3, task="u").fingerprint
    assert judge.fingerprint != make_judge(name="other").fingerprint
    assert len(PROMPT_SHA256) == len(judge.fingerprint) == 64
    assert judge.bounded
