"""Records compared field by field: which fields there are, what each may differ by, the loss."""

import doctest
import json
import re

import pytest

from openwheel.errors import SettingError
from openwheel.tasks.compare import (
    FieldsComparison,
    FieldSettings,
    Pair,
    field_rules,
    fields,
    read_fields,
    verdicts_on,
    why_unsuited,
)
from openwheel.wire import Answer, ToolCall


def answer(value):
    if isinstance(value, Answer):
        return value
    return Answer(value if isinstance(value, str) else json.dumps(value))


def call(*calls):
    made = (ToolCall(name, json.dumps(arguments)) for name, arguments in calls)
    return Answer("", tuple(made), "tool_calls")


def loss(teacher, student, rules=None, kind="fields", folds=()):
    comparison = FieldsComparison(FieldSettings(kind, read_fields(rules or {})), folds)
    one, other = answer(teacher), answer(student)
    found = comparison.losses([Pair("r", one, other), Pair("r", other, one)])
    assert found[0] == found[1]  # neither side is privileged
    return found[0]


def test_the_examples_are_true():
    assert doctest.testmod(fields).failed == doctest.testmod(field_rules).failed == 0


INVOICE = {"total": 12.5, "currency": "EUR", "buyer": {"name": "Ada", "vat": None}, "lines": [1, 2]}


def with_(**changes):
    return {**INVOICE, **changes}


@pytest.mark.parametrize(
    ("teacher", "student", "share"),
    [
        (INVOICE, INVOICE, 0),
        (INVOICE, with_(total=13), 1 / 5),  # total, currency, buyer.name, buyer.vat, lines
        (INVOICE, with_(total=13, buyer={"name": "Bob", "vat": 1}), 3 / 5),
        (INVOICE, with_(note="x"), 1 / 6),  # of the fields of either
        (INVOICE, with_(buyer={"name": "Ada"}), 1 / 5),  # null is not absent
        (INVOICE, with_(buyer="Ada"), 2 / 5),
        (INVOICE, with_(buyer={}), 2 / 5),
        (INVOICE, with_(lines=[2, 1]), 1 / 5),  # a list of values is one field
        (INVOICE, with_(lines=[]), 1 / 5),
        ({}, {}, 0),
        ({}, {"a": 1}, 1),
        ({"a": {}}, {"a": {}}, 0),
        ({"a": {}}, {"a": []}, 1),
        ({"a": True, "b": 1}, {"a": 1, "b": 1.0}, 1 / 2),
        ({"a": None}, {"a": 0}, 1),
        ({"a": 10**400}, {"a": 10**400 + 1}, 1),
        # What is in the objects of a list is a field of each of them.
        ({"l": [{"x": 1, "y": 2}, {"x": 3, "y": 4}]}, {"l": [{"x": 1, "y": 0}, {"x": 3, "y": 4}]},
         1 / 4),
        ({"l": [{"x": 1}, {"x": 2}]}, {"l": [{"x": 1}]}, 1 / 2),
        ({"l": [{"x": 1}, {"x": 2}]}, {"l": [{"x": 2}, {"x": 1}]}, 1),
        ({"l": [{"x": 1}], "a": 1}, {"l": [], "a": 1}, 1 / 2),
        ({"l": [{"x": 1}], "a": 1}, {"a": 1}, 1 / 2),
        ({"l": [{"x": 1}]}, {"l": "none"}, 1),
        ({"l": [{"x": 1}, 2]}, {"l": [{"x": 1}, 3]}, 1),  # objects among values: one field
        ({"l": [{}]}, {"l": [{}, {}]}, 1 / 2),
        ({"a": {"b": {"c": {"d": {"e": {"f": {"g": 1, "h": 2}}}}}}},
         {"a": {"b": {"c": {"d": {"e": {"f": {"g": 1, "h": 3}}}}}}}, 1),  # too deep: one field
    ],
)  # fmt: skip
def test_the_loss_is_the_share_of_wrong_fields(teacher, student, share):
    assert loss(teacher, student) == pytest.approx(share, abs=1e-12)
    assert loss(teacher, student, kind="record") == float(share > 0)


