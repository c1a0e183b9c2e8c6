"""An adapter scores in llama.cpp as in transformers, in every family that has a file."""

import contextlib
import json
import urllib.request
from pathlib import Path

import pytest
import torch

from export import tiny as models
from inference.served import front_thread, gguf_of, random_adapter
from inference.tiny import CHATML
from openwheel.errors import EngineError, ModelError
from openwheel.inference import Ask, Constraint
from openwheel.inference.completion import completion_request, read_completion
from openwheel.inference.front import read_adapter
from openwheel.inference.gguf.families import FAMILIES
from openwheel.inference.gguf.lora import write_lora
from openwheel.inference.remote import RemoteWriter
from openwheel.students.lm.base import load_base
from openwheel.students.lm.framing import frame_of, is_exact
from openwheel.wire import PromptMessage

peft = pytest.importorskip("peft", reason="the extra `lm` is not installed")
pytest.importorskip("xllamacpp", reason="the extra `serve` is not installed")

CHOICES = ("billing", "bill", "shipping now", "returns")
TEXTS = ("the bank card", "billing", " two  blanks ", "please help me to pay the bill today")
ASKED = [(PromptMessage("system", "please help"), PromptMessage("user", text)) for text in TEXTS]
# ggml computes GELU from a table in half precision.
NEAR = {"gemma2": 2e-2, "gemma3_text": 2e-2}


def written_by(url, ask):
    """Return what llama.cpp writes, and its tokens."""
    request = urllib.request.Request(
        f"{url}/completion",
        json.dumps(completion_request(ask)).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        data = answer.read()
    tokens = [token["id"] for token in json.loads(data)["completion_probabilities"]]
    return read_completion(data, ask, url), tokens


def scored(model, tokenizer, prompt, written):
    """Return the log-probabilities of an answer's tokens, and margins, as transformers has them."""
    before = [prompt.first, *tokenizer(prompt.text, add_special_tokens=False)["input_ids"]]
    with torch.no_grad():
        logits = model(torch.tensor([[*before, *written]])).logits[0].double().log_softmax(-1)
    found = []
    for at, token in enumerate(written, len(before) - 1):
        others = logits[at].clone()
        others[token] = -torch.inf
        found.append((logits[at, token].item(), (logits[at, token] - others.max()).item()))
    return found


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(
            name,
            marks=() if name in {"llama", "qwen3", "granitemoehybrid"} else pytest.mark.evidence,
        )
        for name in FAMILIES
    ],
)
def test_each_familys_adapter_scores_as_in_transformers(tmp_path: Path, family: str) -> None:
    tokenizer = models.byte_level("qwen2")
    tokenizer.chat_template = CHATML
    folder = models.saved(tmp_path / "base", family, tokenizer)
    loaded = load_base(str(folder))
    base, tokenizer = loaded.model, loaded.tokenizer  # as its class reads it
    adapter = random_adapter(folder, tmp_path / "adapter")
    frame = frame_of(tokenizer)
    assert frame is not None
    assert is_exact(frame, tokenizer, ASKED, thinking=False)
    both = peft.PeftModel.from_pretrained(load_base(str(folder)).model, adapter).eval()
    near = NEAR.get(family, 1e-4)
    with front_thread(gguf_of(folder), adapters={"student": adapter}) as (_, url):
        for name, model in (("tiny", base), ("student", both)):
            for messages in ASKED:
                prompt = frame.prompt(messages)
                constraint = Constraint(choices=CHOICES)
                ask = Ask(model=name, messages=messages, prompt=prompt, constraint=constraint)
                written, tokens = written_by(url, ask)
                assert written.text in CHOICES
                true = scored(model, tokenizer, prompt, tokens)
                assert written.logprobs == pytest.approx([one for one, _ in true], abs=near)
                assert written.margins == pytest.approx([gap for _, gap in true], abs=near)


def test_what_llama_cpp_does_not_do_is_told(tmp_path: Path, model_folder: Path) -> None:
    from transformers import AutoConfig, GPT2Config

    config = AutoConfig.from_pretrained(model_folder)
    with pytest.raises(ModelError, match="this base is gpt2"):
        write_lora(tmp_path, tmp_path / "a.gguf", GPT2Config())
    with pytest.raises(ModelError, match=r"adapter_config\.json cannot be read"):
        write_lora(tmp_path, tmp_path / "a.gguf", config)
    (tmp_path / "adapter_config.json").write_text(
        '{"peft_type": "LORA", "lora_alpha": 8, "r": 4, "use_dora": true}'
    )
    with pytest.raises(ModelError, match="is LoRA with use_dora"):
        write_lora(tmp_path, tmp_path / "a.gguf", config)
    assert not (tmp_path / "a.gguf").exists()
    with pytest.raises(ModelError, match="trained by an early version"):
        read_adapter(tmp_path)
    with contextlib.closing(RemoteWriter("http://127.0.0.1:1")) as writer:
        ask = Ask(model="m", messages=ASKED[0])
        with pytest.raises(EngineError, match="train it again"):
            writer.write([ask])
