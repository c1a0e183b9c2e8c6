import pytest

from catalog.fit.configs import DEEPSEEK_V3, GEMMA_3_1B, LLAMA_3_8B, QWEN3_NEXT
from openwheel.catalog.fit import (
    cache_bytes,
    from_config,
    precision,
    serving_memory,
    weight_bytes,
    work_bytes,
)
from openwheel.errors import SettingError

LLAMA = from_config(LLAMA_3_8B)


def test_keys_and_values_of_grouped_heads():
    # 32 layers, keys and values of 8 heads of 128, 2 bytes: 128 KiB a token
    assert cache_bytes(LLAMA, context=1) == 128 << 10
    assert cache_bytes(LLAMA, context=8192, batch=4) == 4 << 30


def test_latent_attention_keeps_the_compressed_row_alone():
    # DeepSeek-V2's paper: (512 + 64) values a token and a layer
    assert cache_bytes(from_config(DEEPSEEK_V3), context=1) == 61 * 576 * 2


def test_a_window_bounds_what_its_layers_keep():
    gemma = from_config(GEMMA_3_1B)
    each = 2 * 256 * 2
    assert cache_bytes(gemma, context=8192) == (4 * 8192 + 22 * 512) * each
    assert cache_bytes(gemma, context=8192, trimmed=False) == 26 * 8192 * each


def test_states_do_not_grow_with_the_context():
    hybrid = from_config(QWEN3_NEXT)
    growth = cache_bytes(hybrid, context=2000) - cache_bytes(hybrid, context=1000)
    assert growth == 12 * 1000 * (2 * 2 * 256) * 2  # the 12 layers with attention
    states = 36 * (32 * 128 * 128 * 4 + (2 * 16 * 128 + 32 * 128) * 3 * 2)
    assert cache_bytes(hybrid, context=0) == states


@pytest.mark.parametrize(
    ("name", "gigabytes"),
    [
        ("fp32", 32.1),
        ("bf16", 16.1),
        ("int8", 8.53),  # llama.cpp's own table: 8.50 bits a weight at Q8_0
        ("int4", 5.0),  # and 4.89 at Q4_K_M, 4.58 GiB
    ],
)
def test_weights_at_each_precision(name, gigabytes):
    assert weight_bytes(LLAMA, precision(name)) / 1e9 == pytest.approx(gigabytes, rel=0.02)


def test_names_of_precisions():
    assert precision("bfloat16") == precision("BF16") == precision("fp16")
    with pytest.raises(SettingError, match=r"must be one of fp32, bf16.*was 'int3'"):
        precision("int3")


def test_live_values_grow_with_the_prompt_and_shrink_with_chunks():
    whole = work_bytes(LLAMA, tokens=4096, context=4096)
    chunk = work_bytes(LLAMA, tokens=512, context=4096)
    assert whole == pytest.approx(8 * chunk, rel=0.01)
    assert work_bytes(LLAMA, tokens=4096, context=4096, batch=3) == pytest.approx(3 * whole, 0.01)


def test_only_a_processor_writes_out_the_scores_of_latent_attention():
    v3 = from_config(DEEPSEEK_V3)
    longer = work_bytes(v3, tokens=4096, context=4096) / work_bytes(v3, tokens=2048, context=2048)
    fused = work_bytes(v3, tokens=4096, context=4096, fused=True) / work_bytes(
        v3, tokens=2048, context=2048, fused=True
    )
    assert longer > 3
    assert fused == pytest.approx(2, rel=0.05)


def test_loading_holds_files_and_weights_where_their_precisions_differ():
    fp32 = precision("fp32")
    same = serving_memory(LLAMA, precision=fp32, context=256)
    converted = serving_memory(LLAMA, precision=fp32, context=256, stored=2.0)
    assert same.loading == same.weights
    assert converted.loading == pytest.approx(1.5 * same.weights, rel=0.001)
    assert converted.total == converted.loading
    assert same.total == same.running > same.weights
