"""Drafts of a tiny target: trained, measured, and used by transformers' assisted generation."""

import numpy as np
import pytest
import torch
from tokenizers import pre_tokenizers

from export import tiny
from openwheel.errors import ModelError
from openwheel.students.draft import (
    DraftSettings,
    against_answers,
    against_target,
    check_same_tokenizer,
    encode_captured,
    fit_vocabulary,
    shrink,
    train_draft,
)
from openwheel.students.draft.measure import write
from students.draft.answers import captured

FEW = DraftSettings(epochs=3, learning_rate=3e-3, batch=8, draft_tokens=4)


@pytest.fixture(scope="module")
def draft(target, examples):
    model = shrink(target, 1)
    train_draft(model, examples[:120], FEW)
    return model


def test_training_makes_a_draft_of_use(target, examples):
    model = shrink(target, 1)
    told = []
    report = train_draft(model, examples, FEW, tell=told.append)
    assert report.after.low > report.before.high
    assert report.after.answers == report.chosen_on == 16
    assert report.trained_on + 2 * 16 == len(examples)
    assert len(told) == 3
    again = against_answers(model, examples[-16:], 4)
    assert again == report.after  # what is measured is what was kept


@pytest.mark.evidence
def test_the_targets_probabilities_are_learned_where_it_is_here(target, examples):
    model = shrink(target, 1)
    report = train_draft(model, examples, FEW, target=target)
    assert report.distribution
    assert report.after.low > report.before.high


def assisted(target, draft, example, draft_tokens):
    """Let transformers decode with the draft; return the answer and the target's passes."""
    passes = 0

    def count(*_):
        nonlocal passes
        passes += 1

    draft.generation_config.num_assistant_tokens = draft_tokens
    draft.generation_config.num_assistant_tokens_schedule = "constant"
    draft.generation_config.assistant_confidence_threshold = 0.0
    hook = target.register_forward_hook(count)
    prompt = torch.tensor(example.ids[None, : example.prompt])
    ids = target.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        assistant_model=draft,
        do_sample=False,
        max_new_tokens=64,
        eos_token_id=int(example.ids[-1]),
        pad_token_id=3,
    )
    hook.remove()
    return ids[0].numpy(), passes


@pytest.mark.parametrize("draft_tokens", [pytest.param(1, marks=pytest.mark.evidence), 4])
def test_passes_are_those_of_assisted_generation_and_nothing_is_lost(
    target, draft, tokenizer, draft_tokens
):
    fresh = encode_captured(tokenizer, captured(6, seed=9), context=256)
    for example in fresh:
        alone = write(target, example, temperature=0.0, max_new_tokens=64)
        ids, passes = assisted(target, draft, example, draft_tokens)
        assert np.array_equal(ids, alone.ids)  # lossless
        measured = against_target(draft, target, [example], draft_tokens, max_new_tokens=64)
        assert measured.tokens / measured.length == pytest.approx(passes)


def test_a_target_drafting_for_itself_is_always_right(target, examples):
    for temperature in (0.0, 1.0):
        found = against_target(target, target, examples[-6:], 3, temperature=temperature)
        assert found.rate == pytest.approx(1.0, abs=1e-4)


@pytest.mark.evidence
def test_sampled_acceptance_is_between_useless_and_perfect(target, draft, examples):
    found = against_target(draft, target, examples[-8:], 4, temperature=1.0, max_new_tokens=40)
    untrained = against_target(
        tiny.model_of("qwen2"), target, examples[-8:], 4, temperature=1.0, max_new_tokens=40
    )
    assert 1.0 <= untrained.length < found.length <= 5.0


def test_the_first_layers_are_the_targets_own(target):
    model = shrink(target, 2)
    assert model.config.num_hidden_layers == 2
    ids = torch.arange(10)[None]
    theirs = target.model(ids, output_hidden_states=True).hidden_states[1]
    ours = model.model(ids, output_hidden_states=True).hidden_states[1]
    assert torch.equal(ours, theirs)
    for layers in (0, 3):
        with pytest.raises(ModelError, match="fewer than all 3 layers"):
            shrink(target, layers)


@pytest.mark.parametrize("family", ["gemma3_text", "smollm3", "granite", "llama"])
def test_the_first_layers_of_other_families(family):
    target = tiny.model_of(family)
    ids = torch.arange(12)[None]
    assert torch.isfinite(shrink(target, 1)(ids).logits).all()


def test_another_tokenizer_is_refused(tokenizer):
    other = tiny.byte_level("llama-bpe")
    with pytest.raises(ModelError, match=r"must have its target's tokenizer; a has .* from"):
        check_same_tokenizer(other, tokenizer, names=("a", "b"))
    same = tiny.byte_level("qwen2")
    check_same_tokenizer(same, tokenizer, names=("a", "b"))
    same.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    with pytest.raises(ModelError, match="cut text differently"):
        check_same_tokenizer(same, tokenizer, names=("a", "b"))


def test_the_embedding_gets_the_targets_rows():
    model = tiny.model_of("qwen2", size=520)
    ids = torch.arange(20)[None]
    before = model(ids).logits
    fit_vocabulary(model, 512, 505)
    assert model.config.vocab_size == model(ids).logits.shape[-1] == 512
    assert torch.allclose(model(ids).logits, before[..., :512], atol=1e-5)
    with pytest.raises(ModelError, match="a row for each of the 600 tokens, has 512"):
        fit_vocabulary(model, 640, 600)


def test_too_few_answers(target, examples):
    with pytest.raises(ModelError, match="needs at least 20 captured answers"):
        train_draft(shrink(target, 1), examples[:10], FEW)


def test_a_rate_that_diverges_is_said(target, examples):
    with pytest.raises(ModelError, match="diverged at step"):
        train_draft(
            shrink(target, 1),
            examples[:40],
            DraftSettings(learning_rate=1e30, epochs=4),
        )


def test_what_is_longer_than_the_context_is_left_out(tokenizer):
    given = captured(10)
    lengths = [len(each.ids) for each in encode_captured(tokenizer, given, context=256)]
    assert len(encode_captured(tokenizer, given, context=min(lengths))) == lengths.count(
        min(lengths)
    )
