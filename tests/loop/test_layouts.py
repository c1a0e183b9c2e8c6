"""Layouts of inputs: found in training, and told in traffic."""

import random

import pytest

from openwheel.loop.layouts import UNKNOWN, find_layouts, layout_of, marks_of
from openwheel.loop.records import Slicer
from openwheel.loop.turn.choose import find_slicer

FORMS = {
    "a": ("Customer: {}\nItem: {}\nQuantity: {}\nThank you", "Note: {}"),
    "b": ("Sold to: {}\nWhat: {}\nPieces: {}\nKind regards", "Remark: {}"),
    "c": ('{{"buyer": "{}", "article": "{}", "units": {}}}', ""),
}
"""Of each layout its lines, and one that is not always there."""


def written(name, rng):
    lines, more = FORMS[name]
    word = "".join(rng.choices("aeioubdfg", k=6))
    text = lines.format(word, rng.choice(("rug", "lamp")), rng.randint(1, 90))
    return f"{text}\n{more.format(word)}" if more and rng.random() < 0.4 else text


def texts(names, n, seed=0):
    rng = random.Random(seed)
    return [written(rng.choice(names), rng) for _ in range(n)]


def test_labels_and_lines_are_the_marks_of_a_text():
    marks = marks_of("Order No 12: 5\nDear all\n- due = Friday; place: here")
    assert marks == {"order no 0:", "dear all", "due:", "place:"}
    assert marks_of("play some jazz") == set()


def test_layouts_are_found_and_told_of_new_inputs():
    layouts = find_layouts(texts("abc", 300))
    assert len(layouts) == 3
    rng = random.Random(1)
    told = {name: {layout_of(written(name, rng), layouts) for _ in range(50)} for name in FORMS}
    assert all(len(names) == 1 for names in told.values())
    assert len(set.union(*told.values())) == 3


@pytest.mark.parametrize(
    "text",
    [
        "From: ann\nWhat: rug\nPieces: 2\nBy: Friday\nVia: post\nKind regards",
        "Customer: ann\nWhat: rug\nUnits: 3",
        "please send two rugs to ann",
        "",
    ],
)
def test_what_has_no_known_layout_is_told(text):
    layouts = find_layouts(texts("abc", 300))
    assert layout_of(text, layouts) == UNKNOWN
    slicer = find_slicer([(one,) for one in texts("abc", 300)], layouts=True)
    assert slicer.defers((text,))


def test_free_text_has_no_layouts():
    rng = random.Random(0)
    free = [
        " ".join(rng.choices(["we", "need", "a", "rug", "by", "friday", "please", "now"], k=9))
    ] * 200
    assert find_layouts(free) == ()
    # Names before colons differ from text to text.
    said = [f"{''.join(rng.choices('aeioubd', k=5))}: {rng.choice(free)}" for _ in range(200)]
    assert find_layouts(said) == ()
    assert find_slicer([(text,) for text in said], layouts=True) == Slicer()


def test_inputs_without_labels_may_stand_beside_a_layout():
    rng = random.Random(2)
    free = [" ".join(rng.choices(["we", "need", "a", "rug", "by", "friday", "please", "now"], k=9))]
    layouts = find_layouts(texts("a", 100) + free * 100)
    assert {layout_of(text, layouts) for text in free} == {"no labels"}
    strange = "\n".join(f"{label}: {free[0]}" for label in ("From", "To", "Re", "Via", "Per"))
    assert layout_of(strange, layouts) == UNKNOWN


def test_values_of_a_variable_go_before_layouts():
    inputs = [(("acme", "globex")[i % 2], text) for i, text in enumerate(texts("abc", 200))]
    slicer = find_slicer(inputs, layouts=True)
    assert (slicer.variable, slicer.known, slicer.layouts) == (0, ("acme", "globex"), ())
    assert find_slicer([(text,) for _, text in inputs]) == Slicer()
