import json

import msgspec
import numpy as np
import pytest
from safetensors.numpy import save_file

from catalog.fit.configs import DEEPSEEK_V3, LLAMA_3_8B
from openwheel.catalog import load_catalog
from openwheel.catalog.fit import cache_bytes, from_config, from_folder, from_row
from openwheel.catalog.rows import Checkpoint, Shape
from openwheel.errors import CatalogError

TINY = {
    "model_type": "llama",
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 32,
}


def row(**fields):
    shape = Shape(**fields, confidence="B", source="config.json")
    return Checkpoint(
        id="org/name",
        organisation="Org",
        country="FR",
        family="F",
        licence="MIT",
        model_type="llama",
        shape=shape,
        confidence="B",
        source="here",
    )


def test_a_rows_shape_gives_what_its_config_gives():
    dense = row(
        layers=32, hidden=4096, heads=32, kv_heads=8, head_dim=128, vocab=128256,
        intermediate=14336,
    )  # fmt: skip
    llama = from_config(LLAMA_3_8B)
    assert from_row(dense).parameters == pytest.approx(llama.parameters, rel=0.001)
    assert cache_bytes(from_row(dense), context=99) == cache_bytes(llama, context=99)
    experts = row(
        layers=61, hidden=7168, heads=128, kv_heads=128, head_dim=128, vocab=129280,
        intermediate=18432, experts=256, experts_per_token=8, expert_intermediate=2048,
        shared_experts=1, dense_layers=3, latent=576,
    )  # fmt: skip
    v3 = from_config(DEEPSEEK_V3)
    assert from_row(experts).parameters == pytest.approx(v3.parameters, rel=0.02)
    assert cache_bytes(from_row(experts), context=99) == cache_bytes(v3, context=99)


def test_hybrid_shapes_keep_states_and_windows():
    hybrid = row(
        layers=8, hidden=64, heads=4, kv_heads=2, head_dim=16, vocab=100, intermediate=128,
        cached_layers=4, sliding_layers=3, sliding_window=10, state=4000,
    )  # fmt: skip
    each = 2 * 2 * 16 * 2
    expected = (1000 + 3 * 10) * each + 4000 * 4
    assert cache_bytes(from_row(hybrid), context=1000) == expected


def test_a_folders_weights_are_counted_in_its_files(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    save_file({"a": np.zeros((10, 10), np.float16)}, tmp_path / "model-1.safetensors")
    save_file({"b": np.zeros(50, np.float32)}, tmp_path / "model-2.safetensors")
    found = from_folder(tmp_path)
    assert found.architecture.parameters == 150
    assert found.stored == pytest.approx(400 / 150)
    assert from_folder(tmp_path / "config.json") == found


def test_packed_weights_are_not_counted_as_values(tmp_path):
    config = {**TINY, "quantization_config": {"quant_method": "mxfp4"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file({"a": np.zeros(64, np.uint8)}, tmp_path / "model.safetensors")
    found = from_folder(tmp_path)
    assert found.quantised
    assert found.architecture.parameters == from_config(TINY).parameters


def test_says_what_is_wrong_with_a_folder(tmp_path):
    with pytest.raises(CatalogError, match=r"config\.json cannot be read"):
        from_folder(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CatalogError, match="must be JSON"):
        from_folder(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(CatalogError, match="must hold an object, held list"):
        from_folder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(CatalogError, match="must be a safetensors file"):
        from_folder(tmp_path)
    (tmp_path / "model.safetensors").write_bytes((5).to_bytes(8, "little") + b"[{}]x")
    with pytest.raises(CatalogError, match="must be a safetensors file"):
        from_folder(tmp_path)


def test_shapes_in_the_catalogue_give_the_published_sizes():
    checked = 0
    for row in load_catalog().checkpoints:
        if row.shape is None or row.total_parameters is None or row.kind != "lm":
            continue
        bare = msgspec.structs.replace(row, total_parameters=None, active_parameters=None)
        # Some are published rounded, or with a part that sees.
        billions = from_row(bare).parameters / 1e9
        assert billions == pytest.approx(row.total_parameters, rel=0.12), row.id
        checked += 1
    assert checked > 100
