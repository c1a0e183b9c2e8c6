"""What a student of records is made of, each part by itself."""

import itertools
import json

import numpy as np
import pytest
from scipy import sparse

from openwheel.students.fields.align import align, choices_of, forbidden, spans_of, tags_of
from openwheel.students.fields.crf import NEVER, Choices, Crf, decode, decode_one, fit_crf
from openwheel.students.fields.form import Field, Read, infer_record_form
from openwheel.students.fields.render import Example, Rendering, learn_rendering
from openwheel.students.fields.schema import satisfies, unknown_keywords
from openwheel.students.fields.style import learn_style
from openwheel.students.fields.words import words_of


def learned(pairs):
    return learn_rendering([Example(text, words_of(text), value) for text, value in pairs])


@pytest.mark.parametrize(
    ("pairs", "surface", "value"),
    [
        ([("from bob's shop", "Bob"), ("al cole", "Al Cole")], "ann lee", "Ann Lee"),
        ([("the wo-1234 is", "WO-1234"), ("see WO 55", "WO-55")], "wo 7", "WO-7"),
        ([("call (555) 123-4567", "5551234567"), ("12-34", "1234")], "98 76", "9876"),
        ([("pay $1,200.50 now", 1200.5), ("two dollars", 2.0)], "$3", 3.0),
        ([("pay $1,200.50", "USD 1200.50"), ("3 bucks", "USD 3.00")], "7.5", "USD 7.50"),
        ([("20% off", 0.2), ("about 5 %", 0.05)], "50", 0.5),
        ([("zahle 1.200,50", 1200.5), ("nur 3,25", 3.25)], "4,5", 4.5),
        ([("twenty-five of them", 25), ("3 of them", 3)], "seven", 7),
        ([("on 4/6/2026", "2026-06-04"), ("13/2/2026", "2026-02-13")], "1/12/2026", "2026-12-01"),
        ([("on 4/6/2026", "2026-04-06"), ("12/13/2026", "2026-12-13")], "1/2/2026", "2026-01-02"),
        ([("March 12th, 2026", "12/03/2026"), ("1 May 2026", "01/05/2026")], "2026-02-01",
         "01/02/2026"),
        ([("at 3pm", "15:00"), ("3:30 p.m.", "15:30")], "9 am", "09:00"),
        ([("an M-5", "M-5"), ("the m-77", "M-77")], "m-1", "M-1"),
    ],
)  # fmt: skip
def test_a_rendering_is_learned_from_few_values(pairs, surface, value):
    rendering, share = learned(pairs)
    assert share == 1
    given = rendering.render(surface)
    assert given == value
    assert type(given) is type(value)


def test_surfaces_that_the_rule_gets_wrong_are_remembered():
    pairs = [("in new york now", "New York")] * 3 + [("in ny now", "NY")] * 3
    rendering, share = learned([*pairs, ("in rome now", "Rome"), ("in lima now", "Lima")])
    assert share == 1
    assert rendering.render("ny") == "NY"
    assert rendering.render("oslo") == "Oslo"


def test_what_is_not_in_the_input_is_counted():
    _, share = learned([("in rome", "Italy"), ("in oslo", "oslo"), ("in lima", "lima")])
    assert share == pytest.approx(2 / 3)


@pytest.mark.parametrize("text", ["", " ", "?!", "\u4f60\u597d\u5417", "1,,2", "a" * 5_000])
def test_words_have_their_places(text):
    assert all(text[w.start : w.end] == w.text for w in words_of(text))
    assert "".join(w.text for w in words_of(text)) == "".join(text.split())


def brute(scores, transitions):
    """Score every path of a text, the best first."""
    size, n = scores.shape[1], len(scores)
    found = []
    for path in itertools.product(range(size), repeat=n):
        total = transitions[size, path[0]] + sum(scores[i, t] for i, t in enumerate(path))
        total += sum(transitions[a, b] for a, b in itertools.pairwise(path))
        found.append((float(total), path))
    return sorted(found, reverse=True)


