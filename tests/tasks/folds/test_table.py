import doctest
import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from openwheel.errors import SettingError
from openwheel.settings import setting_rows
from openwheel.tasks.folds import FOLDS, LONGEST, fold, folding, read_folds, table

# One pair for each fold that is equal after it, and after no other.
ONLY_AFTER = {
    "invisible": [
        ("\u200brefund", "refund"),
        ("re\u200dfund", "refund"),
        ("\ufeffrefund", "refund"),
        ("re\u00adfund", "refund"),
        ("not\u00a0urgent", "not  urgent"),
    ],
    "width": [("\uff52efund", "refund"), ("\uff16", "6"), ("\uff8a\uff9e\uff7d", "\u30d0\u30b9")],
    "case": [("Refund", "refund"), ("\u00c9TAT", "\u00e9tat"), ('{"q": "A"}', '{"q":"a"}')],
    "stop": [
        ("refund.", "refund"),
        ("\u9000\u6b3e\u3002", "\u9000\u6b3e"),
        ("C++.", "C++"),
        ("no!", "no"),
    ],
    "quotes": [
        ('"refund"', "refund"),
        ("'refund'", "refund"),
        ("\u201crefund\u201d", "refund"),
        ("\u201erefund\u201c", "refund"),
        ("\u00ab refund \u00bb", "refund"),
        ("\u300c\u9000\u6b3e\u300d", "\u9000\u6b3e"),
    ],
    "emphasis": [
        ("**refund**", "refund"),
        ("*refund*", "refund"),
        ("__refund__", "refund"),
        ("_refund_", "refund"),
        ("***refund***", "refund"),
        ("`refund`", "refund"),
        ("==refund==", "refund"),
        ("<b>refund</b>", "refund"),
        ("\\boxed{refund}", "refund"),
        ("## refund", "refund"),
        ("- refund", "refund"),
    ],
    "brackets": [
        ("[refund]", "refund"),
        ("(refund)", "refund"),
        ("\u3010refund\u3011", "refund"),
        ("<answer>refund</answer>", "refund"),
    ],
    "fence": [("```\nrefund\n```", "refund"), ("~~~text\nrefund\n~~~", "refund")],
    "prefix": [
        ("Answer: refund", "refund"),
        ("The answer is refund", "refund"),
        ("**Label:** refund", "refund"),
        ("Category = refund", "refund"),
        ("Sure! Here is the classification:\n\nrefund", "refund"),
        ("Die Antwort lautet refund", "refund"),
        ("R\u00e9ponse : refund", "refund"),
        ("La categor\u00eda es refund", "refund"),
        ("\u7b54\u6848\uff1a\u9000\u6b3e", "\u9000\u6b3e"),
        ("This is refund", "refund"),
    ],
    "set": [
        ("a, b", "b, a"),
        ("a; b", "b; a"),
        ("a\nb", "b\na"),
        ("- a\n- b", "* b\n* a"),
        ("1. a\n2. b", "1. b\n2. a"),
        ("a, b, and c", "c, a, b"),
        ("a, b and c", "c, a, b"),
        ("a and b", "b and a"),
        ('["a", "b"]', '["b","a"]'),
        ('["a", "b"]', "b; a"),
        ('{"q": ["a", "b"]}', '{"q": ["b", "a"]}'),
        ("\u9000\u6b3e\u3001\u914d\u9001", "\u914d\u9001\u3001\u9000\u6b3e"),
    ],
    "explanation": [
        ("refund\n\nThe writer wants the money back.", "refund"),
        ("refund - the writer wants it", "refund"),
        ("refund (the writer wants it)", "refund"),
        ("refund because of it", "refund"),
        ("refund, reason: money", "refund"),
        ("refund. The writer wants it.", "refund."),
        ('{"q": "a"}\nThe writer wants it.', '{"q": "a"}'),
    ],
    "reasoning": [
        ("The writer wants money.\nrefund", "refund"),
        ("They want money.\n\nAnswer: refund", "Answer: refund"),
        ("They want it, so the answer is refund", "the answer is refund"),
        ("<thinking>money?</thinking>\nrefund", "refund"),
        ("money?</think>refund", "refund"),
        ("[THINK]money?[/THINK]refund", "refund"),
        ("Money is due.\n#### refund", "refund"),
        ('It is so.\n{"q": "a",\n "r": 1}', '{"q": "a", "r": 1}'),
    ],
}
# What no fold makes equal, nor all that go together.
NEVER = [
    ("no", "yes"),
    ("1.0", "10"),
    ("1", "-1"),
    ("a", "-a"),
    ("C", "C++"),
    ("C-", "C"),
    ("C#", "C"),
    (".5", "5"),
    ("10%", "10"),
    ("m\u00b2", "m2"),
    ("Ma\u00dfe", "Masse"),
    ("error: disk", "warning: disk"),
    ("Dallas; Texas", "Dallas"),
    ("1,5", "5,1"),
    ("not urgent", "urgent"),
    ("this is not urgent", "urgent"),
    ("no reason given", "no"),
    ("Billing - refund", "Billing - invoice"),
    ("Other (billing)", "Other (shipping)"),
    ("St. Louis", "St. Paul"),
    ("wait...", "wait"),
    ('"a" or "b"', 'a" or "b'),
    ("*.py", ".py"),
    ("- 1", "1"),
    ("a/b", "b/a"),
    ("(a) or (b)", "a) or (b"),
    ("f(x)", "f"),
    ("", "."),
    ("x", ""),
    ('{"a": 1}', '{"a": 2}'),
    ('{"a": "b"}', '{"b": "b"}'),
    ('{"a": true}', '{"a": "true"}'),
    ("\U0001f468\u200d\U0001f4bb", "\U0001f468\U0001f4bb"),
    ("```\na\n```", "```\nb\n```"),
]  # fmt: skip
TOGETHER = [read_folds([n for n in FOLDS if n != cut]) for cut in ("reasoning", "explanation")]

