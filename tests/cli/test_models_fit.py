import json
import os

import pytest

from cli.runner import run


def test_the_catalogue_against_a_machine_with_a_card(tmp_path):
    # A tool that fails has found nothing.
    for name, does in (("nvidia-smi", "echo '0, NVIDIA L4, 23034, 22512'"), ("npu-smi", "exit 9")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    path = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = run("models", "fit", "--json", "--memory", 4, cwd=tmp_path, env=path)
    found = json.loads(done.stdout)
    assert [device["kind"] for device in found["devices"]] == ["cuda", "cpu"]
    assert found["devices"][1]["bandwidth_source"] == "measured"
    by_id = {one["id"]: one["verdict"] for one in found["checkpoints"]}
    assert by_id["Qwen/Qwen3-8B"]["device"] == "NVIDIA L4"
    assert by_id["Qwen/Qwen3-8B"]["precision"] == "bf16"
    assert by_id["Qwen/Qwen3-8B"]["rate"]["decode"] > 10
    assert not by_id["deepseek-ai/DeepSeek-R1"]["fits"]
    assert by_id["deepseek-ai/DeepSeek-R1"]["reason"]


def test_a_folder_that_only_has_a_config(tmp_path):
    config = {
        "model_type": "qwen3", "hidden_size": 1024, "intermediate_size": 3072,
        "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8,
        "head_dim": 128, "vocab_size": 151936, "tie_word_embeddings": True,
        "max_position_embeddings": 40960,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    fit = ("models", "fit", tmp_path, "--memory", 6)
    done = run(*fit, "--precision", "bf16", "--context", 2048, cwd=tmp_path)
    assert "0.596 billion parameters" in done.stderr
    assert "yes" in done.stdout
    training = run(*fit, "--for", "train", "--json", cwd=tmp_path)
    (verdict,) = json.loads(training.stdout)["verdicts"]
    assert verdict["precision"] == "fp32"
    assert verdict["needed"] > 4 * 596e6


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--precision", "int3"], "The precision must be one of fp32, bf16"),
        (["--memory", "0"], "--memory must be above 0, was 0"),
        (["no/such-model"], "no checkpoint 'no/such-model'"),
        (["--benchmark", "nonesuch"], "score on a benchmark like 'nonesuch'"),
    ],
)
def test_says_what_it_cannot_do(options, said, tmp_path):
    assert said in run("models", "fit", *options, cwd=tmp_path, code=2).stderr
