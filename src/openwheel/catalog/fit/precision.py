"""How many bits a weight really takes in each precision, scales and kept parts included."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from openwheel.errors import SettingError


class Precision(msgspec.Struct, frozen=True, kw_only=True):
    """A way to keep weights.

    Attributes:
        name: As one types it.
        bits: Bits a weight takes, with its share of scales.
        outer_bits: Bits of a weight of the embedding and the output layer, which most formats
            leave as they are.
        compute: Bytes of a value that is computed with.
        source: Where the numbers come from.
    """

    name: str
    bits: float
    outer_bits: float
    compute: int
    source: str


def _rows() -> Mapping[str, Precision]:
    rows = (
        Precision(name="fp32", bits=32, outer_bits=32, compute=4, source="IEEE 754"),
        Precision(name="bf16", bits=16, outer_bits=16, compute=2, source="bfloat16 and float16"),
        Precision(
            name="fp8",
            bits=8 + 32 / (128 * 128),
            outer_bits=16,
            compute=2,
            source="blocks of 128 by 128 with one float32 scale, as DeepSeek-V3 publishes",
        ),
        Precision(
            name="int8",
            bits=8.5,
            outer_bits=8.5,
            compute=2,
            source="GGUF Q8_0: 32 weights and a float16 scale in 34 bytes",
        ),
        Precision(
            name="int4",
            bits=4.81,
            outer_bits=6.5625,
            compute=2,
            source=(
                "GGUF Q4_K_M: most tensors Q4_K (256 weights in 144 bytes, 4.5 bits), half of the "
                "value and down projections and the output layer Q6_K (210 bytes, 6.5625 bits)"
            ),
        ),
        Precision(
            name="mxfp4",
            bits=4.25,
            outer_bits=16,
            compute=2,
            source="OCP MX: 32 weights of 4 bits and a scale of 8 bits in 17 bytes",
        ),
    )
    return MappingProxyType({row.name: row for row in rows})


PRECISIONS: Final = _rows()


def precision(name: str) -> Precision:
    """Return a precision by its name; ``fp16`` is ``bf16``, the names of torch are known too.

    Raises:
        SettingError: There is none of that name.
    """
    aliases = {"fp16": "bf16", "bfloat16": "bf16", "float16": "bf16", "float32": "fp32"}
    key = name.lower()
    found = PRECISIONS.get(aliases.get(key, key))
    if found is None:
        raise SettingError(f"The precision must be one of {', '.join(PRECISIONS)}, was {name!r}")
    return found
