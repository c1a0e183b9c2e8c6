"""Numbers as a GGUF file stores them."""

from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from openwheel.errors import ModelError

_KINDS = {
    "f32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
    "f16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "bf16": (gguf.GGMLQuantizationType.BF16, gguf.LlamaFileType.MOSTLY_BF16),
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
}
PRECISIONS = tuple(_KINDS)
_Q8_BLOCK = 32
_BITS = {"f32": 32.0, "f16": 16.0, "bf16": 16.0, "q8_0": 8.5}


def file_type(precision: str) -> int:
    """Return GGUF's number for a file of this precision."""
    return int(_KINDS[precision][1])


def bytes_needed(parameters: int, precision: str) -> int:
    """Return about how many bytes so many parameters take."""
    return int(parameters * _BITS[precision] / 8)


def kind_of(shape: tuple[int, ...], precision: str) -> Any:
    """Return how a tensor is stored.

    Vectors and rows shorter than a block (those of convolutions, which llama.cpp reads in no other
    precision) are always whole; other rows that no block fits are f16.
    """
    if len(shape) < 2 or shape[-1] < _Q8_BLOCK:
        return _KINDS["f32"][0]
    if precision == "q8_0" and shape[-1] % _Q8_BLOCK:
        return _KINDS["f16"][0]
    return _KINDS[precision][0]


def stored_bytes(shape: tuple[int, ...], kind: Any) -> int:
    """Return how many bytes a tensor takes."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    return int(np.prod(shape, dtype=np.int64)) // int(block) * int(size)


def pack(values: npt.NDArray[np.float32], kind: Any) -> npt.NDArray[Any]:
    """Return a tensor's values as they are stored.

    Raises:
        ModelError: A value is not finite, or too large for the precision.
    """
    if kind == gguf.GGMLQuantizationType.F32:
        packed: npt.NDArray[Any] = values
    elif kind == gguf.GGMLQuantizationType.F16:
        with np.errstate(over="ignore"):
            packed = values.astype(np.float16)
        if not np.isfinite(packed).all():
            raise ModelError("A weight must be finite and below 65504 for f16; use bf16 or f32")
    else:
        packed = gguf.quants.quantize(values, kind)
    if not np.isfinite(values).all():
        raise ModelError("A weight must be a finite number to be exported, but one is not")
    return packed


def unpack(stored: npt.NDArray[Any], kind: Any) -> npt.NDArray[np.float32]:
    """Return the values of a stored tensor."""
    values: npt.NDArray[np.float32] = gguf.quants.dequantize(stored, kind)
    return values


def rounding(values: npt.NDArray[np.float32], kind: Any) -> npt.NDArray[np.float32]:
    """Return how far each stored value may be from the true one."""
    size = np.abs(values)
    if kind == gguf.GGMLQuantizationType.F32:
        return np.zeros_like(size)
    if kind == gguf.GGMLQuantizationType.F16:
        return np.maximum(size * 2.0**-11, np.float32(2.0**-25))
    if kind == gguf.GGMLQuantizationType.BF16:
        return size * np.float32(2.0**-8)
    # Half a step of the block's scale, and the scale's own rounding to f16.
    peak = size.reshape(-1, _Q8_BLOCK).max(axis=1, keepdims=True)
    step = np.repeat(peak / 127 * (0.5 + 127 * 2.0**-11) + 2.0**-24 * 127, _Q8_BLOCK, axis=1)
    return step.reshape(values.shape).astype(np.float32)