def test_the_two_best_paths_are_those_of_all_paths_that_a_text_may_have():
    rng = np.random.default_rng(0)
    transitions = rng.normal(size=(5, 4)).astype(np.float32)
    transitions[0, 2] = transitions[4, 2] = NEVER
    lengths = np.array([4, 1, 5, 3])
    scores = rng.normal(size=(int(lengths.sum()), 4)).astype(np.float32)
    starts = np.concatenate(([0], np.cumsum(lengths)))
    crf = Crf(np.zeros((1, 4)), transitions)
    choices = Choices([np.arange(4), np.array([0, 1, 3])], np.array([0, 1, 0, 1]))
    for i, found in enumerate(decode(crf, scores, lengths, choices)):
        own = scores[starts[i] : starts[i + 1]]
        tags = choices.tags[choices.groups[i]]
        alone = decode_one(crf, own[:, tags], tags)
        assert alone.tags.tolist() == found.tags.tolist()
        assert alone.marginals == pytest.approx(found.marginals, abs=1e-4)
        assert (alone.logprob, alone.second) == pytest.approx(
            (found.logprob, found.second), abs=1e-4
        )
        paths = [one for one in brute(own, transitions) if set(one[1]) <= set(tags.tolist())]
        totals = np.array([total for total, _ in paths])
        logz = np.log(np.exp(totals - totals[0]).sum()) + totals[0]
        assert tuple(found.tags) == paths[0][1]
        assert found.logprob == pytest.approx(paths[0][0] - logz, abs=1e-4)
        assert found.second == pytest.approx(paths[1][0] - logz, abs=1e-4)
        for place, tag in enumerate(found.tags):
            share = sum(np.exp(t - logz) for t, path in paths if path[place] == tag)
            assert found.marginals[place] == pytest.approx(share, abs=1e-4)


def test_further_paths_are_the_next_best_of_all_paths():
    rng = np.random.default_rng(1)
    transitions = rng.normal(size=(4, 3)).astype(np.float32)
    transitions[0, 2] = NEVER
    scores = rng.normal(size=(8, 3)).astype(np.float32)
    crf, lengths = Crf(np.zeros((1, 3)), transitions), np.array([1, 7])
    anything = Choices([np.arange(3)], np.zeros(2, np.int64))
    several = decode(crf, scores, lengths, anything, several=True)
    for found, own in zip(several, np.split(scores, [1]), strict=True):
        paths = brute(own, transitions)
        assert [tuple(path.tags) for path in (found, *found.others)] == [
            path for _, path in paths[: 1 + len(found.others)]
        ]
        assert len(found.others) == min(3, sum(score > NEVER / 2 for score, _ in paths) - 1)
        alone = decode_one(crf, own, np.arange(3), several=True)
        for one, other in zip(found.others, alone.others, strict=True):
            assert one.tags.tolist() == other.tags.tolist()
            assert one.logprob == pytest.approx(other.logprob, abs=1e-4)
            assert one.marginals == pytest.approx(other.marginals, abs=1e-4)
    assert all(not found.others for found in decode(crf, scores, lengths, anything))


def test_a_random_field_learns_what_follows_what():
    """Words that look alike get tags in turns, which only what was before can tell."""
    lengths = np.full(60, 6)
    tags = np.tile([0, 1], 180)
    features = sparse.csr_matrix(np.ones((360, 1), np.float32))
    anything = Choices([np.arange(2)], np.zeros(60, np.int64))
    crf = fit_crf(features, tags, lengths, np.zeros((3, 2), np.float32), anything)
    scores = np.asarray(features[:12] @ crf.weights)
    for found in decode(crf, scores, lengths[:2], anything.take(np.arange(2))):
        assert found.tags.tolist() == [0, 1, 0, 1, 0, 1]


def test_texts_of_a_type_get_the_tags_that_its_records_had():
    types = np.array([0] * 30 + [1] * 30 + [2] * 5 + [-1])
    lengths = np.full(66, 2)
    tags = np.array([0, 1] * 30 + [2, 0] * 30 + [3, 3] * 5 + [4, 4])
    choices = choices_of(types, lengths, tags, 5)
    own = [choices.tags[group].tolist() for group in choices.groups]
    assert own == [[0, 1], [0, 2], [0, 1, 2, 3, 4]]  # the third came too seldom to tell


