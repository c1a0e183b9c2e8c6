"""GGUF files, read by the format's own reader and by transformers."""

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from export import tiny
from openwheel.errors import ModelError
from openwheel.inference.gguf import write_gguf


def written(folder, precision="f32", **more):
    target = folder.parent / "model.gguf"
    return target, write_gguf(folder, target, precision=precision, name="tiny", **more)


def each(families):
    """Parameters: some unlike ones always, the others as evidence."""
    always = {"llama", "qwen2", "gemma2", "granite"}
    return [pytest.param(f, marks=() if f in always else pytest.mark.evidence) for f in families]


# transformers' reader takes these from its own defaults, whatever the file says.
DEFAULTS = {
    "qwen3": {"head_dim": 128},
    "gemma2": {"head_dim": 256, "query_pre_attn_scalar": 256, "sliding_window": 4096},
}


@pytest.mark.parametrize("family", each(("llama", "mistral", "qwen2", "qwen3", "gemma2", "phi3")))
def test_transformers_reads_the_same_model(tmp_path, family):
    # That reader goes by the family, not by the pre-tokenizer that the file names.
    qwen = family.startswith("qwen")
    tokenizer = tiny.byte_level("qwen2" if qwen else "llama-bpe", bos=not qwen)
    folder = tiny.saved(tmp_path / "m", family, tokenizer, **DEFAULTS.get(family, {}))
    target, _ = written(folder)
    ids = tokenizer(tiny.LINES[1], return_tensors="pt")["input_ids"]
    model = AutoModelForCausalLM.from_pretrained(folder)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=target.name)
    with torch.inference_mode():
        assert torch.allclose(loaded(ids).logits, model(ids).logits, atol=1e-4)
    again = AutoTokenizer.from_pretrained(tmp_path, gguf_file=target.name)
    for line in tiny.LINES:
        assert again(line)["input_ids"] == tokenizer(line)["input_ids"]
    assert again.chat_template == tiny.TEMPLATE


@pytest.mark.parametrize("family", each(tiny.FAMILIES))
def test_the_reader_finds_every_weight(tmp_path, family):
    folder = tiny.saved(tmp_path / "m", family)
    target, report = written(folder)
    reader = gguf.GGUFReader(target)
    model = AutoModelForCausalLM.from_pretrained(folder)
    weights = sum(weight.numel() for weight in model.parameters())
    assert sum(int(np.prod(tensor.shape)) for tensor in reader.tensors) == weights
    assert len(reader.tensors) == report.tensors
    value = {key: field.contents() for key, field in reader.fields.items()}
    assert value["general.architecture"] == report.architecture
    assert value[f"{report.architecture}.block_count"] == model.config.num_hidden_layers
    assert value["tokenizer.chat_template"] == tiny.TEMPLATE


@pytest.mark.parametrize(
    ("precision", "bits"), [("f32", 32), ("f16", 16), ("bf16", 16), ("q8_0", 8.5)]
)
def test_precisions_take_the_room_they_say(tmp_path, precision, bits):
    target, report = written(tiny.saved(tmp_path / "m", "qwen2"), precision)
    matrices = [t for t in gguf.GGUFReader(target).tensors if len(t.shape) == 2]
    assert {t.tensor_type.name for t in matrices} == {precision.upper()}
    assert (
        sum(t.n_bytes for t in matrices) * 8 == sum(int(np.prod(t.shape)) for t in matrices) * bits
    )
    assert report.bytes == target.stat().st_size


def test_rows_that_no_block_fits_stay_at_half_precision(tmp_path):
    folder = tiny.saved(tmp_path / "m", "qwen2", intermediate_size=80)
    target, _ = written(folder, "q8_0")
    kinds = {t.name: t.tensor_type.name for t in gguf.GGUFReader(target).tensors}
    assert kinds["blk.0.ffn_down.weight"] == "F16"
    assert kinds["blk.0.ffn_up.weight"] == "Q8_0"
    assert kinds["blk.0.attn_norm.weight"] == "F32"


@pytest.mark.parametrize("precision", ["bf16", "q8_0"])
def test_convolutions_are_kept_whole(tmp_path, precision):
    target, _ = written(tiny.saved(tmp_path / "m", "lfm2"), precision)
    kinds = {t.name: t.tensor_type.name for t in gguf.GGUFReader(target).tensors}
    assert kinds["blk.0.shortconv.conv.weight"] == "F32"
    assert kinds["blk.0.shortconv.in_proj.weight"] == precision.upper()


def test_weights_too_large_for_half_precision_are_refused(tmp_path):
    folder = tmp_path / "m"
    model = tiny.model_of("qwen2")
    model.config.eos_token_id = 1
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = 1e6
    model.save_pretrained(folder)
    tiny.byte_level().save_pretrained(folder)
    with pytest.raises(ModelError, match="below 65504 for f16"):
        written(folder, "f16")
    written(folder, "bf16")


def test_a_sliding_window_shortens_the_context_where_llama_cpp_has_none(tmp_path):
    _, report = written(tiny.saved(tmp_path / "m", "mistral", sliding_window=64))
    assert "The context is 64 tokens" in report.notes[0]


ROPE = {"rope_theta": 10_000.0}


@pytest.mark.parametrize(
    ("family", "changes", "match"),
    [
        ("qwen3", {"attention_bias": True}, "must have no bias model.layers"),
        ("llama", {"hidden_act": "gelu"}, "The activation of a llama model must be silu"),
        (
            "llama",
            {"rope_parameters": {**ROPE, "rope_type": "dynamic", "factor": 2.0}},
            "must be linear, yarn or llama3 to export to GGUF, was dynamic",
        ),
        (
            "llama",
            {
                "rope_parameters": {
                    **ROPE,
                    "rope_type": "yarn",
                    "factor": 2.0,
                    "original_max_position_embeddings": 128,
                    "beta_fast": 16,
                }
            },
            "cannot say the rotary scaling's beta_fast",
        ),
        ("gemma2", {"query_pre_attn_scalar": 99}, "query scalar of a gemma2 model"),
        (
            "granitemoehybrid",
            {"layer_types": ["linear_attention", "full_attention"]},
            "must have attention in all layers, and no experts",
        ),
        ("granitemoehybrid", {"num_local_experts": 4}, "and no experts"),
        ("granitemoehybrid", {"position_embedding_type": None}, "must have rotary embeddings"),
        ("qwen3_5_text", {"linear_num_value_heads": 4}, "it has 4 and 2"),
        (
            "qwen3_5_text",
            {"layer_types": ["linear_attention", *["full_attention"] * 3]},
            "full attention at an even distance",
        ),
        ("smollm3", {"no_rope_layers": [1, 1, 1, 1]}, "Every fourth layer of a smollm3"),
    ],
)
def test_what_the_file_cannot_say_is_refused(tmp_path, family, changes, match):
    folder = tiny.saved(tmp_path / "m", family, **changes)
    with pytest.raises(ModelError, match=match):
        written(folder)


def test_other_families_are_refused_by_name(tmp_path):
    folder = tiny.saved(tmp_path / "m", "llama")
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"llama"', '"olmo3"'))
    with pytest.raises(ModelError, match="this model is olmo3"):
        written(folder)
