"""``openwheel models``."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from cli.runner import run as openwheel

OURS = """
[[licence]]
id = "LicenseRef-Acme"
name = "Acme licence"
outputs_may_train = "no"
confidence = "A"
source = "our own"

[[checkpoint]]
id = "acme/ours-1b"
organisation = "Acme"
country = "FI"
family = "Ours"
total_parameters = 0.001
licence = "LicenseRef-Acme"
model_type = "llama"
confidence = "A"
source = "our own"
"""


@pytest.fixture
def models(tmp_path):
    def run(*arguments, code=0):
        cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
        done = openwheel("models", *arguments, cwd=tmp_path, code=code, env=cache)
        run.said = done.stderr
        return done.stdout

    run.json = lambda *arguments: json.loads(run(*arguments, "--json"))
    run.ids = lambda *arguments: [row["id"] for row in run.json(*arguments)["checkpoints"]]
    return run


def test_all_are_listed_the_smallest_first(models):
    found = models.json()["checkpoints"]
    sizes = [row["total_parameters"] or float("inf") for row in found]
    assert sizes == sorted(sizes)
    assert len(found) > 150
    lines = models().splitlines()
    assert lines[0].split() == [
        *("checkpoint", "billions", "context", "released", "home", "licence", "trains")
    ]
    assert len(lines) == len(found) + 1
    assert f"{len(found)} of {len(found)} checkpoints" in models.said


def test_the_list_is_narrowed(models):
    narrow = models.json(
        *("--family", "qwen", "--country", "cn", "--max-parameters", "1", "--licence", "apache")
    )["checkpoints"]
    assert {row["family"] for row in narrow} >= {"Qwen3", "Qwen2.5"}
    assert all(row["total_parameters"] <= 1 and row["country"] == "CN" for row in narrow)
    assert all(row["licence"] == "Apache-2.0" for row in narrow)
    assert models.ids("--organisation", "liquid", "--max-parameters", "0.5") == [
        "LiquidAI/LFM2-350M"
    ]
    encoders = models.ids("--encoders")
    assert "sentence-transformers/all-MiniLM-L6-v2" in encoders
    assert "Qwen/Qwen3-0.6B" not in encoders
    assert models.ids("--family", "no such family") == []


def test_those_whose_answers_may_not_train_others_are_left_out_on_request(models):
    every = set(models.ids())
    allowed = set(models.ids("--may-train-others"))
    assert "Qwen/Qwen3-0.6B" in allowed
    assert "meta-llama/Llama-3.2-1B" in allowed
    left_out = every - allowed
    assert "tencent/Hunyuan-0.5B-Instruct" in left_out
    assert "mistralai/Mistral-Large-Instruct-2411" in left_out
    assert "moonshotai/Kimi-K3" in left_out  # not known is not allowed


def test_one_is_shown_in_full(models):
    shown = models("show", "meta-llama/llama-3.2-1b")
    assert shown.startswith("meta-llama/Llama-3.2-1B\n")
    assert "begins with 'Llama'" in shown
    assert "Built with Llama" in shown
    assert "above 700,000,000 active users a month" in shown
    assert "LlamaForCausalLM" in shown
    told = models.json("show", "deepseek-ai/DeepSeek-R1-Distill-Llama-8B")
    assert [licence["id"] for licence in told["licences"]] == ["MIT", "LicenseRef-Llama-3.1"]
    assert told["checkpoint"]["may_train_others"] == "conditional"
    assert told["family"]["attention_targets"] == ["q_proj", "k_proj", "v_proj", "o_proj"]
    assert "none: no class in transformers" in models("show", "moonshotai/Kimi-K3")


def test_a_folder_is_shown_as_what_lies_in_it(models, tmp_path):
    config = {
        "model_type": "gemma3_text", "hidden_size": 640, "num_hidden_layers": 18,
        "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256,
        "intermediate_size": 2048, "vocab_size": 262144,
    }  # fmt: skip
    folder = tmp_path / "ours"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_file({"w": np.zeros((1000, 1000), np.float16)}, folder / "model.safetensors")
    told = models.json("show", folder)
    assert [one["checkpoint"]["id"] for one in told["checkpoints"]] == [
        "google/gemma-3-270m",
        "google/gemma-3-270m-it",
    ]
    assert told["told_by"] == "configuration"
    assert (told["weights"]["parameters"], told["weights"]["stored"]) == (10**6, 2 * 10**6)
    assert "Gemma Terms of Use" in models("show", folder)
    (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 64}))
    assert models.json("show", folder)["checkpoints"] == []


def test_two_are_compared(models):
    lines = models("compare", "Qwen/Qwen3-0.6B", "google/gemma-3-1b-it").splitlines()
    by_name = {line.split("  ")[0].strip(): line for line in lines}
    assert by_name["licence"].rstrip().endswith("*")
    assert not by_name["kind"].rstrip().endswith("*")
    pair = models.json("compare", "Qwen/Qwen3-0.6B", "google/gemma-3-1b-it")["checkpoints"]
    assert [one["checkpoint"]["licence"] for one in pair] == ["Apache-2.0", "LicenseRef-Gemma"]


def test_ones_own_rows_by_option_and_by_setting(models, tmp_path):
    (tmp_path / "ours.toml").write_text(OURS)
    assert models.ids("--catalog", "ours.toml")[0] == "acme/ours-1b"
    assert "Acme licence" in models("show", "acme/ours-1b", "--catalog", "ours.toml")
    models("show", "acme/ours-1b", code=2)
    assert "no checkpoint 'acme/ours-1b'" in models.said
    (tmp_path / "openwheel.toml").write_text("[catalog]\nfiles = ['ours.toml']\n")
    assert "Acme licence" in models("show", "acme/ours-1b")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "Qwen3-0.6B"], "did you mean Qwen/Qwen3-0.6B"),
        (["compare", "Qwen/Qwen3-0.6B", "x"], "no checkpoint 'x'"),
        (["--max-parameters", "0"], "--max-parameters must be above 0, was 0"),
        (["--country", "FR", "show", "Qwen/Qwen3-0.6B"], "--country must come after"),
        (["--catalog", "none.toml"], "no catalogue file none.toml"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(models, arguments, said):
    models(*arguments, code=2)
    assert said in models.said
    assert models.said.count("\n") == 1
