"""What is exported means the same in llama.cpp. Needs ``pip install xllamacpp``."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from export import tiny
from openwheel.inference.gguf import write_gguf

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("xllamacpp") is None, reason="xllamacpp is not installed"
    ),
]
TEXTS = [
    *tiny.LINES,
    "<|start|>user\nWhy?<|end|>\n<tool>x",
    " two  blanks",
    "x",
    " ".join(tiny.LINES[:2]),
]
ROPE = {"rope_theta": 10_000.0}
LLAMA3 = {
    **ROPE,
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {**ROPE, "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
# ggml computes GELU from a table in half precision.
CLOSE, GELU = 2e-5, 5e-3

CASES: list[tuple[str, dict[str, Any], float]] = [
    ("llama", {}, CLOSE),
    ("llama", {"rope_parameters": LLAMA3}, CLOSE),
    (
        "llama",
        {
            "attention_bias": True,
            "mlp_bias": True,
            "tie_word_embeddings": True,
            "head_dim": 32,
        },
        CLOSE,
    ),
    ("mistral", {}, CLOSE),
    ("qwen2", {}, CLOSE),
    ("qwen2", {"rope_parameters": YARN}, CLOSE),
    ("qwen3", {}, CLOSE),
    ("qwen3", {"rope_parameters": {**ROPE, "rope_type": "linear", "factor": 4.0}}, CLOSE),
    ("qwen3_5_text", {}, CLOSE),
    ("gemma2", {}, GELU),
    ("gemma2", {"sliding_window": 16}, GELU),
    ("gemma3_text", {}, GELU),
    ("gemma3_text", {"sliding_window": 16}, GELU),
    ("phi3", {}, CLOSE),
    (
        "phi3",
        {"rope_parameters": {**ROPE, "rope_type": "default", "partial_rotary_factor": 0.5}},
        CLOSE,
    ),
    ("smollm3", {}, CLOSE),
    ("granite", {}, CLOSE),
    ("granite", {"attention_bias": True, "mlp_bias": True}, CLOSE),
    ("granitemoehybrid", {}, CLOSE),
    ("lfm2", {}, CLOSE),
    ("olmo2", {}, CLOSE),
    ("ernie4_5", {}, CLOSE),
    ("hunyuan_v1_dense", {}, CLOSE),
    ("seed_oss", {}, CLOSE),
]


def ask(model: Path, texts: list[str], ids: list[list[int]]) -> dict[str, Any]:
    question = model.with_suffix(".json")
    question.write_text(json.dumps({"texts": texts, "ids": ids, "size": tiny.SIZE}))
    script = Path(__file__).with_name("run_llama_cpp.py")
    done = subprocess.run(
        [sys.executable, str(script), str(model), str(question)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    answers = [line for line in done.stdout.splitlines() if line.startswith("ANSWER")]
    assert answers, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(answers[-1].removeprefix("ANSWER"))


def farthest(folder: Path, file: Path, tokenizer: Any, texts: list[str] = TEXTS) -> float:
    """Return the largest difference of a log-probability; tokens must be the same."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    ids = [tokenizer(text)["input_ids"] for text in texts]
    answer = ask(file, texts, ids)
    assert answer["tokens"] == ids
    worst = 0.0
    for prompt, found in zip(ids, answer["logprobs"], strict=True):
        with torch.no_grad():
            true = model(torch.tensor([prompt])).logits[0, -1].double().log_softmax(-1)
        assert len(found) == tiny.SIZE
        worst = max(worst, *(abs(true[int(i)].item() - value) for i, value in found.items()))
    return worst


def test_of_a_model_that_reads_images_the_text_part_is_written(tmp_path):
    from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration

    tokenizer, folder = tiny.byte_level("qwen2"), tmp_path / "model"
    text = tiny.model_of("qwen3_5_text").config.to_dict()
    vision = {"depth": 1, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2}
    vision["out_hidden_size"] = text["hidden_size"]
    torch.manual_seed(7)
    whole = Qwen3_5ForConditionalGeneration(Qwen3_5Config(text_config=text, vision_config=vision))
    whole.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    report = write_gguf(folder, tmp_path / "model.gguf", precision="f32", name="tiny")
    assert report.notes[-1] == "It reads text alone: other parts are left out."
    assert farthest(folder, tmp_path / "model.gguf", tokenizer) < CLOSE


KINDS = ("llama", "qwen2", "gemma2", "phi3")  # the first case of each is always tried
FIRST = [next(i for i, case in enumerate(CASES) if case[0] == family) for family in KINDS]


@pytest.mark.parametrize(
    ("family", "changes", "close"),
    [
        pytest.param(*case, marks=() if i in FIRST else pytest.mark.evidence)
        for i, case in enumerate(CASES)
    ],
)
def test_each_family_computes_the_same(tmp_path, family, changes, close):
    tokenizer = tiny.byte_level("qwen2")
    folder = tiny.saved(tmp_path / "model", family, tokenizer, **changes)
    write_gguf(folder, tmp_path / "model.gguf", precision="f32", name="tiny")
    assert farthest(folder, tmp_path / "model.gguf", tokenizer) < close


@pytest.mark.parametrize(
    ("precision", "close"),
    [
        pytest.param("f16", 0.02, marks=pytest.mark.evidence),
        pytest.param("bf16", 0.15, marks=pytest.mark.evidence),
        ("q8_0", 0.5),
    ],
)
def test_lower_precisions_stay_near(tmp_path, precision, close):
    tokenizer = tiny.byte_level("llama-bpe", bos=True)
    folder = tiny.saved(tmp_path / "model", "llama", tokenizer)
    write_gguf(folder, tmp_path / "model.gguf", precision=precision, name="tiny")
    assert farthest(folder, tmp_path / "model.gguf", tokenizer) < close


CUTS = (
    *("gpt-2", "smollm", "smaug-bpe", "llama-bpe", "qwen35", "gpt-4o", "deepseek-v3"),
    "seed-coder",
)


@pytest.mark.parametrize(
    "kind", ["tekken", *(pytest.param(kind, marks=pytest.mark.evidence) for kind in CUTS)]
)
def test_each_pre_tokenizer_cuts_the_same(tmp_path, kind):
    tokenizer = tiny.byte_level(kind)
    folder = tiny.saved(tmp_path / "model", "llama", tokenizer)
    report = write_gguf(folder, tmp_path / "model.gguf", precision="f32", name="tiny")
    same = [text for text in TEXTS if not report.notes or "हिन्दी" not in text]
    assert farthest(folder, tmp_path / "model.gguf", tokenizer, same) < CLOSE


@pytest.mark.parametrize("prefix", [True, pytest.param(False, marks=pytest.mark.evidence)])
def test_sentencepiece_tokenizers_cut_the_same(tmp_path, prefix):
    tokenizer = tiny.sentencepiece(prefix=prefix)
    folder = tiny.saved(tmp_path / "model", "llama", tokenizer)
    write_gguf(folder, tmp_path / "model.gguf", precision="f32", name="tiny")
    assert farthest(folder, tmp_path / "model.gguf", tokenizer) < CLOSE
