"""The families of decoders that can be written as GGUF, and what each needs said.

A row is here because a model of the family, written by this converter, gave the same
log-probabilities in llama.cpp as in transformers (``tests/inference/test_llama_cpp.py``). A
configuration that llama.cpp computes differently is refused, not approximated.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from openwheel.errors import ModelError

Keys = dict[str, int | float | str | bool | list[int] | list[bool]]


_QKV = ("attn_q", "attn_k", "attn_v")
_ALL = (*_QKV, "attn_output", "ffn_gate", "ffn_up", "ffn_down")


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """How one ``model_type`` is written.

    Attributes:
        architecture: Its name in GGUF.
        interleave: Whether query and key rows are put in the order of interleaved rotary
            embeddings, which llama.cpp uses for this architecture.
        norm_offset: Added to the weights of norms, where the family's code adds it when it runs.
        plain_norms: Ends of the names of norms to which its code adds nothing.
        biases: Parts whose biases llama.cpp reads.
        parts: What llama.cpp has in place of a module: of several, each has an equal share of the
            rows, in this order.
        keys: What it needs besides what every family says, and in place of it.
    """

    architecture: str
    interleave: bool = False
    norm_offset: float = 0.0
    plain_norms: tuple[str, ...] = ()
    biases: tuple[str, ...] = ()
    parts: Mapping[str, tuple[str, ...]] = {}
    keys: Callable[[Any], Keys] | None = None

    def modules(self, name: str) -> list[str]:
        """Return the modules that llama.cpp has in place of one, named as others name theirs.

        >>> fused = Family(architecture="x", parts={"mlp.in": ("mlp.gate_proj", "mlp.up_proj")})
        >>> fused.modules("model.layers.0.mlp.in")
        ['model.layers.0.mlp.gate_proj', 'model.layers.0.mlp.up_proj']
        >>> fused.modules("model.layers.0.mlp.out")
        ['model.layers.0.mlp.out']
        """
        for module, parts in self.parts.items():
            if name.endswith(f".{module}"):
                return [name.removesuffix(module) + part for part in parts]
        return [name]


def keys_of(config: Any, family: Family) -> Keys:
    """Return the sizes and constants of a model, by their names in GGUF without the architecture.

    Args:
        config: The model's ``transformers`` configuration.
        family: Its row.

    Raises:
        ModelError: The configuration has something that the file cannot say.
    """
    _check_activation(config)
    heads = config.num_attention_heads
    dim = head_dim(config)
    keys: Keys = {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "block_count": config.num_hidden_layers,
        "vocab_size": config.vocab_size,
        "attention.head_count": heads,
        "attention.head_count_kv": getattr(config, "num_key_value_heads", None) or heads,
        "attention.layer_norm_rms_epsilon": getattr(config, "rms_norm_eps", None)
        or config.norm_eps,
        "attention.key_length": dim,
        "attention.value_length": dim,
        **_rope(config, dim),
    }
    if family.keys:
        keys.update(family.keys(config))
    return keys


def head_dim(config: Any) -> int:
    """Return the width of one attention head."""
    given = getattr(config, "head_dim", None)
    return int(given or config.hidden_size // config.num_attention_heads)


def rope_parameters(config: Any) -> dict[str, Any]:
    """Return the rotary parameters of the layers with full attention."""
    found = dict(config.rope_parameters or {})
    return dict(found.get("full_attention", found))


def _rope(config: Any, dim: int) -> Keys:
    rope = rope_parameters(config)
    kind = rope.get("rope_type", "default")
    if kind == "dynamic" and config.model_type == "hunyuan_v1_dense":
        kind, rope = "default", {**rope, "rope_theta": _hunyuan_base(rope, dim)}
    keys: Keys = {
        "rope.freq_base": float(rope["rope_theta"]),
        "rope.dimension_count": int(dim * rope.get("partial_rotary_factor", 1.0)),
    }
    # llama3 is written as a tensor of factors, see `tensors.rope_factors`.
    if kind in {"default", "llama3"}:
        return keys
    if kind == "linear":
        return {**keys, "rope.scaling.type": "linear", "rope.scaling.factor": float(rope["factor"])}
    if kind == "yarn":
        settled = {"rope_type", "rope_theta", "factor", "original_max_position_embeddings"}
        usual = {"beta_fast": 32, "beta_slow": 1, "truncate": True, "partial_rotary_factor": 1.0}
        for name, value in rope.items():
            if name not in settled and value is not None and value != usual.get(name):
                raise ModelError(f"The export to GGUF cannot say the rotary scaling's {name}")
        return {
            **keys,
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": float(rope["factor"]),
            "rope.scaling.original_context_length": rope["original_max_position_embeddings"],
        }
    raise ModelError(
        f"The rotary scaling must be linear, yarn or llama3 to export to GGUF, was {kind}"
    )


def _check_activation(config: Any) -> None:
    used = getattr(config, "hidden_act", None) or getattr(config, "hidden_activation", None)
    if config.model_type == "lfm2":
        return  # its code has no other than silu
    wanted = "gelu_pytorch_tanh" if config.model_type.startswith("gemma") else "silu"
    if used != wanted:
        raise ModelError(
            f"The activation of a {config.model_type} model must be {wanted} to export to GGUF, "
            f"was {used}"
        )


def _windowed(config: Any) -> Keys:
    """Shorten the context to the window where llama.cpp would attend further than was trained."""
    window = getattr(config, "sliding_window", None)
    if not window or not getattr(config, "use_sliding_window", True):
        return {}
    return {"context_length": min(config.max_position_embeddings, window)}


def _gemma2(config: Any) -> Keys:
    _check_gemma(config)
    if any(
        kind != ("full", "sliding")[i % 2 == 0] + "_attention"
        for i, kind in enumerate(config.layer_types)
    ):
        raise ModelError("Every second layer of a gemma2 model must have a sliding window")
    return {
        "attention.sliding_window": config.sliding_window,
        "attn_logit_softcapping": float(config.attn_logit_softcapping),
        "final_logit_softcapping": float(config.final_logit_softcapping),
    }


def _gemma3(config: Any) -> Keys:
    _check_gemma(config)
    pattern = [
        "full_attention" if (i + 1) % 6 == 0 else "sliding_attention"
        for i in range(config.num_hidden_layers)
    ]
    if list(config.layer_types) != pattern:
        raise ModelError("Five of six layers of a gemma3 model must have a sliding window")
    if config.final_logit_softcapping or config.attn_logit_softcapping:
        raise ModelError("The export to GGUF cannot say a gemma3 model's soft capping")
    local = config.rope_parameters["sliding_attention"]
    if local.get("rope_type", "default") != "default" or local["rope_theta"] != 10_000:
        raise ModelError("The sliding layers of a gemma3 model must have a rotary base of 10000")
    return {"attention.sliding_window": config.sliding_window}


def _check_gemma(config: Any) -> None:
    if config.query_pre_attn_scalar != head_dim(config):
        raise ModelError(
            f"The query scalar of a {config.model_type} model must be its head's width to export "
            f"to GGUF, was {config.query_pre_attn_scalar} with heads of {head_dim(config)}"
        )


def _smollm3(config: Any) -> Keys:
    usual = [int((i + 1) % 4 != 0) for i in range(config.num_hidden_layers)]
    if list(config.no_rope_layers) != usual or config.use_sliding_window:
        raise ModelError(
            "Every fourth layer of a smollm3 model must be without rotary embedding, and none "
            "with a sliding window, to export to GGUF"
        )
    return {}


def _granite(config: Any) -> Keys:
    return {
        "attention.scale": float(config.attention_multiplier),
        "embedding_scale": float(config.embedding_multiplier),
        "residual_scale": float(config.residual_multiplier),
        "logit_scale": float(config.logits_scaling),
    }


def _granite_hybrid(config: Any) -> Keys:
    if set(config.layer_types) != {"full_attention"} or config.num_local_experts:
        raise ModelError(
            "A granitemoehybrid model must have attention in all layers, and no experts, to export "
            "to GGUF"
        )
    if config.position_embedding_type != "rope":
        raise ModelError("A granitemoehybrid model must have rotary embeddings to export to GGUF")
    return {**_granite(config), "feed_forward_length": config.shared_intermediate_size}


def _qwen3_5(config: Any) -> Keys:
    kinds, heads = list(config.layer_types), config.linear_num_value_heads
    every = (kinds.index("full_attention") if "full_attention" in kinds else len(kinds)) + 1
    if any(
        kind != ("linear", "full")[i % every == 0] + "_attention" for i, kind in enumerate(kinds, 1)
    ):
        raise ModelError(
            "A qwen3_5 model must have full attention at an even distance to export to GGUF"
        )
    if heads != config.linear_num_key_heads:
        raise ModelError(
            "A qwen3_5 model must have as many linear value heads as key heads to export to GGUF, "
            f"it has {heads} and {config.linear_num_key_heads}"
        )
    # Which positions of an image a frequency reads: in text all are the same.
    sections = rope_parameters(config).get("mrope_section", [11, 11, 10])
    return {
        "full_attention_interval": every,
        "rope.dimension_sections": [*sections, *([0] * (4 - len(sections)))],
        "ssm.conv_kernel": config.linear_conv_kernel_dim,
        "ssm.state_size": config.linear_key_head_dim,
        "ssm.group_count": config.linear_num_key_heads,
        "ssm.time_step_rank": heads,
        "ssm.inner_size": config.linear_value_head_dim * heads,
    }


def _lfm2(config: Any) -> Keys:
    width = config.intermediate_size
    if config.block_auto_adjust_ff_dim:
        width = int(2 * width / 3)
        if config.block_ffn_dim_multiplier is not None:
            width = int(config.block_ffn_dim_multiplier * width)
            width = -(-width // config.block_multiple_of) * config.block_multiple_of
    heads = config.num_key_value_heads
    return {
        "feed_forward_length": width,
        "shortconv.l_cache": config.conv_L_cache,
        "attention.head_count_kv": [
            heads if kind == "full_attention" else 0 for kind in config.layer_types
        ],
    }


def _hunyuan_base(rope: dict[str, Any], dim: int) -> float:
    """Return the base that Hunyuan's "dynamic" scaling comes to within the trained context."""
    if not (alpha := rope.get("alpha")):
        raise ModelError(
            "The dynamic rotary scaling of a hunyuan_v1_dense model must have an alpha to export "
            "to GGUF, it has none"
        )
    return float(rope["rope_theta"] * alpha ** (dim / (dim - 2)))


