"""Exports of a student, through the function that the command calls."""

import json
import shutil

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from export import tiny
from full_disk import full_disk
from openwheel.errors import ModelError
from openwheel.export import export, source_of

# PEFT's use of what transformers will drop.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")


def papers(_):
    return {"README.md": "# Card\n", "lineage.json": "{}\n"}


def logits(model, tokenizer):
    ids = tokenizer(tiny.LINES[0], return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        return model(ids).logits.float()


def test_an_adapter_folder_loads_in_peft(base, adapter, tmp_path):
    done = export(
        source_of(adapter.parent), tmp_path / "out", form="adapter", name="desk", papers=papers
    )
    tokenizer = AutoTokenizer.from_pretrained(base)
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), done.folder)
    original = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
    assert torch.equal(logits(loaded, tokenizer), logits(original, tokenizer))
    assert set(done.files) == {
        *("adapter_config.json", "adapter_model.safetensors"),
        *("LICENSE", "README.md", "lineage.json"),
    }
    assert "folder of this machine" in done.notes[0]


@pytest.mark.parametrize(("precision", "close"), [("fp32", 1e-4), ("fp16", 0.02), ("bf16", 0.15)])
def test_merged_weights_need_neither_peft_nor_the_base(base, adapter, tmp_path, precision, close):
    done = export(
        source_of(adapter),
        tmp_path / "out",
        form="merged",
        precision=precision,
        name="desk",
        papers=papers,
    )
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert (
        tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
        == "<|start|>user\nHi<|end|>\n"
    )
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    plain = AutoModelForCausalLM.from_pretrained(base)
    original = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
    truth = logits(original, tokenizer)
    assert (logits(merged, tokenizer) - truth).abs().max() < close
    assert (logits(plain, tokenizer) - truth).abs().max() > 10 * close  # the adapter matters
    assert done.agreement is not None
    assert done.agreement.relative <= done.agreement.tolerance
    assert (
        json.loads((tmp_path / "out" / "config.json").read_text())["dtype"]
        == {
            "fp32": "float32",
            "fp16": "float16",
            "bf16": "bfloat16",
        }[precision]
    )
    assert (tmp_path / "out" / "generation_config.json").exists()


def test_gguf_of_an_adapter_is_the_merged_model(base, adapter, tmp_path):
    done = export(
        source_of(adapter), tmp_path / "out", form="gguf", precision="f32", name="My desk",
        papers=papers, license_id="Apache-2.0",
    )  # fmt: skip
    assert set(done.files) == {"My-desk-f32.gguf", "LICENSE", "README.md", "lineage.json"}
    tokenizer = AutoTokenizer.from_pretrained(base)
    original = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out", gguf_file="My-desk-f32.gguf")
    assert torch.allclose(logits(loaded, tokenizer), logits(original, tokenizer), atol=1e-4)


def test_a_whole_checkpoint_is_exported_without_an_adapter(base, tmp_path):
    done = export(source_of(base), tmp_path / "out", form="gguf", precision="q8_0", name="d")
    assert done.agreement is None
    with pytest.raises(ModelError, match="has no adapter to export"):
        export(source_of(base), tmp_path / "no", form="adapter", name="d")
    assert not (tmp_path / "no").exists()


def test_a_base_that_is_not_the_adapters_is_refused(adapter, tmp_path):
    other = tiny.saved(tmp_path / "other", "llama", hidden_size=32)
    shutil.copytree(adapter, tmp_path / "mine")
    config = tmp_path / "mine" / "adapter_config.json"
    config.write_text(
        json.dumps({**json.loads(config.read_text()), "base_model_name_or_path": str(other)})
    )
    with pytest.raises(ModelError, match="cannot be put on its base"):
        export(source_of(tmp_path / "mine"), tmp_path / "out", form="merged", name="d")
    assert not (tmp_path / "out").exists()


def test_weights_that_are_not_finite_are_refused(adapter, tmp_path):
    shutil.copytree(adapter, tmp_path / "mine")
    weights = load_file(tmp_path / "mine" / "adapter_model.safetensors")
    weights[next(iter(weights))][0, 0] = float("nan")
    save_file(weights, tmp_path / "mine" / "adapter_model.safetensors")
    for form in ("adapter", "merged", "gguf"):
        with pytest.raises(ModelError):
            export(source_of(tmp_path / "mine"), tmp_path / form, form=form, name="d")
        assert not (tmp_path / form).exists()


def test_a_folder_in_use_is_left_alone(adapter, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(ModelError, match="must not exist or be empty"):
        export(source_of(adapter), tmp_path / "out", form="adapter", name="d")
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("form", ["adapter", "merged", "gguf"])
def test_a_full_disk_leaves_nothing_half(adapter, tmp_path, form):
    with full_disk(8_000), pytest.raises(ModelError):
        export(source_of(adapter), tmp_path / "out", form=form, name="d")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_with_too_little_room_is_found_before_anything_is_written(adapter, tmp_path):
    from openwheel.export.folder import whole_folder

    with pytest.raises(ModelError, match="of free disk"), whole_folder(tmp_path / "out", 1 << 60):
        raise AssertionError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("form", "precision", "match"),
    [
        ("adapter", "bf16", "leave --precision out"),
        ("merged", "q8_0", "must be one of fp32, bf16, fp16, was 'q8_0'"),
        ("gguf", "q4_k", "must be one of f32, f16, bf16, q8_0, was 'q4_k'"),
    ],
)
def test_precisions_that_there_are_not(adapter, tmp_path, form, precision, match):
    with pytest.raises(ModelError, match=match):
        export(source_of(adapter), tmp_path / "o", form=form, precision=precision, name="d")


def test_names_cannot_leave_the_folder(adapter, tmp_path):
    with pytest.raises(ModelError, match="The name of an export must be"):
        export(source_of(adapter), tmp_path / "o", form="gguf", name="../up")


def test_a_folder_that_holds_no_model(tmp_path):
    with pytest.raises(ModelError, match="holds none of these"):
        source_of(tmp_path)
