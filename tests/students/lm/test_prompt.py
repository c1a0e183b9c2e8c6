import json
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.may_write import may_write
from openwheel.inference.writer import Constraint
from openwheel.students.lm.prompt import Asking, constraint_for, learned_text
from openwheel.students.lm.schema import in_schema_order, inferred_schema, requested_schema
from openwheel.tasks import Template
from openwheel.tasks.template import Part
from openwheel.wire import PromptMessage

from .made import SYSTEM, TASK


def test_the_student_is_asked_what_the_teacher_was():
    assert Asking(template=TASK).messages(("red car",)) == (
        PromptMessage("system", SYSTEM),
        PromptMessage("user", "Thing: red car\nColour:"),
    )
    alone = Template((Part(("Say yes.",)), Part(), Part(), Part()))
    assert Asking(template=alone).messages(()) == (PromptMessage("user", "Say yes."),)
    whole = Template(
        (Part(("S",)), Part(("<user>\nhi\n",)), Part(("", "")), Part(("<tool>\nx\n",)))
    )
    assert Asking(template=whole).messages(("now",))[1].text == "<user>\nhi\n\nnow\n<tool>\nx\n"


def test_or_only_the_variables_that_matter():
    two = Template((Part(("Today is ", ".")), Part(), Part(("", "")), Part()))
    asking = Asking(template=two, prompt="inputs", variables=(1,))
    assert asking.messages(("Monday", "which?")) == (PromptMessage("user", "which?"),)


def test_what_cannot_be_asked_is_left_to_the_teacher():
    asking = Asking(template=TASK, longest=300)
    assert asking.ask(("red car",), "m") is not None
    for odd in ((), ("a", "b"), ("\ud800",), ("long " * 200,)):
        assert asking.ask(odd, "m") is None


def test_labels_are_choices_as_the_teacher_mostly_wrote_them():
    found = constraint_for("label", TASK, ["a", "b", "a"], {"a": "A.\n", "b": "b"})
    assert found == Constraint(choices=("A.\n", "b"))
    assert constraint_for("text", TASK, ["a"], {}) == Constraint()
    many = [str(i) for i in range(3000)]
    assert constraint_for("label", TASK, many, {}) == Constraint()


def test_records_have_the_schema_that_was_asked_for_or_what_they_have_in_common():
    asked = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    strict = Template(TASK.parts, response_format=json.dumps(asked))
    assert constraint_for("record", strict, [], {}).json_schema == '{"type":"object"}'
    answers = [json.dumps({"n": i, "name": "x"}) for i in range(30)]
    found = json.loads(constraint_for("record", TASK, answers, {}).json_schema)
    assert found["required"] == ["n", "name"]
    assert requested_schema('{"type":"json_object"}') == ""


def test_an_inferred_schema_names_keys_and_types_and_no_values():
    records = [{"b": "x", "a": i, "tags": ["p"], "note": None} for i in range(15)]
    records += [{"b": "y", "a": 1.5, "tags": [], "in": {"deep": True}} for _ in range(15)]
    found = json.loads(inferred_schema(records))
    assert list(found["properties"]) == ["b", "a", "tags", "note", "in"]
    assert found["required"] == ["b", "a", "tags"]
    assert found["properties"]["a"] == {"type": "number"}
    assert found["properties"]["tags"] == {"type": "array", "items": {"type": "string"}}
    assert found["properties"]["in"]["properties"] == {"deep": {"type": "boolean"}}
    assert found["additionalProperties"] is False
    assert inferred_schema(records[:19]) == ""
    # Keys that are data are not closed.
    free = [{f"key {i}": i} for i in range(30)]
    assert json.loads(inferred_schema(free)) == {"type": "object"}


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text("ab", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner),
    max_leaves=6,
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.dictionaries(st.sampled_from("abc"), values), min_size=20, max_size=30))
def test_every_record_satisfies_the_schema_inferred_from_them(records):
    schema = json.loads(inferred_schema(records))
    for record in records:
        assert satisfies(record, schema)


def satisfies(value, schema) -> bool:
    if "anyOf" in schema:
        return any(satisfies(value, option) for option in schema["anyOf"])
    if not schema:
        return True
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    names = {
        "null": type(None), "boolean": bool, "integer": int, "string": str, "array": list,
        "object": dict,
    }  # fmt: skip
    fits = any(
        isinstance(value, int | float) and not isinstance(value, bool)
        if kind == "number"
        else isinstance(value, names[kind]) and not (kind == "integer" and isinstance(value, bool))
        for kind in kinds
    )
    if isinstance(value, dict) and "properties" in schema:
        known = schema["properties"]
        fits &= set(schema["required"]) <= set(value) <= set(known)
        return fits and all(satisfies(inner, known[key]) for key, inner in value.items())
    if isinstance(value, list) and "items" in schema:
        return fits and all(satisfies(inner, schema["items"]) for inner in value)
    return fits


def test_choices_are_distinct():
    found = constraint_for("label", TASK, ["a", "b"], {"a": "same", "b": "same"})
    assert Counter(found.choices) == Counter(["same"])


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from("abcd"), values), min_size=20, max_size=30),
    st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    st.sampled_from([(", ", ": "), (",", ":"), (" ,\n", " :\t")]),
    st.randoms(use_true_random=False),
)
def test_every_learned_record_may_be_written_within_its_own_constraint(records, text, signs, order):
    """Each record is written in an order of keys of its own, as a teacher may do."""
    surfaces = {}
    for at, record in enumerate(records):
        record["text"] = text
        shuffled = dict(order.sample(sorted(record.items()), len(record)))
        canonical = json.dumps(record, sort_keys=True)
        surfaces[canonical] = json.dumps(shuffled, separators=signs, ensure_ascii=at % 2)
    answers = list(surfaces) * 2
    constraint = constraint_for("record", TASK, (answers * 20)[:20], surfaces)
    for answer in answers[:8]:
        learned = learned_text(answer, surfaces, constraint)
        assert json.loads(learned) == json.loads(answer)
        assert may_write(constraint, learned), (learned, constraint)


@pytest.mark.parametrize("character", ["\x7f", "\\u007f", "\\/", "\\u00e9", "\x80", "\\u0001"])
def test_every_character_of_a_learned_record_can_be_written(character):
    answer = f'{{"text": "a{character}b"}}'
    constraint = constraint_for("record", TASK, [answer] * 20, {})
    learned = learned_text(answer, {}, constraint)
    assert json.loads(learned) == json.loads(answer)
    assert may_write(constraint, learned)


def test_keys_are_put_in_the_schemas_order_and_all_else_stays():
    schema = json.dumps(
        {
            "$defs": {"place": {"properties": {"x": {}, "y": {}}}},
            "properties": {
                "b": {"items": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/place"}]}},
                "a": {"properties": {"q": {}, "p": {}}},
            },
        }
    )
    text = '{"a" :  {"p":1, "q":"\\u00e9, \\"}{"},\n "more": [],"b":[{"y":2,"x":1.50}, null]}'
    assert in_schema_order(text, schema) == (
        '{"b":[{"x":1.50,"y":2}, null],\n "a" :  {"q":"é, \\"}{", "p":1},"more": []}'
    )
    assert in_schema_order(f"```json\n{text}\n```", schema) == in_schema_order(text, schema)
    for odd in ("{}", "[]", "none", "", '{"a": ', '{"b": {"c": 1}}'):
        assert in_schema_order(odd, schema) == odd