FAMILIES = {
    "llama": Family(architecture="llama", interleave=True, biases=_ALL),
    "mistral": Family(architecture="llama", interleave=True, keys=_windowed),
    "qwen2": Family(architecture="qwen2", biases=_QKV, keys=_windowed),
    "qwen3": Family(architecture="qwen3", keys=_windowed),
    "qwen3_5_text": Family(
        architecture="qwen35",
        norm_offset=1.0,
        plain_norms=("linear_attn.norm.weight",),
        biases=("ssm_dt",),
        parts={"linear_attn.dt_bias": ("linear_attn.dt_proj.bias",)},
        keys=_qwen3_5,
    ),
    "gemma2": Family(architecture="gemma2", norm_offset=1.0, keys=_gemma2),
    "gemma3_text": Family(architecture="gemma3", norm_offset=1.0, keys=_gemma3),
    "phi3": Family(architecture="phi3", keys=_windowed),
    "smollm3": Family(architecture="smollm3", interleave=True, keys=_smollm3),
    "granite": Family(architecture="granite", interleave=True, biases=_ALL, keys=_granite),
    "granitemoehybrid": Family(
        architecture="granite",
        interleave=True,
        parts={
            "shared_mlp.input_linear": ("mlp.gate_proj", "mlp.up_proj"),
            "shared_mlp.output_linear": ("mlp.down_proj",),
        },
        keys=_granite_hybrid,
    ),
    "lfm2": Family(architecture="lfm2", keys=_lfm2),
    "olmo2": Family(architecture="olmo2"),
    "ernie4_5": Family(architecture="ernie4_5"),
    "hunyuan_v1_dense": Family(architecture="hunyuan-dense"),
    "seed_oss": Family(architecture="seed_oss", biases=_QKV),
}
