"""Reads a checkpoint's architecture from its config.json, or from GGUF's metadata."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from openwheel.catalog.rows import Shape
from openwheel.catalog.weight_headers import Header, read_header
from openwheel.errors import CatalogError


def config_of(path: Path, headers: Sequence[Header] = ()) -> Mapping[str, Any]:
    """Return a folder's config.json, its text part; of GGUF the metadata in config.json's words.

    Args:
        path: A folder, or a GGUF file.
        headers: Of its weights; a GGUF file that is not among them is read.

    Raises:
        CatalogError: It cannot be read.
    """
    if path.suffix == ".gguf" and not headers:
        headers = [read_header(path)]
    if headers and headers[0].path.suffix == ".gguf":
        metadata = headers[0].metadata
        prefix = f"{metadata.get('general.architecture')}."
        return {
            field: metadata[prefix + key]
            for field, key in _GGUF.items()
            if prefix + key in metadata
        } | {"model_type": metadata.get("general.architecture"), "vocab_size": 1}
    file = path / "config.json"
    try:
        config = json.loads(file.read_bytes())
    except OSError as error:
        raise CatalogError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise CatalogError(f"{file} must be JSON, and is not: {error}") from None
    if not isinstance(config, dict):
        raise CatalogError(f"{file} must hold an object, held {type(config).__name__}")
    inner = config.get("text_config")
    return {**config, **inner} if isinstance(inner, dict) else config


_GGUF = {
    "num_hidden_layers": "block_count",
    "hidden_size": "embedding_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "intermediate_size": "feed_forward_length",
    "max_position_embeddings": "context_length",
    "num_experts": "expert_count",
    "num_experts_per_tok": "expert_used_count",
    "kv_lora_rank": "attention.kv_lora_rank",
    "qk_rope_head_dim": "rope.dimension_count",
}
"""Where GGUF has what config.json has, after the architecture's name."""


def shape_of(config: Mapping[str, Any]) -> Shape | None:
    """Return the shape of a cache by a config.json; None where it does not say.

    States of fixed size (linear attention, Mamba) are left out: they do not grow with the context.
    """
    layers, hidden, heads = (
        whole(config, name) for name in ("num_hidden_layers", "hidden_size", "num_attention_heads")
    )
    vocab = whole(config, "vocab_size")
    if not (layers and hidden and heads and vocab):
        return None
    rank = whole(config, "kv_lora_rank")
    kinds = _layer_kinds(config, layers)
    cached = [kind for kind in kinds if "attention" in kind and "linear" not in kind]
    window = whole(config, "sliding_window") or whole(config, "attention_chunk_size") or 0
    sliding = sum("sliding" in kind or "chunked" in kind for kind in cached) if window else 0
    experts = whole(config, "num_experts", "num_local_experts", "n_routed_experts") or 0
    return Shape(
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=whole(config, "num_key_value_heads") or heads,
        head_dim=whole(config, "head_dim") or max(hidden // heads, 1),
        vocab=vocab,
        intermediate=whole(config, "intermediate_size") or 0,
        tied_embeddings=bool(config.get("tie_word_embeddings")),
        experts=experts,
        experts_per_token=min(whole(config, "num_experts_per_tok", "top_k_experts") or 0, experts),
        cached_layers=len(cached),
        sliding_layers=sliding,
        sliding_window=window,
        latent=rank + (whole(config, "qk_rope_head_dim") or 0) if rank else 0,
        confidence="A",
        source="config.json",
    )


def _layer_kinds(config: Mapping[str, Any], layers: int) -> Sequence[str]:
    """Return what each layer mixes with, in transformers' words (``layer_types``)."""
    listed = config.get("layer_types") or config.get("layers_block_type")
    if isinstance(listed, list) and len(listed) == layers:
        return [str(kind) for kind in listed]
    every = whole(config, "full_attention_interval")
    if every:
        return ["attention" if (i + 1) % every == 0 else "linear" for i in range(layers)]
    # Where it is not said which layers have a window, none is taken to have one: no less is needed.
    pattern = whole(config, "sliding_window_pattern", "_sliding_window_pattern")
    if pattern and config.get("sliding_window"):
        return [
            "attention" if (i + 1) % pattern == 0 else "sliding_attention" for i in range(layers)
        ]
    return ["attention"] * layers


def whole(config: Mapping[str, Any], *names: str) -> int | None:
    """Return the first of the fields that is a whole number above zero."""
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None
