"""What a config says of each layer's token mixer."""

from collections.abc import Mapping
from typing import Any

from openwheel.catalog.fit.shape import Linear, Mixer
from openwheel.errors import CatalogError

Config = Mapping[str, Any]


def make_mixer(config: Config, kind: str, *, borrows: bool = False) -> Mixer:
    """Return the mixer of a layer.

    Args:
        config: The text part's fields.
        kind: What transformers calls it, e.g. ``sliding_attention``.
        borrows: Whether the layer reads an earlier one's keys and values.

    Raises:
        CatalogError: A field it depends on is missing.
    """
    if kind in {"linear_attention", "mamba", "mamba2"}:
        return _state(config)
    if kind in {"conv", "short_conv"}:
        return _conv(config)
    if config.get("kv_lora_rank"):
        return _latent(config)
    return _attention(config, kind, borrows=borrows)


def _state(config: Config) -> Mixer:
    if "mamba_n_heads" in config or "mamba_num_heads" in config:
        return _ssd(config)
    if "linear_num_value_heads" in config:
        return _delta(config)
    if "linear_attn_config" in config or "linear_num_heads" in config:
        return _kimi_delta(config)
    return _lightning(config)


def _attention(config: Config, kind: str, *, borrows: bool) -> Mixer:
    hidden, heads = _number(config, "hidden_size"), _number(config, "num_attention_heads")
    kv_heads = int(config.get("num_key_value_heads") or heads)
    dim = int(config.get("head_dim") or hidden // heads)
    value = int(config.get("v_head_dim") or dim)
    window = 0
    if kind in {"sliding_attention", "chunked_attention"}:
        window = int(config.get("sliding_window") or config.get("attention_chunk_size") or 0)
    queries = heads * dim
    gate = 2 if config.get("gated") else 1
    if config.get("fused_qkv"):
        read = (Linear("qkv_proj", hidden, queries + kv_heads * (dim + value), "stream"),)
    else:
        own_values = not (config.get("attention_k_eq_v") and window == 0)
        read = (
            Linear("q_proj", hidden, gate * queries, "stream"),
            Linear("k_proj", hidden, kv_heads * dim, "stream"),
            *((Linear("v_proj", hidden, kv_heads * value, "stream"),) if own_values else ()),
        )
    return Mixer(
        kind="attention",
        heads=heads,
        kv_heads=kv_heads,
        key_dim=dim,
        value_dim=value,
        window=window,
        index=int(config.get("index_head_dim") or 0) if kind == "indexed_attention" else 0,
        normed=bool(config.get("use_qk_norm")),
        scores="cap" if config.get("attn_logit_softcapping") else config.get("scores", ""),
        borrows=borrows,
        linears=(
            *read,
            Linear(str(config.get("out_name") or "o_proj"), heads * value, hidden, "mixed"),
        ),
    )


def _latent(config: Config) -> Mixer:
    hidden, heads = _number(config, "hidden_size"), _number(config, "num_attention_heads")
    rank, rope = _number(config, "kv_lora_rank"), int(config.get("qk_rope_head_dim") or 0)
    nope, value = _number(config, "qk_nope_head_dim"), _number(config, "v_head_dim")
    dim = nope + rope
    query = int(config.get("q_lora_rank") or 0)
    queries = (
        (
            Linear("q_a_proj", hidden, query, "stream"),
            Linear("q_b_proj", query, heads * dim, "own"),
        )
        if query
        else (Linear("q_proj", hidden, heads * dim, "stream"),)
    )
    index = int(config.get("index_head_dim") or 0)
    index_heads = int(config.get("index_n_heads") or 0)
    indexer = (
        (
            Linear("wq_b", query, index_heads * index, "own"),
            Linear("wk", hidden, index, "stream"),
            Linear("weights_proj", hidden, index_heads, "stream"),
        )
        if index and index_heads
        else ()
    )
    return Mixer(
        kind="latent",
        heads=heads,
        kv_heads=heads,
        key_dim=dim,
        value_dim=value,
        latent=rank + rope,
        index=index if indexer else 0,
        linears=(
            *queries,
            Linear("kv_a_proj_with_mqa", hidden, rank + rope, "stream"),
            Linear("kv_b_proj", rank, heads * (nope + value), "own"),
            *indexer,
            Linear("o_proj", heads * value, hidden, "mixed"),
        ),
    )


def _delta(config: Config) -> Mixer:
    """Gated delta rule (Qwen3-Next and after): the state is a key-by-value matrix a head."""
    hidden = _number(config, "hidden_size")
    key_heads, heads = (_number(config, f"linear_num_{of}_heads") for of in ("key", "value"))
    key, value = (_number(config, f"linear_{of}_head_dim") for of in ("key", "value"))
    keys, values = key_heads * key, heads * value
    read = (
        (
            Linear("in_proj_qkv", hidden, 2 * keys + values, "stream"),
            Linear("in_proj_z", hidden, values, "stream"),
            Linear("in_proj_a", hidden, heads, "stream"),
            Linear("in_proj_b", hidden, heads, "stream"),
        )
        if config.get("split_delta")
        else (
            Linear("in_proj_qkvz", hidden, 2 * keys + 2 * values, "stream"),
            Linear("in_proj_ba", hidden, 2 * heads, "stream"),
        )
    )
    return Mixer(
        kind="delta",
        heads=heads,
        kv_heads=key_heads,
        key_dim=key,
        value_dim=value,
        state=heads * key * value,
        conv=2 * keys + values,
        conv_tail=int(config.get("linear_conv_kernel_dim") or 4) - 1,
        interleaved=not config.get("split_delta"),
        linears=(*read, Linear("out_proj", values, hidden, "mixed")),
    )


def _kimi_delta(config: Config) -> Mixer:
    hidden = _number(config, "hidden_size")
    given = config.get("linear_attn_config") or {
        "num_heads": config.get("linear_num_heads"),
        "head_dim": config.get("linear_head_dim"),
        "short_conv_kernel_size": config.get("linear_conv_kernel_dim"),
    }
    heads, dim = _number(given, "num_heads"), _number(given, "head_dim")
    wide = heads * dim
    read = [Linear(f"{of}_proj", hidden, wide, "stream") for of in ("q", "k", "v")]
    read += [Linear(f"{of}_a_proj", hidden, dim, "stream") for of in ("f", "g")]
    read += [Linear(f"{of}_b_proj", dim, wide, "own") for of in ("f", "g")]
    return Mixer(
        kind="delta",
        heads=heads,
        kv_heads=heads,
        key_dim=dim,
        value_dim=dim,
        channelwise=True,
        state=heads * dim * dim,
        conv=3 * wide,
        conv_tail=int(given.get("short_conv_kernel_size") or 4) - 1,
        linears=(
            *read,
            Linear("b_proj", hidden, heads, "stream"),
            Linear("o_proj", wide, hidden, "mixed"),
        ),
    )


def _ssd(config: Config) -> Mixer:
    """Mamba 2: the state is a width-by-state matrix a head."""
    hidden = _number(config, "hidden_size")
    heads = int(config.get("mamba_n_heads") or config.get("mamba_num_heads") or 0)
    dim = config.get("mamba_d_head") or config.get("mamba_head_dim")
    if not isinstance(dim, int):  # "auto"
        dim = int(config.get("mamba_expand") or 2) * hidden // heads
    state = int(config.get("mamba_d_state") or config.get("ssm_state_size") or 128)
    groups = int(config.get("mamba_n_groups") or config.get("n_groups") or 1)
    inner = heads * dim
    conv = inner + 2 * groups * state
    return Mixer(
        kind="ssd",
        heads=heads,
        kv_heads=groups,
        key_dim=state,
        value_dim=dim,
        state=inner * state,
        conv=conv,
        # All of the kernel: its tail is kept with room for the token to come.
        conv_tail=int(config.get("mamba_d_conv") or config.get("conv_kernel") or 4) - 1,
        linears=(
            Linear("in_proj", hidden, inner + conv + heads, "stream"),
            Linear("out_proj", inner, hidden, "mixed"),
        ),
    )


def _conv(config: Config) -> Mixer:
    hidden = _number(config, "hidden_size")
    return Mixer(
        kind="conv",
        heads=1,
        kv_heads=1,
        key_dim=hidden,
        value_dim=hidden,
        conv=hidden,
        conv_tail=int(config.get("conv_L_cache") or 3) - 1,
        linears=(
            Linear("in_proj", hidden, 3 * hidden, "stream"),
            Linear("out_proj", hidden, hidden, "mixed"),
        ),
    )


def _lightning(config: Config) -> Mixer:
    """Linear attention without a convolution (MiniMax-Text-01)."""
    hidden, heads = _number(config, "hidden_size"), _number(config, "num_attention_heads")
    dim = int(config.get("head_dim") or hidden // heads)
    wide = heads * dim
    return Mixer(
        kind="linear",
        heads=heads,
        kv_heads=heads,
        key_dim=dim,
        value_dim=dim,
        state=heads * dim * dim,
        linears=(
            Linear("qkv_proj", hidden, 3 * wide, "stream"),
            Linear("output_gate", hidden, wide, "stream"),
            Linear("out_proj", wide, hidden, "mixed"),
        ),
    )


def _number(config: Config, field: str) -> int:
    value = config.get(field)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CatalogError(f"config.json: {field} must be a whole number above 0, was {value!r}")
    return value
