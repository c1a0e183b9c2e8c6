"""Reading a checkpoint's config.json into the shape of its architecture.

Fields are read for what they say, not for the family's name; the few things that only a name
tells stand in `_NAMED`.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from openwheel.catalog.fit.mixers import make_mixer
from openwheel.catalog.fit.mlps import make_mlp
from openwheel.catalog.fit.shape import Architecture, Layer, count_parameters
from openwheel.errors import CatalogError

Config = Mapping[str, Any]

# What a config leaves to its class, for families whose classes are sure of it.
_NAMED: Final[Mapping[str, Config]] = MappingProxyType(
    {
        "gemma": {"tie_word_embeddings": True},
        "gemma2": {"tie_word_embeddings": True, "norms": 4, "pattern": 2},
        "gemma3_text": {"tie_word_embeddings": True, "norms": 4, "use_qk_norm": True, "pattern": 6},
        "gemma3n_text": {"tie_word_embeddings": True, "norms": 4, "use_qk_norm": True},
        "gemma4_text": {"tie_word_embeddings": True, "norms": 4, "use_qk_norm": True},
        "glm4": {"norms": 4, "fused_mlp": True},
        "glm": {"fused_mlp": True},
        "gpt_oss": {"scores": "sinks", "pattern": 2},
        "hunyuan_v1_dense": {"use_qk_norm": True},
        "hunyuan_v1_moe": {"use_qk_norm": True},
        "hy_v3": {"use_qk_norm": True},
        "granitemoehybrid": {"fused_mlp": True, "mlp_names": ("input_linear", "output_linear")},
        "lfm2": {
            "tie_word_embeddings": True,
            "use_qk_norm": True,
            "out_name": "out_proj",
            "mlp_names": ("w1", "w3", "w2"),
        },
        "minimax_m2": {"use_qk_norm": True},
        "olmo3": {"use_qk_norm": True},
        "olmoe": {"use_qk_norm": True},
        "phi3": {"fused_mlp": True, "fused_qkv": True},
        "qwen3": {"use_qk_norm": True},
        "qwen3_moe": {"use_qk_norm": True},
        "qwen3_next": {"use_qk_norm": True, "gated": True, "interval": 4},
        "qwen3_5_text": {"use_qk_norm": True, "gated": True, "split_delta": True, "interval": 4},
        "qwen3_5_moe_text": {
            "use_qk_norm": True,
            "gated": True,
            "split_delta": True,
            "interval": 4,
        },
        "qwen4_exp_text": {"use_qk_norm": True, "gated": True, "split_delta": True, "interval": 4},
        "smollm3": {"tie_word_embeddings": True},
    }
)
# Fields that stand for weights or copies which the numbers here leave out.
_UNCOUNTED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "hc_mult": "hyper-connections",
        "hc_count": "hyper-connections",
        "altup_num_inputs": "alternating updates",
        "ngram_size": "n-gram embeddings",
        "compress_rates": "compressed attention",
        "o_lora_rank": "grouped output projections",
    }
)


def from_config(config: Config) -> Architecture:
    """Return the architecture that a ``config.json`` describes; of several parts, the text's.

    Raises:
        CatalogError: A field that memory depends on is missing or is no number.
    """
    inner = config.get("text_config")
    text = {**inner} if isinstance(inner, Mapping) else {**config}
    name = str(text.get("model_type") or config.get("model_type") or "")
    text = {**_NAMED.get(_base_name(name), {}), **{k: v for k, v in text.items() if v is not None}}
    if "tie_word_embeddings" in config and inner is not None:
        text.setdefault("tie_word_embeddings", config["tie_word_embeddings"])
    hidden, vocab = need(text, "hidden_size"), need(text, "vocab_size")
    count = need(text, "num_hidden_layers")
    tied = bool(text.get("tie_word_embeddings", False))
    kinds = layer_kinds(text, count)
    borrowing = count - int(text.get("num_kv_shared_layers", 0))
    own = text.get("per_layer_config", {})
    layers = []
    for i, kind in enumerate(kinds):
        fields = {**text, **(own.get(f"{i:02}") or own.get(str(i)) or {})}
        mixer = make_mixer(fields, kind, borrows=i >= borrowing)
        layers.append(Layer(mixer, make_mlp(fields, i), int(text.get("norms", 2))))
    total, active = count_parameters(hidden, vocab, tied, tuple(layers))
    rows, read = _per_layer_embeddings(text, hidden, count)
    total, active = total + rows + read, active + read
    return Architecture(
        hidden=hidden,
        vocab=vocab,
        tied=tied,
        layers=tuple(layers),
        parameters=total,
        active=active,
        context=int(text.get("max_position_embeddings") or text.get("model_max_length") or 0),
        uncounted=tuple(dict.fromkeys(v for k, v in _UNCOUNTED.items() if text.get(k))),
    )


def _per_layer_embeddings(text: Config, hidden: int, count: int) -> tuple[int, int]:
    """Return the weights of Gemma's embeddings for each layer: the tables, and what reads them."""
    width = int(text.get("hidden_size_per_layer_input") or 0)
    table = int(text.get("vocab_size_per_layer_input") or 0) * count * width
    return table, 3 * hidden * width * count  # into all layers' widths at once, and in and out


def need(config: Config, field: str) -> int:
    """Return a whole number that the config must have.

    Raises:
        CatalogError: It is missing or is no whole number above zero.
    """
    value = config.get(field)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CatalogError(f"config.json: {field} must be a whole number above 0, was {value!r}")
    return value


def layer_kinds(text: Config, count: int) -> Sequence[str]:
    """Return what each layer mixes with, in transformers' words (``layer_types``).

    Raises:
        CatalogError: The config lists another number of layers than it has.
    """
    listed = text.get("layer_types") or text.get("layers_block_type")
    if listed is None and isinstance(text.get("attn_type_list"), Sequence):  # MiniMax's own
        listed = ["full_attention" if one else "linear_attention" for one in text["attn_type_list"]]
    if listed is None and isinstance(text.get("linear_attn_config"), Mapping):  # Kimi's, from 1
        linear = set(text["linear_attn_config"].get("kda_layers", ()))
        listed = [_linear(i + 1 in linear) for i in range(count)]
    interval = text.get("full_attention_interval") or text.get("interval")
    if listed is None and interval:
        listed = [_linear((i + 1) % int(interval) != 0) for i in range(count)]
    pattern = text.get("sliding_window_pattern") or text.get("pattern")
    if listed is None and pattern and text.get("sliding_window"):
        listed = [
            "full_attention" if (i + 1) % int(pattern) == 0 else "sliding_attention"
            for i in range(count)
        ]
    if listed is None:
        slides = text.get("sliding_window") and text.get("use_sliding_window", True)
        listed = ["sliding_attention" if slides else "full_attention"] * count
    if len(listed) != count:
        raise CatalogError(
            f"config.json: layer_types must have {count} entries, one a layer, had {len(listed)}"
        )
    return [str(kind) for kind in listed]


def _linear(is_linear: bool) -> str:
    return "linear_attention" if is_linear else "full_attention"


def _base_name(name: str) -> str:
    """Return the model type of the text part: some checkpoints name the whole."""
    return {
        "gemma3": "gemma3_text",
        "gemma3n": "gemma3n_text",
        "gemma4": "gemma4_text",
        "qwen3_5": "qwen3_5_text",
        "qwen3_5_moe": "qwen3_5_moe_text",
        "qwen4_exp": "qwen4_exp_text",
    }.get(name, name)
