import pytest

from catalog.fit.configs import (
    DEEPSEEK_V3,
    GEMMA_3_1B,
    GPT_OSS_20B,
    LLAMA_3_8B,
    MIXTRAL,
    QWEN3_8B,
    QWEN3_NEXT,
)
from openwheel.catalog.fit import from_config
from openwheel.errors import CatalogError


@pytest.mark.parametrize(
    ("config", "billions", "active"),
    [
        (QWEN3_8B, 8.19, 7.57),  # all as their model cards say; active without the embedding
        (LLAMA_3_8B, 8.03, 7.50),
        (DEEPSEEK_V3, 671.0, 36.6),
        (QWEN3_NEXT, 79.7, 3.56),
        (GEMMA_3_1B, 1.00, 1.00),
        (GPT_OSS_20B, 20.9, 3.61),
        (MIXTRAL, 46.7, 12.75),
    ],
)
def test_counts_the_published_weights(config, billions, active):
    found = from_config(config)
    assert found.parameters / 1e9 == pytest.approx(billions, rel=0.005)
    assert found.active / 1e9 == pytest.approx(active, rel=0.01)


def test_layers_without_attention_and_with_windows_are_told_apart():
    kinds = [layer.mixer.kind for layer in from_config(QWEN3_NEXT).layers]
    assert kinds.count("delta") == 36
    assert kinds[3] == "attention"
    windows = [layer.mixer.window for layer in from_config(GEMMA_3_1B).layers]
    assert windows[:6] == [512] * 5 + [0]
    assert [layer.mixer.window for layer in from_config(GPT_OSS_20B).layers][:2] == [128, 0]


def test_the_text_part_of_a_model_that_sees_is_taken():
    seeing = {"model_type": "gemma3", "text_config": GEMMA_3_1B, "vision_config": {"hidden": 1}}
    assert from_config(seeing).parameters == from_config(GEMMA_3_1B).parameters


def test_layer_types_of_the_config_come_before_patterns():
    listed = {**GEMMA_3_1B, "layer_types": ["full_attention"] * 26}
    assert {layer.mixer.window for layer in from_config(listed).layers} == {0}
    with pytest.raises(CatalogError, match="26 entries, one a layer, had 3"):
        from_config({**GEMMA_3_1B, "layer_types": ["full_attention"] * 3})


@pytest.mark.parametrize("field", ["hidden_size", "num_hidden_layers", "vocab_size"])
def test_says_which_field_is_missing(field):
    with pytest.raises(CatalogError, match=f"{field} must be a whole number above 0, was None"):
        from_config({key: value for key, value in LLAMA_3_8B.items() if key != field})


def test_says_what_it_leaves_out():
    assert from_config({**LLAMA_3_8B, "hc_mult": 4}).uncounted == ("hyper-connections",)
    assert from_config(LLAMA_3_8B).uncounted == ()