@pytest.mark.parametrize(
    ("teacher", "student", "rules", "share"),
    [
        (INVOICE, with_(total=13, note="x"), {"total": ["ignore"], "note": ["ignore"]}, 0),
        (INVOICE, with_(total=13, currency="USD"), {"total": ["ignore"]}, 1 / 4),
        (INVOICE, with_(buyer={"name": "Bob"}), {"buyer": ["ignore"]}, 0),
        (INVOICE, with_(buyer={"name": "Bob"}), {"buyer": ["ignore"], "buyer.name": []}, 1 / 4),
        (INVOICE, with_(currency="USD", total=1), {"*": ["ignore"], "total": []}, 1),
        (INVOICE, with_(currency="USD"), {"*": ["ignore"], "total": []}, 0),
        (INVOICE, with_(currency="USD"), {"*": ["ignore"]}, 0),
        (INVOICE, with_(total=12.505, lines=[1.005, 2]), {"*": ["~0.01"]}, 0),
        (INVOICE, with_(total=12.52), {"total": ["~0.01"]}, 1 / 5),
        (INVOICE, with_(total=12.6), {"total": ["~1%"]}, 0),
        (INVOICE, with_(total=12.7), {"total": ["~1%"]}, 1 / 5),
        (INVOICE, with_(total="12.5"), {"total": ["~1%"]}, 1 / 5),
        (INVOICE, with_(lines=[2, 1, 1]), {"lines": ["set"]}, 0),
        (INVOICE, with_(lines=[2.001, 1]), {"lines": ["set", "~0.01"]}, 0),
        (INVOICE, with_(lines=[2, 3]), {"lines": ["set"]}, 1 / 5),
        (INVOICE, with_(currency=" eur. "), {"currency": ["case", "stop"]}, 0),
        (INVOICE, with_(currency=" EUR "), {}, 0),
        (INVOICE, with_(currency="eur"), {}, 1 / 5),
        ({"t": ["Ann", "bob"]}, {"t": ["BOB", "ann"]}, {"t": ["case", "set"]}, 0),
        ({"l": [{"x": 1, "y": "a"}, {"x": 2, "y": "b"}]},
         {"l": [{"x": 2, "y": "b"}, {"x": 1, "y": "A"}]}, {"l": ["set"]}, 1 / 4),
        ({"l": [{"x": 1, "y": "a"}, {"x": 2, "y": "b"}]},
         {"l": [{"x": 2, "y": "b"}, {"x": 1, "y": "A"}]}, {"l": ["set"], "l.y": ["case"]}, 0),
        ({"l": [{"x": i} for i in range(200)]}, {"l": [{"x": i} for i in range(200)][::-1]},
         {"l": ["set"]}, 0),
    ],
)  # fmt: skip
def test_a_field_may_differ_by_its_rule(teacher, student, rules, share):
    assert loss(teacher, student, rules) == pytest.approx(share, abs=1e-12)
    assert loss(teacher, student, rules, "record") == float(share > 0)


CALL = call(("book", {"city": "Oslo", "nights": 2}))


@pytest.mark.parametrize(
    ("student", "share"),
    [
        (CALL, 0),
        (call(("book", {"city": "Rome", "nights": 2})), 1 / 2),
        (call(("book", {"city": "Oslo"})), 1 / 2),
        (call(("find", {"city": "Oslo", "nights": 2})), 1),  # another tool
        (call(("book", {"city": "Oslo", "nights": 2}), ("book", {})), 1),
        (Answer("In Oslo."), 1),
        (answer({"name": "book", "arguments": {"city": "Oslo", "nights": 2}}), 1),
    ],
)
def test_the_fields_of_a_call_are_those_of_its_arguments(student, share):
    assert loss(CALL, student) == pytest.approx(share)
    assert loss(CALL, student, kind="record") == float(share > 0)


def test_calls_of_one_tool_are_compared_in_any_order():
    teacher = call(("book", {"x": 1, "y": 1}), ("find", {"z": 1}), ("book", {"x": 2, "y": 2}))
    student = call(("book", {"x": 2, "y": 2}), ("book", {"x": 1, "y": 0}), ("find", {"z": 1}))
    assert loss(teacher, student) == pytest.approx(1 / 5)
    assert loss(teacher, call(("book", {}), ("find", {"z": 1}), ("find", {"z": 1}))) == 1
    pair = Pair("", teacher, student)
    assert verdicts_on()(pair) == {
        "name": True, "arguments.x": True, "arguments.y": False, "arguments.z": True,
    }  # fmt: skip


def test_rules_name_arguments_with_the_word_before_them():
    other = call(("book", {"city": "oslo", "nights": 3}))
    rules = {"arguments.city": ["case"], "arguments.nights": ["~1"]}
    assert loss(CALL, other, rules) == 0
    assert loss(call(("now", {})), call(("now", {}))) == 0


@pytest.mark.parametrize(
    ("teacher", "student", "share"),
    [
        ('{"a": 1}', "one", 1),
        ('{"a": 1}', "", 1),
        ('{"a": 1}', '{"a": 1', 1),
        ('```json\n{"a": 1, "b": 2}\n```', '{"b":2,"a":0}', 1 / 2),
        ("[1]", "[1.001]", 1),
        ("sorry", " sorry ", 0),
    ],
)
def test_what_is_no_record_differs_in_all_or_is_equal(teacher, student, share):
    assert loss(teacher, student) == share


