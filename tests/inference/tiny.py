"""Tiny random models and tokenizers, made in a moment; none is downloaded."""

from pathlib import Path
from typing import Any

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_WORDS = (
    "the bank card was lost and my account needs a new one please help me to pay the bill today "
    'billing shipping returns other yes no naïve café 日本語 schön {"label": "billing"} 0123456789'
)


def tiny_tokenizer(template: str = CHATML, special: tuple[str, ...] = ()) -> Any:
    """A byte-level BPE of about 500 tokens with ChatML's marks."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=480,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>", *special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator([_WORDS] * 4, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.chat_template = template
    return tokenizer


def tiny_config(tokenizer: Any, **changes: Any) -> Any:
    """A Qwen3 of 2 layers and 64 dimensions."""
    from transformers import Qwen3Config

    fields = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 1024,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
        # Random weights of the usual size give nearly flat logits, hence ties.
        "initializer_range": 0.2,
    }
    return Qwen3Config(**{**fields, **changes})


def save_tiny(folder: Path, *, tokenizer: Any = None, config: Any = None, seed: int = 0) -> Path:
    """Save a tiny model with its tokenizer, and return the folder."""
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = tokenizer or tiny_tokenizer()
    config = config or tiny_config(tokenizer)
    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
