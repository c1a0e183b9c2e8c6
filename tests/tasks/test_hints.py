import random

import pytest

from openwheel.tasks.folds import fold
from openwheel.tasks.forms import infer_form
from openwheel.tasks.hints import in_the_way, propose
from openwheel.wire import Answer

NAMES = ["refund", "delivery", "login", "praise"]
REFUSALS = ["I'm sorry, but I can't help with that.", "I cannot assist with this request."]


def answers(change, *, share=0.2, n=600, names=NAMES):
    """Return labels of which a share is written otherwise."""
    rng = random.Random(3)
    return [change(name, rng) if rng.random() < share else name for name in rng.choices(names, k=n)]


def matter(rng):
    words = ("parcel", "van", "late", "money", "box", "card", "screen", "wet")
    return " ".join(rng.choices(words, k=7))


def pair(separator):
    def change(name, rng):
        two = [name, NAMES[NAMES.index(name) - 1]]
        rng.shuffle(two)
        return separator(two)

    return change


KINDS = {
    "upper": (lambda name, _: name.upper(), ["case"]),
    "title": (lambda name, _: name.title(), ["case"]),
    "zero-width joiner": (lambda name, _: f"\u200d{name}", ["invisible"]),
    "no-break space": (lambda name, _: f"{name[:3]}\u2060{name[3:]}", ["invisible"]),
    "typographic quotes": (lambda name, _: f"\u201c{name}\u201d", ["quotes"]),
    "single quotes": (lambda name, _: f"'{name}'", ["quotes"]),
    "italics": (lambda name, _: f"_{name}_", ["emphasis"]),
    "code": (lambda name, _: f"`{name}`", ["emphasis"]),
    "boxed": (lambda name, _: f"$\\boxed{{{name}}}$", ["emphasis"]),
    "brackets": (lambda name, _: f"[{name}]", ["brackets"]),
    "tags": (lambda name, _: f"<answer>{name}</answer>", ["brackets"]),
    "heading": (lambda name, _: f"# {name}", ["emphasis"]),
    "point": (lambda name, _: f"- {name}", ["emphasis"]),
    "own words, two": (lambda name, _: f"My queue: {name}", ["prefix:My queue"]),
    "own words, dash": (lambda name, _: f"Queue - {name}", ["prefix:Queue"]),
    "shouted": (lambda name, _: f"{name}!", ["stop"]),
    "stop": (lambda name, _: f"{name}.", ["stop"]),
    "wide": (lambda name, _: "".join(chr(ord(c) + 0xFEE0) for c in name), ["width"]),
    "label:": (lambda name, _: f"Label: {name}", ["prefix"]),
    "sentence": (lambda name, _: f"The answer is {name}.", ["stop", "prefix"]),
    "own words": (lambda name, _: f"Queue: {name}", ["prefix:Queue"]),
    "fence": (lambda name, _: f"```text\n{name}\n```", ["fence"]),
    "quoted stop": (lambda name, _: f'"{name.title()}."', ["case", "stop", "quotes"]),
    "bold label": (lambda name, _: f"**Category:** {name}", ["prefix"]),
    "explained after": (lambda name, rng: f"{name}\n\n{matter(rng)}.", ["explanation"]),
    "explained beside": (lambda name, rng: f"{name} - {matter(rng)}", ["explanation"]),
    "thought before": (lambda name, rng: f"{matter(rng)}.\nAnswer: {name}",
                       ["prefix", "reasoning"]),
    "thought in tags": (lambda name, rng: f"<thinking>{matter(rng)}</thinking>{name}",
                        ["reasoning"]),
    "thought, one tag": (lambda name, rng: f"{matter(rng)}\n</think>\n\n{name}", ["reasoning"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_fewest_folds_that_help_are_proposed(kind):
    change, folds = KINDS[kind]
    texts = answers(change)
    form = infer_form([Answer(text) for text in texts]).form
    found = propose(texts, (), form)
    assert list(found.folds) == list(found.added) == folds
    assert 0.1 < found.share < 0.3
    assert fold(found.pair[0], found.folds) == fold(found.pair[1], found.folds)
    evidence = infer_form([Answer(text) for text in texts], found.folds)
    assert (evidence.form, evidence.distinct) == ("label", len(NAMES))


@pytest.mark.parametrize(
    "separator",
    [" and ".join, "; ".join, "\n".join, ", ".join, " | ".join,
     lambda two: str(two).replace("'", '"'),
     lambda two: f"- {two[0]}\n- {two[1]}", lambda two: f"1. {two[0]}\n2. {two[1]}"],
)  # fmt: skip
def test_an_order_that_differs_is_named(separator):
    texts = answers(pair(separator), share=1.0)
    form = infer_form([Answer(text) for text in texts]).form
    found = propose(texts, (), form)
    assert found.folds == ("set",)
    assert "the order of their parts" in in_the_way(texts, "desk", (), form)


def test_reasoning_before_every_answer_is_named():
    texts = answers(lambda name, rng: f"{matter(rng)}.\nSo the final answer is {name}", share=1)
    assert infer_form([Answer(text) for text in texts]).form == "text"
    said = in_the_way(texts, "desk", (), "text")
    assert "only by reasoning before the answer" in said
    assert "of which 'the final answer is" in said
    assert 'answer = ["reasoning"] under [tasks."desk"]' in said
    assert "--answer reasoning" in said
    assert "4 answers are left" in said


def test_what_is_set_is_part_of_the_proposal():
    texts = answers(lambda name, rng: rng.choice([name.upper(), f'"{name}"']))
    found = propose(texts, ("case",))
    assert (found.folds, found.added) == (("case", "quotes"), ("quotes",))
    assert propose(texts, ("case", "quotes")) is None
    assert 'answer = ["case", "quotes"]' in in_the_way(texts, 'the "desk"', ("case",))
    assert '[tasks."the \\"desk\\""]' in in_the_way(texts, 'the "desk"', ("case",))


def test_nothing_is_proposed_where_nothing_is_in_the_way():
    rng = random.Random(4)
    replies = [f"Dear customer,\n{matter(rng)}.\nKind regards,\nThe desk" for _ in range(300)]
    names = answers(str, share=0)
    topics = answers(str, share=0, names=["error: disk", "warning: disk", "disk", "C", "C++", "-a"])
    canned = answers(str, share=0, names=["Billing - refund of a paid order", "Other (no reason)",
                                          "Billing - late payment of an order"])  # fmt: skip
    for texts in (names, canned):
        assert in_the_way(texts, "desk") == ""
    assert in_the_way([matter(rng) for _ in range(300)], "desk", (), "text") == ""
    for texts in (names, topics, canned):
        assert propose(texts) is None
    signed = [f"Hello,\n{matter(rng)}.\n{rng.choice(NAMES)}" for _ in range(300)]
    greeted = [f"{rng.choice(['Hi', 'Hey'])}.\n{matter(rng)}." for _ in range(300)]
    for letters in (replies, signed, greeted):
        assert in_the_way(letters, "desk", (), "text") == ""
    assert in_the_way([], "desk") == ""
    assert in_the_way(["no", "No"] * 5, "desk") == ""


def test_refusals_in_text_are_counted_and_what_becomes_of_them_said():
    texts = answers(lambda _, rng: rng.choice(REFUSALS), share=0.1)
    said = in_the_way(texts, "desk")
    assert f"{sum(text in REFUSALS for text in texts)} of 600 answers (" in said
    assert "are refusals in text, such as" in said
    assert "no student learns them, and where one answers such a request it disagrees" in said
    assert propose(texts) is None


@pytest.mark.parametrize(
    "change",
    [lambda name, _: f"1. {name}", lambda name, _: f"\u2705 {name}", lambda name, _: f"{name} #"],
)
def test_the_same_words_in_another_guise_are_named_where_no_fold_helps(change):
    said = in_the_way(answers(change), "desk")
    assert "of the answers have the same words as a more frequent one, such as '" in said
    assert "No setting counts these as one" in said


def test_examples_are_cut_and_show_what_cannot_be_seen():
    texts = answers(lambda name, _: f"\u200b{name} {'x' * 80}\t", n=200, names=NAMES[:2])
    texts += [text.replace("\u200b", "") for text in texts]
    said = in_the_way(texts, "desk")
    assert "'\\u200b" in said
    assert f"{'x' * 60}" not in said
