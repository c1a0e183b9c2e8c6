import pytest
from hypothesis import given
from hypothesis import strategies as st

from openwheel.tasks.tokens import split, volatile


@given(st.text() | st.text(alphabet="ab1 \n\t:-/é漢Mar 2026Monday"))
def test_tokens_join_to_the_text(text):
    assert "".join(split(text)) == text


@pytest.mark.parametrize(
    "text",
    ["2026-11-21", "21.11.2026", "11/21/26", "14:03", "9:30 pm", "2026-11-21T14:03:00Z",
     "Monday, November 5, 2026", "12. März 2026", "3 mars 2026", "1º", "TCK-48213", "user_8123",
     "550e8400-e29b-41d4-a716-446655440000", "deadbeef01", "1763741323", "2026年11月21日"],
)  # fmt: skip
def test_dates_times_and_ids_are_volatile(text):
    if text == "1º":
        assert not any(map(volatile, split(text)))
    else:
        assert [volatile(token) for token in split(text)] == [True]


@pytest.mark.parametrize(
    "text",
    ["1. billing", "at most 5 words", "GPT-4", "ISO-8601", "May I ask", "3 of 4", "gpt-4o",
     "Monday to Friday", "top-10", "version 3.11", "the march of time", "50%"],
)  # fmt: skip
def test_what_instructions_say_is_not(text):
    assert not any(volatile(token) for token in split(text))
