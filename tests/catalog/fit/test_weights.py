"""Weights by headers, caches by configurations."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from openwheel.catalog import load_catalog
from openwheel.catalog.configs import shape_of
from openwheel.catalog.fit import cache_bytes, of_folder, of_row
from openwheel.errors import CatalogError

CONFIG = {
    "model_type": "qwen3", "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 100, "max_position_embeddings": 512,
}  # fmt: skip


def folder(path, tensors, **changes):
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps({**CONFIG, **changes}))
    arrays = {name: np.zeros(shape, np.float16) for name, shape in tensors.items()}
    save_file(arrays, path / "model.safetensors")
    return path


def test_a_folder_is_counted_by_its_headers(tmp_path):
    tensors = {"model.embed_tokens.weight": (100, 64), "lm_head.weight": (100, 64), "w": (8, 8)}
    # The same weights under another name, as some publishers put them beside.
    path = folder(tmp_path / "m", tensors)
    save_file({"w": np.zeros(9, np.float16)}, path / "consolidated.safetensors")
    found = of_folder(path)
    assert (found.parameters, found.tables, found.stored) == (12864, 12800, 2 * 12864)
    assert found.active == 6464  # one row of the embedding is read
    assert (found.context, found.fixed) == (512, False)


def test_of_experts_those_that_are_chosen_are_read(tmp_path):
    tensors = {"model.layers.0.mlp.experts.gate_up_proj": (8, 10, 10), "other": (100,)}
    found = of_folder(folder(tmp_path / "m", tensors, num_experts=8, num_experts_per_tok=2))
    assert (found.parameters, found.active) == (900, 300)


def test_gguf_runs_as_it_lies_there(tmp_path):
    gguf = pytest.importorskip("gguf", reason="the extra `export` is not installed")
    path = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(path, "qwen3")
    for add, value in (
        (writer.add_block_count, 4),
        (writer.add_embedding_length, 64),
        (writer.add_head_count, 4),
        (writer.add_head_count_kv, 2),
        (writer.add_key_length, 16),
        (writer.add_context_length, 512),
    ):
        add(value)
    writer.add_tensor("token_embd.weight", np.zeros((100, 64), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    for found in (of_folder(path), of_folder(tmp_path)):
        assert (found.parameters, found.active, found.stored) == (6400, 6400, 12800)
        assert found.fixed
        assert found.context == 512
        assert cache_bytes(found.shape, context=10) == cache_bytes(shape_of(CONFIG), context=10)


@pytest.mark.parametrize(
    ("changes", "values"),
    [
        ({}, 4 * 64 * 1000),
        ({"num_key_value_heads": None, "head_dim": None}, 4 * 128 * 1000),
        ({"layer_types": ["full_attention"] + ["sliding_attention"] * 3, "sliding_window": 10},
         64 * (1000 + 3 * 10)),
        ({"sliding_window_pattern": 2, "sliding_window": 10}, 64 * 2 * (1000 + 10)),
        ({"sliding_window": 10}, 4 * 64 * 1000),  # which layers have it is not said
        ({"layer_types": ["full_attention", "linear_attention", "mamba", "conv"]}, 64 * 1000),
        ({"full_attention_interval": 4}, 64 * 1000),
        ({"kv_lora_rank": 32, "qk_rope_head_dim": 8}, 4 * 40 * 1000),
    ],
)  # fmt: skip
def test_a_cache_by_its_configuration(changes, values):
    shape = shape_of({**CONFIG, **changes})
    assert cache_bytes(shape, context=1000, batch=3) == 3 * values * 2


def test_a_cache_that_a_configuration_does_not_give():
    assert shape_of({"model_type": "mamba", "hidden_size": 64}) is None


def test_a_row_has_its_published_weights():
    catalog = load_catalog([])
    found = of_row(catalog.find("google/gemma-3-270m"))
    assert found.parameters == pytest.approx(268e6, rel=0.01)
    assert found.tables == 640 * 262144
    assert found.active == found.parameters
    mixture = of_row(catalog.find("Qwen/Qwen3-30B-A3B"))
    assert mixture.active < mixture.parameters / 5


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "must be a folder with .*safetensors or a .gguf file"),
        ({"a.gguf": b"", "b.gguf": b""}, "holds 2 GGUF files; name one"),
        ({"model.safetensors": b"\x02\0\0\0\0\0\0\0{}"}, "config.json cannot be read"),
        ({"model.safetensors": b"\x02\0\0\0\0\0\0\0{}", "config.json": b"["}, "must be JSON"),
        ({"model.safetensors": b"\x02\0\0\0\0\0\0\0{}", "config.json": b"[]"}, "held list"),
    ],
)
def test_a_folder_that_cannot_be_counted(tmp_path, files, says):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CatalogError, match=says):
        of_folder(tmp_path)
