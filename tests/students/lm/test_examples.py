import pytest

from openwheel.errors import ModelError
from openwheel.students.lm.examples import Record, encode, end_of_turn
from openwheel.wire import PromptMessage

from .made import TEMPLATE

pytest.importorskip("transformers", reason="the extra `lm` is not installed")

THINKING = TEMPLATE.replace(
    "assistant\n{% endif %}",
    "assistant\n{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}",
)
MESSAGES = (PromptMessage("system", "Be brief."), PromptMessage("user", "Which colour?"))


@pytest.fixture
def tokenizer():
    from .conftest import train_tokenizer

    return train_tokenizer()


def test_the_answer_and_its_end_are_learned_and_the_prompt_is_not(tokenizer):
    (example,) = encode(tokenizer, [Record(messages=MESSAGES, answer="red")], context=512)
    prompt = tokenizer.decode(example.ids[: example.prompt])
    assert prompt == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhich colour?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert tokenizer.decode(example.ids[example.prompt :]) == "red<|im_end|>"


def test_an_exchange_too_long_for_the_context_is_left_out_and_never_cut(tokenizer):
    records = [
        Record(messages=MESSAGES, answer="red"),
        Record(messages=MESSAGES, answer="red " * 99),
    ]
    short, long = encode(tokenizer, records, context=64)
    assert short is not None
    assert long is None
    exact = len(short.ids)
    assert encode(tokenizer, records[:1], context=exact) != [None]
    assert encode(tokenizer, records[:1], context=exact - 1) == [None]


def test_a_thought_is_learned_before_the_answer_or_closed_empty(tokenizer):
    tokenizer.chat_template = THINKING
    record = Record(messages=MESSAGES, answer="red", reasoning="not blue")
    (kept,) = encode(tokenizer, [record], context=512)
    learned = tokenizer.decode(kept.ids[kept.prompt :])
    assert learned == "<think>\nnot blue\n</think>\n\nred<|im_end|>"
    (dropped,) = encode(tokenizer, [Record(messages=MESSAGES, answer="red")], context=512)
    assert tokenizer.decode(dropped.ids[: dropped.prompt]).endswith("<think>\n\n</think>\n\n")
    assert tokenizer.decode(dropped.ids[dropped.prompt :]) == "red<|im_end|>"


def test_thoughts_need_a_base_that_can_think(tokenizer):
    record = Record(messages=MESSAGES, answer="red", reasoning="not blue")
    with pytest.raises(ModelError, match="no form for what a model thinks"):
        encode(tokenizer, [record], context=512)


def test_the_end_of_a_turn_is_the_templates_own(tokenizer):
    assert tokenizer.decode([end_of_turn(tokenizer)]) == "<|im_end|>"
    tokenizer.chat_template = None
    tokenizer.eos_token = "<|pad|>"
    assert tokenizer.decode([end_of_turn(tokenizer)]) == "<|pad|>"
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="a token that ends an answer"):
        end_of_turn(tokenizer)


def test_a_template_that_takes_no_system_message_gets_it_with_the_users(tokenizer):
    refuse = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    tokenizer.chat_template = refuse + TEMPLATE
    (example,) = encode(tokenizer, [Record(messages=MESSAGES, answer="red")], context=512)
    assert "Be brief.\n\nWhich colour?" in tokenizer.decode(example.ids)
