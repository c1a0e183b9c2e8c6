import subprocess
import sys
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openwheel.tasks import Part, Template, prompt_parts
from openwheel.wire import Prompt, PromptMessage

literal = st.text(alphabet="abc:\n ", min_size=1, max_size=6)
value = st.text(alphabet="xyzé漢 -1", max_size=12)


@st.composite
def parts_with_values(draw):
    variables = draw(st.integers(0, 4))
    inner = draw(st.lists(literal, min_size=max(0, variables - 1), max_size=max(0, variables - 1)))
    ends = [draw(literal | st.just("")), draw(literal | st.just(""))]
    literals = (ends[0], *inner, ends[1]) if variables else (ends[0],)
    part = Part(literals, draw(st.integers(0, max(0, variables - 1))))
    values = tuple(draw(value) for _ in range(variables))
    return part, tuple(v.strip() for v in values)


@given(parts_with_values())
def test_values_that_hold_no_literal_come_back(drawn):
    part, values = drawn
    if any(lit and lit in v for lit in part.literals for v in values):
        return
    text = part.render(values)
    assert part.match(text) is not None
    if not any(" " in lit or lit in text.replace(lit, "", 1) for lit in part.literals if lit):
        assert part.match(text) == values


@given(parts_with_values(), st.text(alphabet="abcx:\n ", max_size=60))
def test_a_match_renders_back_to_the_text_and_nothing_raises(drawn, text):
    part, _ = drawn
    values = part.match(text)
    assert values is None or part.render(values) == text


def test_matching_is_linear_on_hostile_texts():
    part = Part(("a", "ab", "aab", "aaab", "b"), 1)
    hostile = "a" * 200_000

    def seconds(text):
        start = time.perf_counter()
        for _ in range(5):
            part.match(text)
        return time.perf_counter() - start

    seconds(hostile)
    assert seconds(hostile * 4) < 30 * seconds(hostile) + 0.05


def test_the_pivot_takes_what_could_belong_to_several():
    text = "Q: a\nQ: b\nQ: c"
    assert Part(("Q: ", "\nQ: ", ""), 0).match(text) == ("a\nQ: b", "c")
    assert Part(("Q: ", "\nQ: ", ""), 1).match(text) == ("a", "b\nQ: c")


def test_a_template_survives_json_and_keeps_its_id():
    template = Template((Part(("be",)), Part(), Part(("x: ", "")), Part()), tools="[]")
    again = msgspec.json.decode(msgspec.json.encode(template), type=Template)
    assert again == template
    assert again.id == template.id
    other = Template((Part(("be!",)), Part(), Part(("x: ", "")), Part()), tools="[]")
    assert other.id != template.id


def test_tools_and_response_format_must_be_equal():
    template = Template((Part(), Part(), Part(("", "")), Part()), tools="[1]")
    message = (PromptMessage("user", "hi"),)
    assert template.match(Prompt(message, tools="[1]")) == ("hi",)
    assert template.match(Prompt(message)) is None
    assert template.match(Prompt(message, tools="[1]", response_format="{}")) is None


def test_describe_numbers_the_variables_through_all_parts():
    template = Template((Part(("On ", ":")), Part(), Part(("x: ", " y: ", "")), Part()))
    assert template.describe() == "[system]\nOn {1}:\n[message]\nx: {2} y: {3}"


def test_render_asks_for_as_many_inputs_as_there_are_variables():
    template = Template((Part(), Part(), Part(("a", "b")), Part()))
    assert template.render(("-",)) == ("", "", "a-b", "")
    with pytest.raises(ValueError, match="1 variables, got 2"):
        template.render(("1", "2"))


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        ("u", ("", "", "0", "")),
        ("su", ("0", "", "1", "")),
        ("ssu", ("0\n\n1", "", "2", "")),
        ("suau", ("0", "<user>\n1\n<assistant>\n2\n", "3", "")),
        ("sua", ("0", "", "1", "<assistant>\n2\n")),
        ("s", ("0", "", "", "")),
        ("usu", ("", "<user>\n0\n<system>\n1\n", "2", "")),
    ],
)
def test_prompts_of_any_shape_have_four_parts(roles, expected):
    names = {"u": "user", "s": "system", "a": "assistant"}
    messages = tuple(PromptMessage(names[r], str(i)) for i, r in enumerate(roles))
    assert prompt_parts(Prompt(messages)) == expected


def test_matching_needs_no_numpy():
    code = "import sys, openwheel.tasks; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
