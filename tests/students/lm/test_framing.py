"""A base's frame gives the very tokens that are trained on, or none is given."""

import pytest

from inference.tiny import CHATML, tiny_tokenizer
from openwheel.students.lm.framing import frame_of, is_exact
from openwheel.wire import PromptMessage

TEXTS = ("the bank card", "  lost \n", "", "naïve 日本語", "a {{ template }} <|im_end|>", "\n\nx")
ASKED = [(PromptMessage("user", text),) for text in TEXTS]
ASKED += [(PromptMessage("system", text), PromptMessage("user", "now " + text)) for text in TEXTS]

TRIMS = CHATML.replace("{{ message.content }}", "{{ message.content | trim }}")
DEFAULT = "{% if messages[0].role != 'system' %}<|im_start|>system\nBe good.<|im_end|>\n{% endif %}"
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + CHATML
JOINED = (
    "{% set first = '' %}{% if messages[0].role == 'system' %}"
    "{% set first = messages[0].content | trim %}{% endif %}<|im_start|>user\n{{ first }}\n\n"
    "{{ messages[-1].content }}<|im_end|>\n<|im_start|>model\n"
)
THINKS = CHATML + "{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
ALWAYS = CHATML + "<think>\n"


@pytest.mark.parametrize(
    "template", [CHATML, TRIMS, DEFAULT + CHATML, NO_SYSTEM, JOINED, THINKS, ALWAYS, ""]
)
def test_a_frame_gives_the_tokens_that_are_trained_on(template):
    tokenizer = tiny_tokenizer(template or CHATML)
    if not template:
        tokenizer.chat_template = None
    frame = frame_of(tokenizer)
    assert frame is not None
    assert is_exact(frame, tokenizer, ASKED, thinking=False)


def test_a_frame_of_a_model_that_thinks_says_where_its_thought_ends():
    tokenizer = tiny_tokenizer(THINKS)
    frame = frame_of(tokenizer, thinking=True)
    assert frame is not None
    assert frame.after == "</think>"
    assert frame.prompt(ASKED[0]).text.endswith("<|im_start|>assistant\n<think>\n")
    assert frame_of(tiny_tokenizer(CHATML), thinking=True) is None


def test_no_frame_is_given_where_messages_change_what_stands_around_them():
    counts = "{{ messages[-1].content | length }}" + CHATML
    tokenizer = tiny_tokenizer("<|im_start|>" + counts)
    frame = frame_of(tokenizer)
    assert frame is None or not is_exact(frame, tokenizer, ASKED, thinking=False)
    twice = tiny_tokenizer(CHATML + "{{ messages[-1].content }}")
    assert frame_of(twice) is None
    shouts = tiny_tokenizer(CHATML.replace("message.content", "message.content | upper"))
    assert frame_of(shouts) is None
