"""A tiny configuration of each family that transformers has a causal language model for."""

from collections.abc import Collection
from typing import Any

import pytest

from openwheel.catalog import load_catalog

# Of unlike kinds: these stand for all families wherever time is short.
KINDS = {
    "qwen3": "dense",
    "qwen3_moe": "mixture of experts",
    "deepseek_v3": "latent attention",
    "gemma3_text": "sliding window",
    "qwen3_5_text": "layers with a state",
    "granite": "tied embeddings",
}

# Of all families together; each takes the fields that its configuration has.
SHAPE: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
    "tie_word_embeddings": False,
    "bos_token_id": None,
    # mixtures
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "moe_num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_topk": 2,
    "moe_k": 2,
    "moe_intermediate_size": 32,
    "expert_hidden_dim": 32,
    "shared_expert_intermediate_size": 32,
    "shared_intermediate_size": 64,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    # compressed attention
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 16,
    "index_topk": 8,
    "index_n_heads": 2,
    "index_head_dim": 16,
    # layers with a state
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "mamba_n_heads": 8,
    "mamba_d_head": 16,
    "mamba_d_state": 16,
    "block_size": 8,
    # embeddings of layers
    "hidden_size_per_layer_input": 16,
}

_FOUR = {"num_hidden_layers": 4}  # the fourth is the first with whole attention
_WHOLE = {"num_key_value_heads": 4}

CHANGES: dict[str, dict[str, Any]] = {
    "qwen3_next": _FOUR,
    "qwen3_5_text": _FOUR,
    "qwen3_5_moe_text": _FOUR,
    "kimi_linear": _WHOLE | {"layer_types": ["linear_attention", "full_attention"]},
    "qwen4_exp_text": _FOUR
    | {
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 16,
        "indexer_budget": 8,
        "indexer_compress_ratio": 4,
        "output_gate_type": "silu",
        "ngram_vocab_size_base": 500,
    },
    "granite": {"tie_word_embeddings": True},
    "gemma3_text": {"sliding_window": 8},
    "deepseek_v3": _WHOLE,
    "deepseek_v32": _WHOLE,
    "glm4_moe_lite": _WHOLE,
    "glm_moe_dsa": _WHOLE,
    "olmo_hybrid": _FOUR,
    "gemma3n_text": _FOUR
    | {
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "num_kv_shared_layers": 2,
        "activation_sparsity_pattern": [0.0] * 4,
        "intermediate_size": [96] * 4,
    },
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"], "time_step_limit": (0.0, 10.0)},
}

# Wrappers of several kinds of input. The causal model in each is tried by its own model_type.
WRAPPERS = {
    "gemma3": "gemma3_text",
    "gemma3n": "gemma3n_text",
    "gemma4": "gemma4_text",
    "gemma4_unified": "gemma4_unified_text",
}

# Which cannot be tried here, and why.
UNTRIED = {
    "mllama_text_model": "AutoModelForCausalLM takes only the wrapper with images, untried",
    "phi4_multimodal": "its towers for images and speech, 870 million weights, are always made",
}


def trained_types() -> list[str]:
    """Return the model type of each family's causal language model."""
    found: dict[str, None] = {}
    for family in load_catalog().families:
        if family.native and family.attention_targets:
            text = family.aliases[-1] if family.aliases else family.model_type
            name = WRAPPERS.get(text, text)
            if name not in UNTRIED:
                found[name] = None
    return list(found)


def each_family(short: Collection[str] = KINDS) -> list[Any]:
    """Return all types to try as parameters of a test; all but a few are evidence."""
    return [
        pytest.param(name, marks=() if name in short else pytest.mark.evidence)
        for name in trained_types()
    ]


def tiny_config(model_type: str, tokenizer: Any) -> Any:
    import transformers

    kind = transformers.CONFIG_MAPPING[model_type]
    fields = {name for parent in kind.__mro__ for name in getattr(parent, "__annotations__", {})}
    wanted = SHAPE | CHANGES.get(model_type, {})
    wanted |= {
        "vocab_size": len(tokenizer),
        "vocab_size_per_layer_input": len(tokenizer),
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return kind(**{name: value for name, value in wanted.items() if name in fields})
