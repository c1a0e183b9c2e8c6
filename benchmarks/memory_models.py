"""Models with random weights for `memory.py`: small and middling ones of several families.

None has the measures with which the formulas were derived.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model and what is done with it: prompts of a batch, and tokens of a training batch."""

    config: Mapping[str, Any]
    batch: int
    context: int
    rows: int
    length: int


_V3 = {
    "model_type": "deepseek_v3", "hidden_size": 512, "intermediate_size": 1408,
    "moe_intermediate_size": 256, "num_hidden_layers": 8, "num_attention_heads": 8,
    "num_key_value_heads": 8, "q_lora_rank": 192, "kv_lora_rank": 128, "qk_rope_head_dim": 32,
    "qk_nope_head_dim": 64, "v_head_dim": 64, "n_routed_experts": 16, "num_experts_per_tok": 4,
    "n_shared_experts": 1, "first_k_dense_replace": 1, "n_group": 4, "topk_group": 2,
    "vocab_size": 16000,
}  # fmt: skip

MODELS: Final[Mapping[str, Model]] = MappingProxyType(
    {
        "Llama 10M": Model(
            config={
                "model_type": "llama", "hidden_size": 288, "intermediate_size": 768,
                "num_hidden_layers": 6, "num_attention_heads": 6, "num_key_value_heads": 3,
                "vocab_size": 8000,
            },
            batch=4, context=512, rows=2, length=256,
        ),
        "Qwen3 130M": Model(
            config={
                "model_type": "qwen3", "hidden_size": 768, "intermediate_size": 2048,
                "num_hidden_layers": 12, "num_attention_heads": 12, "num_key_value_heads": 4,
                "head_dim": 96, "vocab_size": 64000, "tie_word_embeddings": True,
            },
            batch=2, context=1024, rows=2, length=256,
        ),
        "Gemma 3 120M": Model(
            config={
                "model_type": "gemma3_text", "hidden_size": 640, "intermediate_size": 2048,
                "num_hidden_layers": 12, "num_attention_heads": 4, "num_key_value_heads": 1,
                "head_dim": 256, "vocab_size": 90000, "sliding_window": 256,
            },
            batch=2, context=768, rows=2, length=192,
        ),
        "Gemma 2 60M": Model(
            config={
                "model_type": "gemma2", "hidden_size": 512, "intermediate_size": 1536,
                "num_hidden_layers": 8, "num_attention_heads": 4, "num_key_value_heads": 2,
                "head_dim": 128, "vocab_size": 64000, "sliding_window": 256,
            },
            batch=2, context=640, rows=2, length=256,
        ),
        "Llama 320M": Model(
            config={
                "model_type": "llama", "hidden_size": 1024, "intermediate_size": 3072,
                "num_hidden_layers": 20, "num_attention_heads": 16, "num_key_value_heads": 4,
                "vocab_size": 32000,
            },
            batch=1, context=2048, rows=2, length=256,
        ),
        "Qwen3 600M": Model(
            config={
                "model_type": "qwen3", "hidden_size": 1280, "intermediate_size": 3840,
                "num_hidden_layers": 24, "num_attention_heads": 16, "num_key_value_heads": 8,
                "head_dim": 80, "vocab_size": 100000, "tie_word_embeddings": True,
            },
            batch=4, context=512, rows=1, length=384,
        ),
        "Qwen3-MoE 170M": Model(
            config={
                "model_type": "qwen3_moe", "hidden_size": 640, "moe_intermediate_size": 320,
                "intermediate_size": 1280, "num_hidden_layers": 10, "num_attention_heads": 10,
                "num_key_value_heads": 2, "head_dim": 64, "num_experts": 24,
                "num_experts_per_tok": 3, "vocab_size": 16000,
            },
            batch=2, context=768, rows=2, length=256,
        ),
        "DeepSeek-V3 60M (MLA, MoE)": Model(
            config=_V3, batch=2, context=512, rows=2, length=192
        ),
        "Qwen3.5 130M (delta rule)": Model(
            config={
                "model_type": "qwen3_5_text", "hidden_size": 640, "intermediate_size": 1920,
                "num_hidden_layers": 12, "num_attention_heads": 8, "num_key_value_heads": 2,
                "head_dim": 96, "linear_num_key_heads": 6, "linear_num_value_heads": 12,
                "linear_key_head_dim": 64, "linear_value_head_dim": 64, "vocab_size": 50000,
            },
            batch=2, context=640, rows=2, length=192,
        ),
        "Granite 4 60M (Mamba 2)": Model(
            config={
                "model_type": "granitemoehybrid", "hidden_size": 512, "intermediate_size": 512,
                "shared_intermediate_size": 1536, "num_hidden_layers": 10,
                "num_attention_heads": 8, "num_key_value_heads": 2, "num_local_experts": 0,
                "num_experts_per_tok": 0,
                "layer_types": ["mamba"] * 4 + ["attention"] + ["mamba"] * 4 + ["attention"],
                "mamba_n_heads": 16, "mamba_d_head": 64, "mamba_d_state": 64, "mamba_expand": 2,
                "vocab_size": 32000, "position_embedding_type": "nope",
            },
            batch=1, context=768, rows=1, length=256,
        ),
        "LFM2 90M (convolutions)": Model(
            config={
                "model_type": "lfm2", "hidden_size": 768, "intermediate_size": 2304,
                "num_hidden_layers": 8, "num_attention_heads": 12, "num_key_value_heads": 4,
                "layer_types": ["conv", "conv", "full_attention"] * 2 + ["conv"] * 2,
                "block_auto_adjust_ff_dim": False, "vocab_size": 32000,
            },
            batch=2, context=1024, rows=2, length=256,
        ),
        "gpt-oss 60M (sinks)": Model(
            config={
                "model_type": "gpt_oss", "hidden_size": 512, "intermediate_size": 384,
                "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 2,
                "head_dim": 64, "num_local_experts": 8, "num_experts_per_tok": 2,
                "sliding_window": 128, "vocab_size": 20000,
            },
            batch=2, context=512, rows=2, length=192,
        ),
    }
)  # fmt: skip

TINY: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "vocab_size": 512,
    }
)  # fmt: skip
"""Warms a process up: what libraries load at their first use is no part of a model."""
