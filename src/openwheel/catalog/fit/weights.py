"""Describes a checkpoint for estimates of memory and speed: its weights, the shape of its cache."""

import re
from pathlib import Path

import msgspec

from openwheel.catalog.configs import config_of, shape_of, whole
from openwheel.catalog.rows import Checkpoint, Shape
from openwheel.catalog.weight_headers import read_header
from openwheel.errors import CatalogError

_TABLE = re.compile(r"embe?d|lm_head|\bwte\b|^output\.weight$")
"""Names of embeddings and output layers, which formats of few bits keep in more."""

_OUTPUT = re.compile(r"lm_head|^output\.weight$")
_EXPERTS = re.compile(r"\.experts\.|_exps\.")


class Weights(msgspec.Struct, frozen=True, kw_only=True):
    """The weights of a checkpoint.

    Attributes:
        parameters: All of them, a count.
        active: Those that are read for a token: without experts that are not chosen, and without
            an embedding of which one row is read.
        tables: Those of the embedding and the output layer.
        shape: The shape of its cache; None where it is not known.
        context: Tokens that it was made for; 0 where it is not known.
        stored: Bytes in the files; 0 without files.
        fixed: Whether they run as they lie in the files: GGUF, or weights quantised before.
    """

    parameters: int
    active: int
    tables: int = 0
    shape: Shape | None = None
    context: int = 0
    stored: int = 0
    fixed: bool = False


def of_row(row: Checkpoint) -> Weights | None:
    """Return the weights of a row of the catalogue; None where their number is not known."""
    if row.total_parameters is None:
        return None
    total, shape = int(row.total_parameters * 1e9), row.shape
    table = shape.hidden * shape.vocab if shape is not None else 0
    tied = shape is None or shape.tied_embeddings
    active = int(row.active_parameters * 1e9) if row.active_parameters else total
    return Weights(
        parameters=total,
        active=active if tied or active < total else total - table,
        tables=min(table if tied else 2 * table, total),
        shape=shape,
        context=row.context or 0,
    )


def of_folder(path: Path) -> Weights:
    """Return the weights of a checkpoint's folder or of a GGUF file, by the files' headers.

    Raises:
        CatalogError: No weights are there, or a file cannot be read.
    """
    headers = [read_header(file) for file in weight_files(path)]
    config = config_of(path, headers)
    shape = shape_of(config)
    values = {tensor.name: tensor.values for header in headers for tensor in header.tensors}
    total = sum(values.values())
    tables = {name: count for name, count in values.items() if _TABLE.search(name)}
    experts = sum(count for name, count in values.items() if _EXPERTS.search(name))
    active = float(total)
    if shape is not None and shape.experts:
        active -= experts * (1 - shape.experts_per_token / shape.experts)
    if any(_OUTPUT.search(name) for name in tables):
        active -= max(
            (count for name, count in tables.items() if not _OUTPUT.search(name)), default=0
        )
    return Weights(
        parameters=total,
        active=int(active),
        tables=sum(tables.values()),
        shape=shape,
        context=whole(config, "max_position_embeddings") or 0,
        stored=sum(tensor.size for header in headers for tensor in header.tensors),
        fixed=bool(config.get("quantization_config")) or headers[0].path.suffix == ".gguf",
    )


def weight_files(path: Path) -> list[Path]:
    """Return the files of a checkpoint's weights: its shards, or the GGUF file that is named.

    Raises:
        CatalogError: There are none, or several GGUF files to choose from.
    """
    if path.is_file() and path.suffix == ".gguf":
        return [path]
    shards = sorted(path.glob("*.safetensors"))
    # Some publishers put the same weights beside them under another name.
    shards = [shard for shard in shards if shard.name.startswith("model")] or shards
    files = shards or sorted(path.glob("*.gguf"))
    if not files:
        raise CatalogError(
            f"{path} must be a folder with *.safetensors or a .gguf file, and is not"
        )
    if not shards and len(files) > 1:
        raise CatalogError(f"{path} holds {len(files)} GGUF files; name one of them")
    return files


def cache_bytes(shape: Shape, *, context: int, batch: int = 1, element: float = 2.0) -> float:
    """Return the bytes of keys, values and states of ``batch`` sequences of ``context`` tokens.

    A sequence: over the layers, tokens looked back at times the values kept for one, and states
    of fixed size in 32 bits. Source: Pope et al. 2022 (arXiv 2211.05102); DeepSeek-V2
    (arXiv 2405.04434) for latent attention.
    """
    cached = shape.layers if shape.cached_layers is None else shape.cached_layers
    whole = (cached - shape.sliding_layers) * context
    windowed = shape.sliding_layers * min(context, shape.sliding_window or context)
    return batch * ((whole + windowed) * token_values(shape) * element + shape.state * 4)


def token_values(shape: Shape) -> int:
    """Return how many values a layer keeps for a token."""
    return shape.latent or 2 * shape.kv_heads * shape.head_dim
