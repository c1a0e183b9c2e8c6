"""Reads the headers of files of weights: tensors, and metadata.

No weight is read. Safetensors: 8 bytes of length, then JSON. GGUF: the format's specification
(github.com/ggml-org/ggml, docs/gguf.md), versions 2 and 3.
"""

import json
import math
import struct
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from openwheel.errors import CatalogError

_LARGEST = 100_000_000
"""Bytes of a header; the limit that the safetensors library sets itself."""

_NUMBERS = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
_STRING, _ARRAY = 8, 9


class Tensor(msgspec.Struct, frozen=True):
    """A tensor: its name, how many values it has, and the bytes that they take."""

    name: str
    values: int
    size: int


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a file of weights says of itself.

    Attributes:
        path: The file.
        metadata: Its metadata; of GGUF without the arrays.
        tensors: Its tensors.
    """

    path: Path
    metadata: dict[str, Any]
    tensors: tuple[Tensor, ...]


def read_header(path: Path) -> Header:
    """Return what a file of weights says of itself; a name that ends in ``.gguf`` is GGUF's.

    Raises:
        CatalogError: The file cannot be read, or is no such file.
    """
    read, kind = (_gguf, "GGUF") if path.suffix == ".gguf" else (_safetensors, "safetensors")
    try:
        with path.open("rb") as file:
            return read(path, file)
    except OSError as error:
        raise CatalogError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, struct.error) as error:
        raise CatalogError(f"{path} must be a {kind} file, and is not: {error}") from None


def _safetensors(path: Path, file: BinaryIO) -> Header:
    (length,) = struct.unpack("<Q", file.read(8))
    if not 2 <= length <= _LARGEST:
        raise ValueError(f"its header would have {length} bytes")
    content = json.loads(file.read(length))
    metadata = content.pop("__metadata__", {})
    tensors = tuple(
        Tensor(name, math.prod(entry["shape"]), entry["data_offsets"][1] - entry["data_offsets"][0])
        for name, entry in content.items()
    )
    return Header(path=path, metadata=dict(metadata), tensors=tensors)


def _gguf(path: Path, file: BinaryIO) -> Header:
    magic, version, count, pairs = struct.unpack("<4sIQQ", file.read(24))
    if magic != b"GGUF" or version not in {2, 3}:
        raise ValueError(f"it begins with {magic!r}, version {version}")
    metadata = {}
    for _ in range(pairs):
        key = _text(file)
        value = _value(file, *_unpack(file, "I"))
        if value is not None:
            metadata[key] = value
    names, sizes, offsets = [], [], []
    for _ in range(count):
        names.append(_text(file))
        (dimensions,) = _unpack(file, "I")
        sizes.append(math.prod(_unpack(file, f"{dimensions}Q")))
        offsets.append(_unpack(file, "IQ")[1])
    step = int(metadata.get("general.alignment", 32))
    begin = -(-file.tell() // step) * step
    ends = sorted([*offsets, path.stat().st_size - begin])
    following = dict(pairwise(ends))
    tensors = (
        Tensor(name, size, following[offset] - offset)
        for name, size, offset in zip(names, sizes, offsets, strict=True)
    )
    return Header(path=path, metadata=metadata, tensors=tuple(tensors))


def _value(file: BinaryIO, kind: int) -> Any:
    """Return a value of the metadata; None for an array, which is passed over."""
    if kind == _STRING:
        return _text(file)
    if kind != _ARRAY:
        return _unpack(file, _NUMBERS[kind])[0]
    inner, length = _unpack(file, "IQ")
    if inner in _NUMBERS:
        file.seek(length * struct.calcsize("<" + _NUMBERS[inner]), 1)
    else:
        for _ in range(length):
            _value(file, inner)
    return None


def _text(file: BinaryIO) -> str:
    (length,) = _unpack(file, "Q")
    if length > _LARGEST:
        raise ValueError(f"a text of it would have {length} bytes")
    return file.read(length).decode("utf-8", errors="replace")


def _unpack(file: BinaryIO, form: str) -> tuple[Any, ...]:
    return struct.unpack("<" + form, file.read(struct.calcsize("<" + form)))
