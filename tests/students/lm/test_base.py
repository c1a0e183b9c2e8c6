import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from inference.tiny import save_tiny, tiny_config, tiny_tokenizer
from openwheel.errors import ModelError
from openwheel.students.lm.base import load_base

torch = pytest.importorskip("torch", reason="the extra `lm` is not installed")


def test_a_folder_is_loaded_with_its_tokenizer_frozen_and_in_float32_on_a_cpu(model_folder):
    base = load_base(str(model_folder), device="cpu")
    assert (base.model_type, base.device, base.precision) == ("qwen3", "cpu", "float32")
    assert (base.path, base.revision) == (model_folder, "")
    assert not base.model.training
    assert not any(weight.requires_grad for weight in base.model.parameters())
    ids = base.tokenizer("the bank card", return_tensors="pt").input_ids
    assert base.model(ids).logits.shape == (1, ids.shape[1], len(base.tokenizer))


def test_a_precision_is_taken_or_named_as_wrong(model_folder):
    base = load_base(str(model_folder), device="cpu", precision="bfloat16")
    assert base.model.dtype == torch.bfloat16
    with pytest.raises(ModelError, match=r"precision must be auto, .* was 'int3'"):
        load_base(str(model_folder), device="cpu", precision="int3")


def test_infinity_is_read_as_transformers_writes_it(tmp_path):
    folder = save_tiny(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["time_step_limit"] = [0.0, {"__float__": "Infinity"}]
    (folder / "config.json").write_text(json.dumps(config))
    base = load_base(str(folder), device="cpu")
    assert list(base.model.config.time_step_limit) == [0.0, float("inf")]


def test_pickled_weights_are_refused(model_folder, tmp_path):
    folder = save_tiny(tmp_path)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"safetensors .* it holds pytorch_model\.bin"):
        load_base(str(folder), device="cpu")


def test_a_checkpoint_that_needs_its_own_code_is_refused_and_the_code_not_run(tmp_path):
    folder = save_tiny(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "newest",
        "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ModelError, match=r"'newest'.*without code of its own"):
        load_base(str(folder), device="cpu")
    assert not (tmp_path / "ran").exists()


def test_missing_weights_are_an_error_rather_than_random_numbers(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = save_tiny(tmp_path)
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 .*layers\.1\.mlp\.up_proj"):
        load_base(str(folder), device="cpu")


def test_weights_cut_short_are_an_error(tmp_path):
    folder = save_tiny(tmp_path)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_base(str(folder), device="cpu")


def test_a_kimi_k2_checkpoint_is_read_as_the_deepseek_v3_that_it_is(tmp_path):
    from transformers import DeepseekV3Config

    tokenizer = tiny_tokenizer()
    config = DeepseekV3Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        moe_intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        n_routed_experts=4,
        num_experts_per_tok=2,
        n_group=1,
        topk_group=1,
        kv_lora_rank=16,
        q_lora_rank=16,
        qk_rope_head_dim=8,
        qk_nope_head_dim=8,
        v_head_dim=16,
        first_k_dense_replace=1,
    )
    folder = save_tiny(tmp_path, tokenizer=tokenizer, config=config)
    fields = json.loads((folder / "config.json").read_text())
    fields |= {"model_type": "kimi_k2", "auto_map": {"AutoConfig": "own.KimiConfig"}}
    (folder / "config.json").write_text(json.dumps(fields))
    assert load_base(str(folder), device="cpu").model_type == "deepseek_v3"


@pytest.mark.parametrize(
    ("name", "revision", "message"),
    [
        ("no/such-model", "", "neither a folder nor in the hub's local cache"),
        ("no/such-model", "main", "must be a commit of 40 hexadecimal digits.*'main'"),
        # Where the hub cannot be reached, it is tried for half a minute.
        pytest.param("no/such-model", "0" * 40, "cannot be downloaded", marks=pytest.mark.evidence),
        ("not a name", "", "must be a folder or an id of the hub, was 'not a name'"),
    ],
)
def test_a_hub_id_is_pinned_by_commit(name, revision, message):
    with pytest.raises(ModelError, match=message):
        load_base(name, revision=revision, device="cpu")


FINDS = """
from openwheel.inference.checkpoint import find_checkpoint
from openwheel.errors import ModelError
"""


def find(program, **environment):
    """Run a program that finds a checkpoint; return what it printed."""
    # huggingface_hub reads its environment when it is imported.
    done = subprocess.run(
        [sys.executable, "-c", f"{FINDS}{program}"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_a_hub_does_not_give_is_said(tmp_path):
    program = (
        "try:\n"
        "    find_checkpoint('no/such-model', revision=40 * '0')\n"
        "except ModelError as error:\n"
        "    print(error)"
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), Nothing) as hub:
        thread = threading.Thread(target=hub.serve_forever, args=(0.02,))
        thread.start()
        url = f"http://127.0.0.1:{hub.server_address[1]}"
        said = find(program, HF_ENDPOINT=url, HF_HUB_CACHE=str(tmp_path))
        hub.shutdown()
        thread.join()
    assert "cannot be downloaded" in said
    assert "404" in said


class Nothing(BaseHTTPRequestHandler):
    """A hub that has nothing."""

    def do_GET(self):
        self.send_error(404)

    def do_HEAD(self):
        self.send_error(404)

    def log_message(self, *_):
        pass


def test_a_cached_hub_model_is_used_at_the_commit_it_was_cached_at(tmp_path, model_folder):
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "models--an--id"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(commit)
    (cached / "snapshots").mkdir()
    (cached / "snapshots" / commit).symlink_to(model_folder)
    program = "print(find_checkpoint('an/id').revision)"
    assert find(program, HF_HUB_CACHE=str(tmp_path), HF_HUB_OFFLINE="1") == commit


def test_a_vision_encoder_is_refused(tmp_path):
    from transformers import ViTConfig

    folder = save_tiny(tmp_path)
    ViTConfig().save_pretrained(folder)
    with pytest.raises(ModelError, match=r"must be a causal language model.*'vit'"):
        load_base(str(folder), device="cpu")


def test_a_tiny_config_must_be_one_of_its_class(tmp_path):
    folder = save_tiny(tmp_path, config=tiny_config(tiny_tokenizer()))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_size": "wide"}))
    with pytest.raises(ModelError, match="is not one of qwen3"):
        load_base(str(folder), device="cpu")
