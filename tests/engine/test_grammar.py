import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.tiny import tiny_tokenizer
from openwheel.engine.grammar import Matcher, grammar_of
from openwheel.engine.text import Vocabulary
from openwheel.errors import RequestError
from openwheel.inference.writer import Constraint

TOKENIZER = tiny_tokenizer()
VOCABULARY = Vocabulary(TOKENIZER, [TOKENIZER.eos_token_id])


def may_write(constraint, text):
    """Whether the text may be written, token by token, and end there."""
    matcher = Matcher(VOCABULARY, grammar_of(constraint))
    whole = False
    for token in TOKENIZER(text, add_special_tokens=False)["input_ids"]:
        if whole or not matcher.allowed()[token]:
            return False
        whole = matcher.accept(token)
    return whole or bool(matcher.allowed()[TOKENIZER.eos_token_id])


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1),
        min_size=1,
        max_size=4,
    )
)
def test_each_choice_may_be_written_whatever_its_characters(choices):
    constraint = Constraint(choices=tuple(choices))
    assert may_write(constraint, choices[0])


def test_other_texts_than_the_choices_may_not_be_written():
    constraint = Constraint(choices=("billing", "bill.", "(a|b)"))
    for text in ("bills", "bill", "a", "billing more", "shipping"):
        assert not may_write(constraint, text), text


def test_a_schema_holds_and_white_space_has_an_end():
    schema = {
        "type": "object",
        "properties": {"label": {"enum": ["yes", "no"]}, "count": {"type": "integer"}},
        "required": ["label", "count"],
        "additionalProperties": False,
    }
    constraint = Constraint(json_schema=json.dumps(schema))
    assert may_write(constraint, '{"label":"yes","count":3}')
    assert may_write(constraint, '{\n  "label": "no",\n  "count": 12\n}')
    assert not may_write(constraint, '{"label":"maybe","count":3}')
    assert not may_write(constraint, "{" + " " * 100 + '"label":"yes","count":3}')


def test_a_regular_expression_holds_for_the_whole_answer():
    constraint = Constraint(regex=r"[A-Z]{2}-\d+")
    assert may_write(constraint, "AB-12")
    assert not may_write(constraint, "xAB-12")


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        (Constraint(json_schema="{"), "The JSON Schema for an answer is not one"),
        (Constraint(json_schema='{"type": "colour"}'), "cannot be kept to the form asked for"),
        (Constraint(regex="(?<=a)b"), "cannot be kept to the form asked for"),
        (Constraint(choices=("a", "")), "must be texts that are not empty"),
        (Constraint(choices=("a",), regex="a"), "must have one form at most"),
    ],
)
def test_a_form_that_cannot_be_kept_is_refused(constraint, message):
    with pytest.raises(RequestError, match=message):
        Matcher(VOCABULARY, grammar_of(constraint))
