import pytest

from catalog.fit.configs import LLAMA_3_8B, QWEN3_8B
from openwheel.catalog.fit import from_config, training_memory

LLAMA = from_config(LLAMA_3_8B)


def test_adapters_of_named_modules():
    found = training_memory(LLAMA, tokens=512, length=512, rank=8, targets=["q_proj", "v_proj"])
    assert found.learned == 32 * 8 * ((4096 + 4096) + (4096 + 1024))  # PEFT prints 3,407,872
    assert found.adapter == found.gradients == 4 * found.learned
    assert found.optimizer == 8 * found.learned


def test_logits_are_of_the_learned_positions_and_dominate_a_large_vocabulary():
    all_of_them = training_memory(LLAMA, tokens=4096, length=512, checkpointing=True)
    few = training_memory(LLAMA, tokens=4096, length=512, checkpointing=True, learned_tokens=256)
    assert all_of_them.logits == 4096 * 128256 * 12
    assert few.logits * 16 == all_of_them.logits
    assert all_of_them.logits > all_of_them.activations


def test_running_layers_again_saves_what_they_would_keep():
    kept = training_memory(LLAMA, tokens=2048, length=2048)
    again = training_memory(LLAMA, tokens=2048, length=2048, checkpointing=True)
    assert again.activations < kept.activations / 10
    assert again.total < kept.total


def test_a_mask_costs_the_square_of_the_length():
    qwen = from_config(QWEN3_8B)

    def extra(length: int) -> int:
        masked = training_memory(qwen, tokens=length, length=length, masked=True)
        return masked.activations - training_memory(qwen, tokens=length, length=length).activations

    copies = 36 * 2 * (32 - 8) * 128 * 4  # keys and values copied for all query heads, a token
    assert extra(1024) - 1024 * copies == 36 * 1024 * 1024 * 4
    assert extra(2048) - 2048 * copies == 36 * 2048 * 2048 * 4


def test_half_precision_halves_the_base_and_not_the_adapter():
    full = training_memory(LLAMA, tokens=512, length=512)
    half = training_memory(LLAMA, tokens=512, length=512, element=2)
    assert half.weights * 2 == full.weights
    assert half.optimizer == full.optimizer
    assert full.weights / 2 < half.total < full.total


def test_total_is_the_worst_moment():
    found = training_memory(LLAMA, tokens=512, length=512, learned_tokens=1, checkpointing=True)
    assert found.total == found.fixed + found.activations + max(found.logits, found.work)
    assert found.work > found.logits
    assert found.fixed == pytest.approx(found.weights, rel=0.1)
