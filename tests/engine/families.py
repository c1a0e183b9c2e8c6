"""A tiny configuration for each kind of cache and attention there is."""

from collections.abc import Callable
from typing import Any

_COMMON = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
    "bos_token_id": None,
}
_LATENT = {
    "num_key_value_heads": 4,
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 16,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "moe_intermediate_size": 32,
    "first_k_dense_replace": 1,
}
_DELTA = {
    "num_hidden_layers": 4,
    "head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen2": ("Qwen2Config", {}),
    "qwen3": ("Qwen3Config", {"head_dim": 16}),
    "qwen3_moe": ("Qwen3MoeConfig", {"head_dim": 16, **_EXPERTS}),
    "qwen3_next": (
        "Qwen3NextConfig",
        {**_DELTA, **_EXPERTS, "shared_expert_intermediate_size": 32},
    ),
    "qwen3_5": ("Qwen3_5TextConfig", _DELTA),
    "deepseek_v3": ("DeepseekV3Config", _LATENT),
    "deepseek_v32": ("DeepseekV32Config", {**_LATENT, "index_topk": 8, "index_n_heads": 2}),
    "hunyuan_dense": ("HunYuanDenseV1Config", {"head_dim": 16}),
    "minimax": (
        "MiniMaxConfig",
        {"head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2, "block_size": 8},
    ),
    "glm4": ("Glm4Config", {"head_dim": 16}),
    "llama": ("LlamaConfig", {}),
    "mistral": ("MistralConfig", {"head_dim": 16, "sliding_window": 8}),
    "mixtral": ("MixtralConfig", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "gpt_oss": (
        "GptOssConfig",
        {"head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 8},
    ),
    "gemma2": ("Gemma2Config", {"head_dim": 16, "sliding_window": 8}),
    "gemma3": ("Gemma3TextConfig", {"head_dim": 16, "sliding_window": 8}),
    "phi3": ("Phi3Config", {}),
    "olmo3": ("Olmo3Config", {"sliding_window": 8}),
    "granite": ("GraniteConfig", {"tie_word_embeddings": True}),
    "granite_hybrid": (
        "GraniteMoeHybridConfig",
        {
            "layer_types": ["mamba", "attention"],
            "num_local_experts": 0,
            "shared_intermediate_size": 64,
            "mamba_n_heads": 8,
            "mamba_d_head": 16,
            "mamba_d_state": 16,
        },
    ),
    "lfm2": ("Lfm2Config", {"layer_types": ["conv", "full_attention"]}),
    "falcon_h1": (
        "FalconH1Config",
        {"mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 16},
    ),
    "smollm3": ("SmolLM3Config", {}),
}

# Of unlike kinds: dense, a mixture, latent attention, a sliding window, a state, tied embeddings.
KINDS = ("qwen3", "mixtral", "deepseek_v3", "gemma3", "qwen3_5", "granite")


def tiny_family(name: str) -> Callable[[Any], Any]:
    """Return what makes a family's tiny configuration for a tokenizer."""
    kind, changes = FAMILIES[name]

    def make(tokenizer: Any) -> Any:
        import transformers

        ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
        fields = {**_COMMON, **changes, **ends, "vocab_size": len(tokenizer)}
        return getattr(transformers, kind)(**fields)

    return make
