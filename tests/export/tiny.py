"""Tiny models of many families with random weights, and tokenizers trained on a few lines."""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from openwheel.inference.gguf.pretokenizers import PRE_TOKENIZERS, pre_tokenizer

LINES = [
    "The card has not arrived yet and I would like to know where it is, please.",
    "My payment of 120 euros was declined twice; what's wrong with the card?",
    "Please transfer 45,000 from the savings account to the current account today.",
    "Why don't we see the refund? It was promised on 12 March 2026 (order 99812).",
    "Straße naïve café 漢字 русский текст और हिन्दी with   blanks\n\nand lines\n",
    "def total(items): return sum(item['price'] * item['count'] for item in items)",
]
TEMPLATE = (
    "{% for m in messages %}<|start|>{{ m['role'] }}\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
SPECIAL = ["<|bos|>", "<|end|>", "<|start|>", "<|pad|>"]
SIZE = 512

# What differs from a Llama-like model of hidden 64 with 2 layers, 4 heads and 2 key-value heads.
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": False},
    "mistral": {"sliding_window": None},
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {"head_dim": 32},
    "qwen3_5_text": {
        "head_dim": 32,
        "num_hidden_layers": 4,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
    },
    "gemma2": {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 64},
    "gemma3_text": {
        "head_dim": 16,
        "query_pre_attn_scalar": 16,
        "sliding_window": 64,
        "num_hidden_layers": 7,
    },
    "phi3": {"pad_token_id": 0},
    "smollm3": {"num_hidden_layers": 4},
    "granite": {
        "embedding_multiplier": 3.0,
        "residual_multiplier": 0.4,
        "attention_multiplier": 0.2,
        "logits_scaling": 2.0,
    },
    "granitemoehybrid": {
        "embedding_multiplier": 3.0,
        "residual_multiplier": 0.4,
        "attention_multiplier": 0.2,
        "logits_scaling": 2.0,
        "layer_types": ["full_attention"] * 2,
        "num_local_experts": 0,
        "shared_intermediate_size": 96,
        "position_embedding_type": "rope",
        "mamba_n_heads": 8,
    },
    "lfm2": {
        "num_hidden_layers": 3,
        "layer_types": ["conv", "full_attention", "conv"],
        "block_multiple_of": 32,
    },
    "olmo2": {},
    "ernie4_5": {},
    "hunyuan_v1_dense": {"head_dim": 16},
    "seed_oss": {"head_dim": 16},
}


def model_of(family: str, size: int = SIZE, **changes: Any) -> Any:
    """Return a tiny model with random weights, the same at every call."""
    torch.manual_seed(7)
    given = {
        "vocab_size": size,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "bos_token_id": None,
        "eos_token_id": 1,
        "pad_token_id": 3,
        "initializer_range": 0.1,
        **FAMILIES[family],
        **changes,
    }
    config = CONFIG_MAPPING[family](**given)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for name, weights in model.named_parameters():
        if name.endswith(("norm.weight", ".bias")):
            torch.nn.init.normal_(weights, mean=weights.detach().mean().item(), std=0.2)
    return model.eval()


def byte_level(kind: str = "qwen2", *, bos: bool = False) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer that cuts words by one of the known rules."""
    rule = next(rule for rule in PRE_TOKENIZERS if rule.name == kind)
    backend = Tokenizer(models.BPE(ignore_merges=rule.ignore_merges))
    backend.pre_tokenizer = pre_tokenizer(rule)
    backend.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=SIZE - 8,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(LINES, trainer)
    return _wrapped(backend, bos=bos)


def sentencepiece(*, prefix: bool = True, whole: bool = True) -> PreTrainedTokenizerFast:
    """Return a Llama-2-like tokenizer: BPE over characters that falls back on bytes.

    Args:
        prefix: Whether a blank is put before a text.
        whole: Whether every pair whose join is a token is a merge, as conversion from
            SentencePiece makes it; training alone does not.
    """
    backend = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    replace = normalizers.Replace(" ", "\u2581")
    parts = [normalizers.Prepend("\u2581"), replace] if prefix else [replace]
    backend.normalizer = normalizers.Sequence(parts)
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("(?=\u2581)"), "isolated")
    trainer = BpeTrainer(
        vocab_size=SIZE - 8,
        special_tokens=["<unk>", "<|bos|>", "<|end|>", "<|start|>", "<|pad|>"]
        + [f"<0x{byte:02X}>" for byte in range(256)],
        show_progress=False,
    )
    backend.train_from_iterator(LINES[:4], trainer)
    saved = json.loads(backend.to_str())
    saved["pre_tokenizer"] = None
    saved["added_tokens"] = [t for t in saved["added_tokens"] if not t["content"].startswith("<0x")]
    saved["decoder"] = json.loads(decoders.ByteFallback().__getstate__())
    if whole:
        saved["model"]["merges"] = _all_merges(saved["model"])
    return _wrapped(Tokenizer.from_str(json.dumps(saved)), bos=True)


def _all_merges(model: dict[str, Any]) -> list[list[str]]:
    vocab, order = model["vocab"], dict.fromkeys("".join(pair) for pair in model["merges"])
    return [
        [token[:cut], token[cut:]]
        for token in order
        for cut in range(1, len(token))
        if token[:cut] in vocab and token[cut:] in vocab
    ]


def _wrapped(backend: Tokenizer, *, bos: bool) -> PreTrainedTokenizerFast:
    backend.add_tokens([AddedToken("<tool>", normalized=False)])
    if bos:
        start = ("<|bos|>", backend.token_to_id("<|bos|>"))
        backend.post_processor = TemplateProcessing(
            single="<|bos|> $A", pair="<|bos|> $A $B", special_tokens=[start]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|bos|>",
        eos_token="<|end|>",
        pad_token="<|pad|>",
        chat_template=TEMPLATE,
    )


def saved(folder: Path, family: str, tokenizer: Any = None, **changes: Any) -> Path:
    """Save a tiny model and its tokenizer as a checkpoint."""
    tokenizer = tokenizer or byte_level()
    model = model_of(family, **changes)
    model.config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
