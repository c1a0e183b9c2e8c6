"""Answers written together, and with beginnings reused, are those that `generate` writes alone."""

from pathlib import Path

import pytest
import torch

from engine.families import FAMILIES, KINDS, tiny_family
from engine.tiny import tiny_tokenizer
from openwheel.engine.base import Base
from openwheel.engine.engine import Engine, EngineLimits
from openwheel.inference.writer import Ask
from openwheel.wire import PromptMessage

TASK = PromptMessage("system", "please help me to pay the bill today my account was lost " * 2)
# Left out: it reads its cache's state again in each forward pass, so it runs one at a time.
TEXTS = ("the bank card", "billing", "a new one please yes or no other returns", "shipping 0123")


def make_base(name: str) -> Base:
    from transformers import AutoModelForCausalLM

    tokenizer = tiny_tokenizer()
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(tiny_family(name)(tokenizer)).eval()
    return Base(
        name=name,
        model=model,
        tokenizer=tokenizer,
        model_type=model.config.model_type,
        path=Path(),
        revision="",
        device="cpu",
        precision="float32",
    )


def asks(model: str) -> list[Ask]:
    return [
        Ask(model=model, messages=(TASK, PromptMessage("user", text)), max_tokens=12)
        for text in TEXTS
    ]


def generated(base: Base, engine: Engine, ask: Ask) -> list[float]:
    """The log-probabilities of the greedy tokens that transformers writes."""
    turns = [{"role": message.role, "content": message.text} for message in ask.messages]
    ids = torch.tensor([engine.render(turns, thinking=False).ids])
    ends = sorted(engine.vocabulary.ends)
    written = base.model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=ask.max_tokens,
        do_sample=False,
        eos_token_id=ends,
        pad_token_id=ends[0],
        output_logits=True,
        return_dict_in_generate=True,
    )
    tokens = written.sequences[0, ids.shape[1] :]
    return [
        float(torch.log_softmax(logits[0].float(), -1)[token])
        for token, logits in zip(tokens, written.logits, strict=True)
    ]


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in KINDS else pytest.mark.evidence) for n in FAMILIES],
)
@pytest.mark.parametrize("reuse", [True, False], ids=["reuse", "anew"])
def test_a_batch_writes_what_each_text_gets_alone(name, reuse):
    base = make_base(name)
    limits = EngineLimits(prefix_share=0.2 if reuse else 0.0, max_batch=3)
    with Engine(base, limits=limits) as engine:
        wanted = asks(name)
        expected = [generated(base, engine, ask) for ask in wanted]
        for _ in range(2):  # the second time, whole prompts are known
            for written, alone in zip(engine.write(wanted), expected, strict=True):
                assert written.logprobs == pytest.approx(alone, abs=2e-3)
        spared = engine.counts().spared_tokens
        assert (spared > 0) == (reuse and engine.abilities.reuse)
