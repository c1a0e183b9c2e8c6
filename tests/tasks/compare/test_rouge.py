import doctest
import random

import pytest

from openwheel.tasks.compare import Pair, RougeComparison, rouge, rouge_l
from openwheel.tasks.compare.rouge import common_subsequence, words
from openwheel.wire import Answer, ToolCall


def loss(teacher, student, at_least=0.7):
    return RougeComparison(at_least).losses([Pair("r", Answer(teacher), Answer(student))])[0]


def test_the_examples_are_true():
    assert doctest.testmod(rouge).failed == 0


def by_table(first, second):
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, one in enumerate(first):
        for j, other in enumerate(second):
            same = table[i][j] + 1
            table[i + 1][j + 1] = same if one == other else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


def test_the_longest_common_subsequence_is_that_of_the_usual_table():
    rng = random.Random(0)
    for _ in range(400):
        first, second = (
            [rng.choice("abcdefg") for _ in range(rng.randrange(90))] for _ in range(2)
        )
        assert common_subsequence(first, second) == by_table(first, second)


def test_by_the_definition():
    # Lin 2004, section 3.1: S1 and S2 share "police the gunman", S1 and S3 only "the gunman".
    reference = "police killed the gunman"
    assert rouge_l(reference, "police kill the gunman") == pytest.approx(3 / 4)
    assert rouge_l(reference, "the gunman kill police") == pytest.approx(2 / 4)
    # Precision 3/3, recall 3/6.
    assert rouge_l("a b c d e f", "a c e") == pytest.approx(2 / 3)
    assert rouge_l("a b", "c d") == 0.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't re-send it_now!", ["don", "t", "re", "send", "it", "now"]),
        ("ＡＢＣ　ﬁne", ["abc", "fine"]),
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("e\u0301te\u0301 \u00e9t\u00e9", ["été", "été"]),
        ("हिन्दी में नमस्ते", ["हिन्दी", "में", "नमस्ते"]),
        ("заказ №5 отправлен", ["заказ", "no5", "отправлен"]),
        ("注文はAB12です", ["注", "文", "は", "ab12", "で", "す"]),
        ("주문이 도착", ["주문이", "도착"]),
        ("ขอบคุณ", ["ข", "อ", "บ", "คุ", "ณ"]),
        ("مرحبا بكم", ["مرحبا", "بكم"]),
        ("🎉 — !!", []),
        ("", []),
    ],
)
def test_words_in_any_script(text, expected):
    assert words(text) == expected


def test_the_limit_decides():
    assert loss("the order was sent on Monday", "the order was sent on Monday!") == 0.0
    assert loss("the order was sent on Monday", "on Monday the order was sent") == 1.0
    assert loss("the order was sent on Monday", "on Monday the order was sent", 0.6) == 0.0
    assert loss("a b c", "a b c d", 6 / 7) == 0.0


def test_what_has_no_word_agrees_only_if_equal():
    assert loss("🎉", "🎉") == 0.0
    assert loss("🎉", "🎈") == 1.0


def test_calls_of_tools_are_no_text():
    called = Answer("the order was sent", (ToolCall("send", "{}"),))
    (found,) = RougeComparison(0.1).losses([Pair("r", called, Answer("the order was sent"))])
    assert found == 1.0


def test_another_limit_is_another_comparison():
    one, other = RougeComparison(0.7), RougeComparison(0.8)
    assert (one.setting, one.bounded) == ("rouge:0.7", False)
    assert one.fingerprint == RougeComparison(0.7).fingerprint != other.fingerprint