BITS = st.sampled_from(
    [*'.,;:|-*_`"\'#{}[]()<>=\n \u200b\u200d\u00a0\uff0e\uff02\u3002\u201c\u201d\u00ab\u00bb',
     "a", "B", "1", "\u00df", "\u0130", "\u03a3", "\uff21", "\uff9e", "\u30cf", "\u0301", "e",
     "(", "# ", " and ", "<a>", "</a>",
     "**", "```", "~~~", "</think>", "<think>", "Answer: ", "the answer is ", "####", "because ",
     "Reason: ", "- ", "1. ", "and ", '{"a": ', '["', '", "', '"]', "}", "\\boxed{", "<b>", "</b>"]
)  # fmt: skip
TEXTS = st.one_of(
    st.lists(BITS, max_size=14).map("".join),
    st.text(max_size=12),
    st.recursive(
        st.one_of(st.text(max_size=5), st.integers(0, 9), st.booleans()),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)
        ),
        max_leaves=6,
    ).map(json.dumps),
)
NAMES = st.lists(st.sampled_from([*FOLDS, "prefix:Queue"]), max_size=8).map(
    lambda names: read_folds([n for n in names if n != "explanation" or "reasoning" not in names])
)


def test_the_examples_are_true():
    assert doctest.testmod(table).failed == 0


@pytest.mark.parametrize("name", FOLDS)
def test_two_answers_are_equal_only_after_the_fold_that_is_for_them(name):
    others = [tuple(n for n in names if n != name) for names in TOGETHER]
    for one, other in ONLY_AFTER[name]:
        assert fold(one, (name,)) == fold(other, (name,)), (one, other)
        assert fold(one, ()) != fold(other, ()), (one, other)
        for alone in FOLDS:
            same = fold(one, (alone,)) == fold(other, (alone,))
            assert same == (alone == name), (one, other, alone)
        for rest in others:
            assert fold(one, rest) != fold(other, rest) or name in ("set", "stop"), (one, rest)


