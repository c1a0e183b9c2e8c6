"""What a config says of each layer's MLP."""

from collections.abc import Mapping
from typing import Any

from openwheel.catalog.fit.shape import Linear, Mlp
from openwheel.errors import CatalogError

Config = Mapping[str, Any]

_EXPERTS = ("n_routed_experts", "num_experts", "num_local_experts", "moe_num_experts")
_CHOSEN = (
    "num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k", "experts_per_token"
)  # fmt: skip
_SHARED = ("n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts")


def make_mlp(config: Config, index: int) -> Mlp:
    """Return the MLP of a layer.

    Args:
        config: The text part's fields.
        index: The layer's place, from 0.

    Raises:
        CatalogError: Its width is missing.
    """
    hidden = int(config.get("hidden_size") or 0)
    experts = int(_at(first(config, _EXPERTS), index) or 0)
    shared_width = int(config.get("shared_intermediate_size") or 0)  # Granite's, in every layer
    if experts < 2 or not _is_sparse(config, index):
        width = shared_width or int(
            _at(config.get("intermediate_size_mlp") or config.get("intermediate_size"), index) or 0
        )
        if config.get("block_auto_adjust_ff_dim"):  # LFM2 states the width before its own rounding
            step = int(config.get("block_multiple_of") or 1)
            width = int(float(config.get("block_ffn_dim_multiplier") or 1) * int(2 * width / 3))
            width = step * -(-width // step)
        if width < 1:
            raise CatalogError(
                "config.json: intermediate_size must be a whole number above 0, was "
                f"{config.get('intermediate_size')!r}"
            )
        return Mlp(width=width, linears=_gated(config, hidden, width))
    width = int(
        _at(config.get("moe_intermediate_size") or config.get("intermediate_size"), index) or 0
    )
    shared = int(_at(first(config, _SHARED), index) or 0) * width
    shared = shared or shared_width or int(config.get("shared_expert_intermediate_size") or 0)
    if not shared and config.get("use_mixed_mlp_moe"):  # Hunyuan's, beside its experts
        shared = int(config.get("intermediate_size") or 0)
    if not shared and "intermediate_size_mlp" in config:  # Llama 4: one shared expert
        shared = width
    return Mlp(
        width=shared,
        experts=experts,
        chosen=int(_at(first(config, _CHOSEN), index) or 1),
        expert_width=width,
        expert_parameters=3 * hidden * width,
        weighed_in_32="n_routed_experts" in config,
        linears=_gated(config, hidden, shared) if shared else (),
        router=experts * hidden,
    )


def _gated(config: Config, hidden: int, width: int) -> tuple[Linear, ...]:
    fused = bool(config.get("fused_mlp"))
    usual = ("gate_up_proj", "down_proj") if fused else ("gate_proj", "up_proj", "down_proj")
    *into, out = config.get("mlp_names") or usual
    wide = 2 * width if fused else width
    return (
        *(Linear(name, hidden, wide, "stream") for name in into),
        Linear(out, width, hidden, "wide"),
    )


def _is_sparse(config: Config, index: int) -> bool:
    listed = config.get("mlp_layer_types")
    if listed is not None and index < len(listed):
        return str(listed[index]) != "dense"
    if "moe_layers" in config:
        return index in config["moe_layers"]
    if config.get("enable_moe_block") is False or index in (config.get("mlp_only_layers") or ()):
        return False
    start = config.get("moe_layer_start_index")
    if start is not None:
        end = config.get("moe_layer_end_index")
        last = end if isinstance(end, int) and end >= 0 else index
        return int(_at(start, 0) or 0) <= index <= last
    step = int(config.get("decoder_sparse_step") or config.get("interleave_moe_layer_step") or 1)
    return index >= int(config.get("first_k_dense_replace") or 0) and (index + 1) % step == 0


def first(config: Config, names: tuple[str, ...]) -> Any:
    """Return the first of several fields that the config has."""
    return next((config[name] for name in names if config.get(name) is not None), None)


def _at(value: Any, index: int) -> Any:
    """Return a value that some configs give once, others layer by layer."""
    if isinstance(value, (list, tuple)):
        return value[min(index, len(value) - 1)] if value else None
    return value
