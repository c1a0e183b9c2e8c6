import random

import pytest

from openwheel.tasks import canonical_answer, infer_form
from openwheel.wire import Answer, ToolCall


def labels(names: list[str], n: int, *, skew: float = 0.0, stray: float = 0.0) -> list[Answer]:
    rng = random.Random(1)
    weights = [1 / (rank + 1) ** skew for rank in range(len(names))]
    drawn = rng.choices(names, weights, k=n)
    return [
        Answer(f"I am not sure what to say here, {rng.random()}.\nCould you say more?")
        if rng.random() < stray
        else Answer(name)
        for name in drawn
    ]


@pytest.mark.parametrize(
    "answers",
    [
        labels(["yes", "no"], 40),
        labels(["ham", "spam"], 1000, skew=4, stray=0.02),
        labels([f"label_{i}" for i in range(77)], 1000),
        labels([f"label {i}" for i in range(77)], 1000, skew=1, stray=0.02),
        labels([f"intent {i}" for i in range(150)], 5000, skew=1.2),
        labels(["Возврат денег", "Доставка", "退款", "配送", "très fâché"], 60),
        labels(["Billing and payments / refunds", "Card lost or stolen"], 30),
        labels(["1", "2", "3", "4", "5"], 100),
    ],
)
def test_closed_sets_are_labels(answers):
    evidence = infer_form(answers)
    assert evidence.form == "label", evidence


def test_texts_are_not_labels():
    rng = random.Random(2)
    words = [f"w{i}" for i in range(500)]
    short = [Answer(" ".join(rng.choices(words, k=3))) for _ in range(1000)]
    long = [Answer(" ".join(rng.choices(words, k=60))) for _ in range(1000)]
    assert infer_form(short).form == "text"
    assert infer_form(long).form == "text"


def test_one_long_answer_again_and_again_is_text():
    refusal = Answer("I am sorry.\nI cannot help with that.\n" * 5)
    assert infer_form([refusal] * 100).form == "text"


def test_records_may_be_fenced():
    plain = [Answer(f'{{"a": {i}}}') for i in range(50)]
    fenced = [Answer(f'```json\n{{"a": {i}}}\n```') for i in range(50)]
    assert infer_form(plain + fenced).form == "record"
    assert infer_form([Answer(f"[{i}]") for i in range(50)]).form == "text"
    assert canonical_answer(fenced[3], "record") == '{"a":3}'


def test_tool_calls():
    call = Answer("", (ToolCall("f", '{"b": 1, "a": [2]}'),), "tool_calls")
    same = Answer("", (ToolCall("f", '{"a":[2],"b":1}'),), "tool_calls")
    assert infer_form([call, same] * 20).form == "tool_call"
    assert canonical_answer(call, "tool_call") == canonical_answer(same, "tool_call")
    assert canonical_answer(call, "tool_call") != canonical_answer(Answer("f"), "tool_call")
    broken = Answer("", (ToolCall("f", "{"),), "tool_calls")
    assert canonical_answer(broken, "tool_call") != canonical_answer(call, "tool_call")


def test_half_tool_calls_and_half_labels_have_no_form_of_their_own():
    call = Answer("", (ToolCall("f", "{}"),), "tool_calls")
    assert infer_form([call] * 50 + labels(["yes", "no"], 50)).form == "text"


def test_too_little_evidence_is_unknown():
    assert infer_form([]).form == "unknown"
    assert infer_form(labels(["yes", "no"], 10)).form == "unknown"
    many = labels([f"label {i}" for i in range(77)], 120)
    assert infer_form(many).form in {"unknown", "text"}
    assert infer_form(many).n == 120


def test_labels_compare_exactly_but_for_form_and_space():
    assert canonical_answer(Answer(" caf\u0065\u0301\n"), "label") == "caf\u00e9"
    assert canonical_answer(Answer("Yes"), "label") != canonical_answer(Answer("yes"), "label")


def test_records_compare_by_content_and_invalid_ones_as_text():
    one, two = Answer('{"b": 1, "a": "x"}'), Answer('{"a":"x","b":1}\n')
    assert canonical_answer(one, "record") == canonical_answer(two, "record")
    assert canonical_answer(Answer(" {a} "), "record") == "{a}"
    assert canonical_answer(Answer(" some text "), "text") == "some text"


def test_json_objects_of_a_closed_set_are_labels_whatever_their_style():
    rng = random.Random(5)
    styles = ['{{"queue": "{0}", "urgent": {1}}}', '{{"urgent":{1},"queue":"{0}"}}',
              '```json\n{{\n  "queue": "{0}",\n  "urgent": {1}\n}}\n```']  # fmt: skip
    answers = [
        Answer(rng.choice(styles).format(rng.choice("abcd"), rng.choice(["true", "false"])))
        for _ in range(300)
    ]
    evidence = infer_form(answers)
    assert (evidence.form, evidence.distinct) == ("label", 8)
    assert len({canonical_answer(answer, "label") for answer in answers}) == 8
    assert canonical_answer(answers[0], "label") == canonical_answer(answers[0], "record")
    assert infer_form(answers, closed=False).form == "record"


def test_json_objects_with_a_value_that_is_open_are_records_and_two_are_shown():
    answers = [Answer(f'{{"queue": "{i % 3}", "total": {i}}}') for i in range(200)]
    evidence = infer_form(answers)
    assert evidence.form == "record"
    assert "200 of 200 answers are JSON objects, 200 distinct ones, such as '{" in evidence.reason
    assert evidence.reason.endswith("No closed set are the values of 'total' (200 values).")


def test_a_json_object_is_no_label_beside_others_but_for_its_style():
    assert canonical_answer(Answer('{"a": 1}'), "label") == canonical_answer(
        Answer('```json\n{"a":1}\n```'), "label"
    )
    assert canonical_answer(Answer('{"a": 1}'), "label") != canonical_answer(
        Answer('{"a": "1"}'), "label"
    )
    assert canonical_answer(Answer('["a", "b"]'), "label") == '["a", "b"]'


def test_folds_decide_on_the_form():
    rng = random.Random(6)
    thoughts = [f"{rng.random()} is why.\nAnswer: {rng.choice('ab')}" for _ in range(100)]
    answers = [Answer(text) for text in thoughts]
    assert infer_form(answers).form == "text"
    assert infer_form(answers, ("reasoning",)).form == "label"
    fields = [Answer(f'{{"q": "{rng.choice(["Low", "low", "LOW"])}"}}') for _ in range(100)]
    assert infer_form(fields).distinct == 3
    assert infer_form(fields, ("case",)).distinct == 1


def test_refusals_in_text_have_no_say_in_the_form_unless_most_answers_are():
    told = labels(["yes", "no"], 100)
    refused = [Answer(f"I'm sorry, I can't help with that one.\n{i}\nReally.") for i in range(20)]
    evidence = infer_form(told + refused)
    assert (evidence.form, evidence.distinct) == ("label", 2)
    assert infer_form(told[:10] + refused).form != "label"


def test_a_reason_shows_two_answers_that_are_in_the_way():
    long = [Answer(f"line {i}\n\u200b{'x' * 80}") for i in range(50)]
    reason = infer_form(long + labels(["yes", "no"], 40)).reason
    assert "Only 40 of 90 answers are short enough to be labels" in reason
    assert f"'line 0\\n\\u200b{'x' * 52}...' and 'line 1\\n" in reason
    words = [Answer(f"word{i}") for i in range(100)]
    reason = infer_form(words).reason
    assert "are not a closed set, such as 'word0' and 'word1'" in reason
