"""When an export is near enough to what it was made of."""

import pytest
import torch

from export import tiny
from openwheel.errors import ModelError
from openwheel.export.compare import TOLERANCES, agree, logits_on


@pytest.fixture(scope="module")
def models():
    return tiny.model_of("llama"), tiny.byte_level()


def test_the_same_model_agrees_wholly(models):
    model, tokenizer = models
    found = agree(
        logits_on(model, tokenizer, tiny.LINES), logits_on(model, tokenizer, tiny.LINES), "float32"
    )
    assert (found.relative, found.largest, found.same_top) == (0.0, 0.0, 1.0)
    assert found.texts == 3 + len(tiny.LINES)


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_rounding_is_within_its_tolerance_and_beyond_that_of_float32(models, precision):
    model, tokenizer = models
    rounded = tiny.model_of("llama").to(getattr(torch, precision)).float()
    pair = logits_on(model, tokenizer, ()), logits_on(rounded, tokenizer, ())
    assert 0 < agree(*pair, precision).relative < TOLERANCES[precision] / 3
    with pytest.raises(ModelError, match="nothing was exported"):
        agree(*pair, "float32")


def test_one_layer_that_was_not_merged_is_found(models):
    model, tokenizer = models
    other = tiny.model_of("llama")
    with torch.no_grad():
        layer = other.model.layers[1].self_attn.v_proj.weight
        layer += 0.1 * torch.randn_like(layer)  # about as much as there was
    with pytest.raises(ModelError, match="of the original's spread"):
        agree(logits_on(model, tokenizer, ()), logits_on(other, tokenizer, ()), "bfloat16")


def test_what_is_not_a_number_never_agrees():
    true = [torch.randn(3, 5)]
    with pytest.raises(ModelError):
        agree(true, [torch.full((3, 5), float("nan"))], "bfloat16")
    with pytest.raises(ModelError, match="logits of shape"):
        agree(true, [torch.randn(3, 6)], "bfloat16")