@pytest.mark.parametrize("names", TOGETHER)
@pytest.mark.parametrize(("one", "other"), NEVER)
def test_answers_of_other_content_are_never_equal(one, other, names):
    assert fold(one, names) != fold(other, names)


@pytest.mark.parametrize(
    "text",
    ['"**refund**".', '**"refund."**', "**Answer: refund**", "Answer: **\u201crefund\u201d**.",
     "```\n**Refund**\n```", "\u200b\uff32\uff25\uff26\uff35\uff2e\uff24\uff0e",
     "The correct label for this message is: \u00abRefund\u00bb."],
)  # fmt: skip
def test_layers_come_off_in_any_order(text):
    for names in TOGETHER:
        assert fold(text, names) == "refund"


@given(TEXTS, NAMES)
@example('{"\\uf900": "e\\u0301"}', ())  # what was escaped is brought to NFC, too
@example('["e\\u0301", "\\u00e9"]', ("set",))
@settings(max_examples=600, deadline=None)
def test_of_what_came_out_nothing_else_comes_out(text, names):
    once = fold(text, names)
    assert fold(once, names) == once
    assert fold(f"  {text}\n", names) == once


@given(TEXTS, NAMES)
@settings(max_examples=600, deadline=None)
def test_what_a_student_writes_is_the_same_answer(text, names):
    written = folding(names).written(text)
    assert fold(written, names) == fold(text, names)
    assert len(written) <= len(text) or written == fold(text, names)


def test_what_is_cut_is_not_written_and_the_spelling_is():
    assert folding(("prefix", "reasoning")).written("Since it is late.\nAnswer: Delay") == (
        "Answer: Delay"
    )
    assert folding(("explanation", "case")).written("Delay - since it is late") == "Delay"
    assert folding(("case", "stop")).written(" **Delay**. ") == "**Delay**."


def test_words_of_ones_own_lead_to_an_answer():
    for text in ("Queue: refund", "queue refund", "**Queue:** refund", "Queue -> refund"):
        assert fold(text, read_folds(["prefix: Queue:"])) == "refund"
    assert fold("Queued", ("prefix:Queue",)) == "Queued"
    assert fold("Queue: refund", ("prefix",)) == "Queue: refund"


def test_a_text_that_is_no_label_is_left_as_it_is():
    text = f'"{"a" * LONGEST}".'
    assert fold(text, ("case", "stop", "quotes")) == text


@pytest.mark.parametrize(
    "text",
    ["*" * 100_000, '"' * 99_999, "." * 100_000, "{" * 100_000, "answer " * 20_000, "``` " * 30_000,
     "Answer: " * 20_000, "[" * 100_000 + "]", "a, " * 50_000, "</think>" * 20_000],
)  # fmt: skip
@pytest.mark.parametrize("names", TOGETHER)
def test_hostile_answers_end_and_stay_the_same(text, names):
    once = fold(text, names)
    assert fold(once, names) == once


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (["Case"], "answer must be of invisible, width, case"),
        (["prefix:"], "was 'prefix:'"),
        (["prefix: :"], "was 'prefix: :'"),
        ([""], "was ''"),
        (["reasoning", "explanation"], "reasoning or explanation, was both"),
    ],
)
def test_what_is_no_fold_is_named(written, said):
    with pytest.raises(SettingError, match=said):
        read_folds(written)


@pytest.mark.parametrize("kind", FOLDS.values(), ids=lambda kind: kind.name)
def test_each_fold_is_documented_as_it_is(kind):
    page = Path(__file__).parents[3] / "docs" / "comparisons.md"
    assert f"| `{kind.name}` | {kind.does} |" in page.read_text()
    (row,) = [row for row in setting_rows() if row.name == "loop.answer"]
    assert f" {kind.name}," in row.help or f" {kind.name} and prefix:WORDS" in row.help


def test_folds_are_in_one_order_each_once():
    assert read_folds(["stop", " case", "prefix:B", "stop", "prefix: A"]) == (
        *("case", "stop"),
        *("prefix:A", "prefix:B"),
    )
