"""The architecture of a row of the catalogue, and of a folder."""

import json
from pathlib import Path
from typing import Any

import msgspec

from openwheel.catalog.fit.config import from_config
from openwheel.catalog.fit.shape import Architecture, Layer, Linear, Mixer, Mlp
from openwheel.catalog.rows import Checkpoint, Shape
from openwheel.errors import CatalogError

_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1,
}  # fmt: skip
_LARGEST_HEADER = 100_000_000
"""Bytes; the limit that the safetensors library sets itself."""


class Folder(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint on disk.

    Attributes:
        architecture: What it is; its weights are those of the files, where they can be counted.
        stored: Bytes a weight takes in the files; 0 where there are none.
        quantised: Whether the config says that the files hold packed weights.
    """

    architecture: Architecture
    stored: float = 0.0
    quantised: bool = False


def from_row(row: Checkpoint) -> Architecture | None:
    """Return the architecture of a row of the catalogue; None where its shape is not known.

    All and active weights are the published ones; a row without them has those that its shape
    gives.
    """
    if row.shape is None:
        return None
    shape = row.shape
    layers = _layers(shape)
    table = shape.hidden * shape.vocab
    linears = [*(one for part in layers for one in (*part.mixer.linears, *part.mlp.linears))]
    fixed = sum(one.parameters for one in linears) + (1 if shape.tied_embeddings else 2) * table
    total = fixed + sum(part.mlp.experts * part.mlp.expert_parameters for part in layers)
    active = fixed + sum(part.mlp.chosen * part.mlp.expert_parameters for part in layers)
    if not shape.tied_embeddings:
        active -= table
    if row.total_parameters is not None:
        total = int(row.total_parameters * 1e9)
    if row.active_parameters is not None:
        active = int(row.active_parameters * 1e9)
    return Architecture(
        hidden=shape.hidden,
        vocab=shape.vocab,
        tied=shape.tied_embeddings,
        layers=layers,
        parameters=total,
        active=min(active, total),
        context=row.context or 0,
    )


def _layers(shape: Shape) -> tuple[Layer, ...]:
    """Return layers of the kinds that a shape counts; which comes where makes no difference."""
    cached = shape.layers if shape.cached_layers is None else shape.cached_layers
    stateful = shape.layers - cached
    state = Mixer(
        kind="linear",
        heads=shape.heads,
        kv_heads=shape.heads,
        key_dim=shape.head_dim,
        value_dim=shape.head_dim,
        state=shape.state // stateful if stateful else 0,
        linears=(
            Linear("in_proj", shape.hidden, 3 * shape.heads * shape.head_dim, "stream"),
            Linear("out_proj", shape.heads * shape.head_dim, shape.hidden, "mixed"),
        ),
    )
    mixers = [_attention(shape, 0)] * (cached - shape.sliding_layers)
    mixers += [_attention(shape, shape.sliding_window)] * shape.sliding_layers
    mixers += [state] * stateful
    dense = Mlp(width=shape.intermediate, linears=_gated(shape.hidden, shape.intermediate))
    sparse = Mlp(
        width=shape.shared_experts * shape.expert_intermediate,
        experts=shape.experts,
        chosen=shape.experts_per_token,
        expert_width=shape.expert_intermediate,
        expert_parameters=3 * shape.hidden * shape.expert_intermediate,
        linears=_gated(shape.hidden, shape.shared_experts * shape.expert_intermediate),
        router=shape.hidden * shape.experts,
    )
    first_dense = shape.dense_layers if shape.experts else shape.layers
    return tuple(
        Layer(mixer, dense if i < first_dense else sparse) for i, mixer in enumerate(mixers)
    )


def _attention(shape: Shape, window: int) -> Mixer:
    wide, kept = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    return Mixer(
        kind="latent" if shape.latent else "attention",
        heads=shape.heads,
        kv_heads=shape.kv_heads,
        key_dim=shape.head_dim,
        value_dim=shape.head_dim,
        window=window,
        latent=shape.latent,
        linears=(
            Linear("q_proj", shape.hidden, wide, "stream"),
            Linear("k_proj", shape.hidden, shape.latent or kept, "stream"),
            Linear("v_proj", shape.latent or shape.hidden, kept, "stream"),
            Linear("o_proj", wide, shape.hidden, "mixed"),
        ),
    )


def _gated(hidden: int, width: int) -> tuple[Linear, ...]:
    if not width:
        return ()
    return (
        Linear("gate_proj", hidden, width, "stream"),
        Linear("up_proj", hidden, width, "stream"),
        Linear("down_proj", width, hidden, "wide"),
    )


def from_folder(path: Path) -> Folder:
    """Return what a folder, or a ``config.json``, holds; the weights of its safetensors counted.

    Raises:
        CatalogError: There is no ``config.json``, or it or a file of weights cannot be read.
    """
    file = path / "config.json" if path.is_dir() else path
    try:
        config: Any = json.loads(file.read_bytes())
    except OSError as error:
        raise CatalogError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise CatalogError(f"{file} must be JSON, and is not: {error}") from None
    if not isinstance(config, dict):
        raise CatalogError(f"{file} must hold an object, held {type(config).__name__}")
    try:
        architecture = from_config(config)
    except CatalogError:
        completed = complete(config)
        if completed is None:
            raise
        architecture = from_config(completed)
    quantised = bool(config.get("quantization_config"))
    shards = sorted(file.parent.glob("*.safetensors"))
    if not shards:
        return Folder(architecture=architecture, quantised=quantised)
    counted = [count_weights(shard) for shard in shards]
    weights, size = (sum(part) for part in zip(*counted, strict=True))
    if quantised:  # packed: a value in the file is not a weight
        return Folder(
            architecture=architecture, stored=size / architecture.parameters, quantised=True
        )
    if "vision_config" in config or "audio_config" in config:  # the files hold other parts too
        return Folder(architecture=architecture, stored=size / max(weights, 1))
    change = weights - architecture.parameters
    exact = msgspec.structs.replace(
        architecture, parameters=weights, active=max(architecture.active + change, 1)
    )
    return Folder(architecture=exact, stored=size / max(weights, 1))


def count_weights(path: Path) -> tuple[int, int]:
    """Return a safetensors file's values and bytes, by its header: 8 bytes of length, then JSON.

    Raises:
        CatalogError: It is no safetensors file.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= _LARGEST_HEADER:
                raise CatalogError(f"{path} must be a safetensors file; its header says {length}")
            header = json.loads(file.read(length))
        tensors = [value for key, value in header.items() if key != "__metadata__"]
        sizes = [int(one["data_offsets"][1]) - int(one["data_offsets"][0]) for one in tensors]
        values = sum(
            size // _BYTES.get(one["dtype"], 1) for one, size in zip(tensors, sizes, strict=True)
        )
    except OSError as error:
        raise CatalogError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise CatalogError(f"{path} must be a safetensors file: {error}") from None
    return values, sum(sizes)


def complete(config: dict[str, Any]) -> dict[str, Any] | None:
    """Return a config with what its transformers class adds; None where there is no such class.

    A checkpoint that transformers saved leaves out what its class has by default.
    """
    try:
        from transformers import CONFIG_MAPPING  # noqa: PLC0415 - seconds; few need it
    except ImportError:
        return None
    name = config.get("model_type")
    if name not in CONFIG_MAPPING:
        return None
    try:
        found: dict[str, Any] = CONFIG_MAPPING[name].from_dict(config).to_dict()
    except (ValueError, TypeError, KeyError):
        return None
    return found
