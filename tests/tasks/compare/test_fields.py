import json

import pytest

from openwheel.errors import SettingError
from openwheel.tasks.compare import FieldsComparison, Pair, read_rules
from openwheel.wire import Answer


def loss(rules, teacher, student):
    texts = [x if isinstance(x, str) else json.dumps(x) for x in (teacher, student)]
    comparison = FieldsComparison(f"fields:{rules}", read_rules(rules))
    return comparison.losses([Pair("r", Answer(texts[0]), Answer(texts[1]))])[0]


INVOICE = {"total": 12.5, "currency": "EUR", "buyer": {"name": "Ada", "vat": None}, "lines": [1, 2]}


def with_(**changes):
    return {**INVOICE, **changes}


@pytest.mark.parametrize(
    ("rules", "other", "agrees"),
    [
        ("", INVOICE, True),
        ("", with_(total=12.500000001), False),
        ("", with_(total=12.50), True),
        ("", with_(note="x"), False),
        ("", with_(buyer={"name": "Ada"}), False),  # null is not absent
        ("", with_(lines=[2, 1]), False),
        ("", with_(lines=[1, 2, 3]), False),
        ("total~0.01", with_(total=12.505, currency="USD"), True),
        ("total~0.01", with_(total=12.52), False),
        ("total~1%", with_(total=12.6), True),
        ("total~1%", with_(total=12.7), False),
        ("~0.01", with_(total=12.505, lines=[1.005, 2]), True),
        ("~0.01", with_(total=12.505, currency="USD"), False),
        ("total,buyer.name", with_(currency="USD", buyer={"name": "Ada", "vat": "1"}), True),
        ("total,buyer.name", with_(buyer={"name": "Bob"}), False),
        ("total,buyer.name", with_(buyer="Ada"), False),
        ("discount", with_(currency="USD"), True),  # neither has one
        ("discount", with_(discount=1), False),
        ("-currency,-buyer.vat", with_(currency="USD", buyer={"name": "Ada", "vat": 3}), True),
        ("-currency,-buyer.vat", with_(currency="USD", buyer={"name": "Bob", "vat": 3}), False),
        ("-note", with_(note="x"), True),
        ("", with_(currency=" EUR "), True),
        ("", with_(currency="eur"), False),
        ("", with_(total="12.5"), False),
    ],
)
def test_fields_that_count_decide(rules, other, agrees):
    assert loss(rules, INVOICE, other) == float(not agrees)
    assert loss(rules, other, INVOICE) == float(not agrees)


def test_what_json_tells_apart_stays_apart():
    assert loss("", {"a": True}, {"a": 1}) == 1.0
    assert loss("", {"a": None}, {"a": 0}) == 1.0
    assert loss("", {"a": 1}, {"a": 1.0}) == 0.0


def test_fences_do_not_count_and_other_texts_compare_by_equality():
    assert loss("a", '```json\n{"a": 1}\n```', '{"a":1}') == 0.0
    assert loss("a", '{"a": 1}', "one") == 1.0
    assert loss("a", "sorry", " sorry ") == 0.0
    assert loss("a~1%", "[1]", "[1.001]") == 1.0


@pytest.mark.parametrize("rules", ["a~", "a~x", "a~-1", "~nan", "a,-b", "a~inf"])
def test_rules_that_cannot_be_read_are_named(rules):
    with pytest.raises(SettingError, match=r"tolerance must be|fields must name"):
        read_rules(rules)


def test_other_rules_are_another_comparison():
    one, other = (FieldsComparison("fields", read_rules(r)) for r in ("a,b", "b,a~0.1"))
    assert one.fingerprint != other.fingerprint
    assert not one.bounded