def test_folds_of_the_answer_come_before():
    assert loss('**{"a": "X", "b": "y"}**', '{"a": "x", "b": "z"}', folds=("case",)) == 1
    assert loss('**{"a": "X", "b": "y"}**', '{"a": "x", "b": "z"}', folds=("case", "emphasis")) == (
        1 / 2
    )


def test_verdicts_are_by_name():
    one = {"a": 1, "l": [{"x": 1, "y": 1}, {"x": 2, "y": 1}], "note": "n"}
    other = {"a": 1.0, "l": [{"x": 1, "y": 1}, {"x": 3, "y": 1}], "note": "m"}
    pair = Pair("", answer(one), answer(other))
    assert verdicts_on(FieldSettings(fields={"note": ("ignore",)}))(pair) == {
        "a": True, "l.x": False, "l.y": True,
    }  # fmt: skip
    # By plain equality 1 is not 1.0, as in canonical JSON.
    assert verdicts_on()(pair) == {"a": False, "l.x": False, "l.y": True, "note": False}
    different = Pair("", CALL, call(("find", {"city": "Oslo"})))
    assert verdicts_on()(different) == {"name": False}
    assert verdicts_on()(Pair("", CALL, Answer("no"))) == {"name": False}
    assert verdicts_on()(Pair("", answer(one), Answer("no"))) == {}
    assert verdicts_on()(Pair("", CALL, CALL))["arguments.city"]


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"a": ["~"]}, "fields.a must have a number or a percentage"),
        ({"a": ["~-1"]}, "fields.a must have a number"),
        ({"a": ["~inf%"]}, "fields.a must have a number"),
        ({"a": ["~1", "~2"]}, "fields.a must have one tolerance"),
        ({"a": ["ignore", "set"]}, "fields.a must be ignore or how it may differ"),
        ({"a": ["fence"]}, "fields.a must be of ignore, set, invisible"),
        ({"a..b": []}, "one was 'a..b'"),
        ({"": []}, "one was ''"),
    ],
)
def test_rules_that_cannot_be_read_are_named(rules, said):
    with pytest.raises(SettingError, match=said):
        read_fields(rules)


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"totl": []}, "fields has 'totl', which none of 2 answers has; did you mean 'total'?"),
        ({"xyz": []}, "there are: total, "),
        ({"currency": ["~1%"]}, "fields.currency is ~1%, which is for a number; .* kind text"),
        ({"total": ["case"]}, "which is for a text; .* kind number"),
        ({"buyer.name": ["set"]}, "which is for a list"),
        ({"buyer.vat": ["case"]}, "kind null"),
        ({"*": ["~1%", "case"], "total": ["~1"], "lines": ["set", "~1"], "buyer": ["case"]}, ""),
        ({"lines": ["case"]}, "which is for a text; .* kind list and number"),
    ],
)
def test_rules_have_to_suit_the_answers(rules, said):
    found = why_unsuited(FieldSettings(fields=read_fields(rules)), [answer(INVOICE), answer("x")])
    assert bool(found) == bool(said)
    if said:
        assert re.search(said, found)


def test_rules_for_calls_have_to_suit_their_arguments():
    unsuited = why_unsuited(FieldSettings(fields=read_fields({"city": []})), [CALL])
    assert "did you mean 'arguments.city'?" in unsuited
    assert not why_unsuited(FieldSettings(fields=read_fields({"arguments.city": []})), [CALL])


def test_other_rules_are_another_comparison():
    made = [
        FieldsComparison(FieldSettings(kind, read_fields(rules)), folds)
        for kind in ("record", "fields")
        for rules in ({}, {"a": []}, {"a": ["~0.1"]})
        for folds in ((), ("case",))
    ]
    assert len({one.fingerprint for one in made}) == len(made) == 12
    assert [one.bounded for one in made] == [False] * 6 + [True] * 6
    assert made[-1].setting == "fields (a: ~0.1) after case"


@pytest.mark.parametrize(
    ("certified", "now", "covers"),
    [
        (("record", {}), ("record", {}), True),
        (("record", {}), ("fields", {}), True),
        (("record", {}), ("fields", {"a": ("ignore",)}), True),
        (("fields", {}), ("record", {}), False),
        (("fields", {"a": ("set",)}), ("fields", {"a": ("set",)}), True),
        (("record", {"a": ("set",)}), ("record", {}), False),
        (("record", {"a": ("set",)}), ("record", {"a": ("ignore",)}), False),
    ],
)
def test_a_certificate_stands_where_no_loss_can_be_larger_now(certified, now, covers):
    assert FieldSettings(*now).covers(FieldSettings(*certified)) == covers