def test_tags_say_where_values_are_and_one_may_lie_in_another():
    spans = [(0, 1, 3), (1, 2, 2), (0, 4, 4)]
    tags = tags_of(6, spans)
    found = [(s.field, s.first, s.last) for s in spans_of(tags, [1.0] * 6)]
    assert found == spans
    rules = forbidden([(0, 0), (1, 0), (2, 0), (3, 0)])
    assert rules[0, 2] == NEVER  # a value goes on only where it began
    assert rules[1, 2] == rules[2, 2] == 0
    assert rules[3, 2] == NEVER


def test_a_value_that_stands_twice_is_taken_where_its_neighbours_say():
    texts = [f"order {i} has {i + 7} lamps" for i in range(20)] + ["order 5 has 5 lamps"]
    counts = [i + 7 for i in range(20)] + [5]
    reads = [Read(t, words_of(t), {"count": n}) for t, n in zip(texts, counts, strict=True)]
    form = infer_record_form(reads)
    assert align(reads, form.fields)[-1].spans == [(0, 3, 3)]


def test_the_style_of_one_answer_is_found():
    for style in ({"indent": 4}, {"separators": (",", ": ")}, {"ensure_ascii": False}, {}):
        record = {"b": "\u00e9", "a": [1, 2.5, None], "c": {"d": True, "e": []}}
        text = json.dumps(record, **style)
        assert (
            learn_style([text]).write({"c": record["c"], "a": record["a"], "b": "\u00e9"}) == text
        )
    flat = '{\n  "a": [1, 2],\n  "b": 3\n}'
    assert learn_style([flat]).write({"b": 3, "a": [1, 2]}) == flat


@pytest.mark.parametrize(
    ("value", "schema", "holds"),
    [
        ({"a": 1}, {"type": "object", "required": ["a"], "additionalProperties": False}, False),
        ({"a": 1}, {"properties": {"a": {"type": "integer"}}, "required": ["a"]}, True),
        ({"a": True}, {"properties": {"a": {"type": "integer"}}}, False),
        (2.0, {"type": "integer"}, True),
        (2.5, {"type": ["integer", "null"]}, False),
        (None, {"anyOf": [{"type": "null"}, {"type": "string"}]}, True),
        ("x", {"enum": ["y", "z"]}, False),
        (1, {"const": True}, False),
        ("abc", {"pattern": "^a", "maxLength": 2}, False),
        ([1, 1], {"uniqueItems": True}, False),
        ([1], {"items": {"$ref": "#/$defs/n"}, "$defs": {"n": {"minimum": 2}}}, False),
        ([3], {"items": {"$ref": "#/$defs/n"}, "$defs": {"n": {"minimum": 2}}}, True),
        (7, {"multipleOf": 2}, False),
        ("x", {"pattern": "("}, False),
        ({}, {"$ref": "#/$defs/none"}, False),
        (1, {"oneOf": [{"type": "integer"}, {"type": "number"}]}, False),
    ],
)
def test_schemas(value, schema, holds):
    assert satisfies(value, schema) == holds
    assert not unknown_keywords(schema)


def test_keywords_that_are_not_checked_are_found_wherever_they_are():
    schema = {"properties": {"a": {"items": {"not": {}}}}, "$defs": {"b": {"contains": {}}}}
    assert unknown_keywords(schema) == {"not", "contains"}


def test_kinds_are_told_by_values_and_inputs():
    texts = [f"{'urgent' if i % 3 else 'later'} box {i} for x{i * 7}" for i in range(90)]
    records = [
        {
            "level": "high" if i % 3 else "low",
            "box": i,
            "who": f"x{i * 7}",
            "flag": bool(i % 2),
            "made_up": f"{i * 7919 % 1009}-{i}",
            "tags": ["a", "b"] if i % 2 else ["a"],
        }
        for i in range(90)
    ]
    form = infer_record_form([Read(t, words_of(t), r) for t, r in zip(texts, records, strict=True)])
    kinds = {field.name: field.described for field in form.fields}
    assert kinds == {
        "level": "label",
        "box": "number",
        "who": "span",
        "flag": "label",
        "made_up": "not from the input",
        "tags": "label",
    }
    assert all(
        f.rendering == Rendering() for f in form.fields if isinstance(f, Field) and f.name == "who"
    )
