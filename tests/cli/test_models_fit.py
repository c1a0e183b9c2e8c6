import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from cli.runner import run


def test_the_catalogue_against_this_machine(tmp_path):
    found = json.loads(run("models", "fit", "--json", "--memory", 4, cwd=tmp_path).stdout)
    cpu = found["devices"][-1]
    assert (cpu["kind"], cpu["bandwidth_source"]) == ("cpu", "measured")
    by_id = {one["id"]: one["verdict"] for one in found["checkpoints"]}
    assert by_id["Qwen/Qwen3-0.6B"]["fits"]
    assert by_id["Qwen/Qwen3-0.6B"]["decode"] > 0
    assert not by_id["deepseek-ai/DeepSeek-R1"]["fits"]
    assert by_id["deepseek-ai/DeepSeek-R1"]["reason"]


def test_a_folder(tmp_path):
    config = {
        "model_type": "qwen3", "hidden_size": 64, "num_hidden_layers": 4, "vocab_size": 1000,
        "num_attention_heads": 4, "max_position_embeddings": 4096,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file({"w": np.zeros((1000, 2000), np.float16)}, tmp_path / "model.safetensors")
    done = run("models", "fit", tmp_path, "--context", 2048, cwd=tmp_path)
    assert "0.002 billion parameters" in done.stderr
    assert "yes" in done.stdout
    assert "4,096" in done.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--precision", "int3"], "The precision must be one of fp32, bf16"),
        (["--memory", "0"], "--memory must be above 0, was 0"),
        (["no/such-model"], "no checkpoint 'no/such-model'"),
        (["."], "must be a folder with *.safetensors"),
        (["--benchmark", "nonesuch"], "score on a benchmark like 'nonesuch'"),
    ],
)
def test_says_what_it_cannot_do(options, said, tmp_path):
    assert said in run("models", "fit", *options, cwd=tmp_path, code=2).stderr
