"""The tensors of a checkpoint in the order, the names and the layout that GGUF has for them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
from safetensors import safe_open
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from openwheel.errors import ModelError
from openwheel.inference.gguf.families import Family, head_dim, rope_parameters

_SUFFIXES = (".weight", ".bias")


class Tensors:
    """A checkpoint's tensors, read one at a time so that memory holds one.

    Args:
        folder: The checkpoint, as safetensors.
        config: Its ``transformers`` configuration.
        family: Its row.

    Raises:
        ModelError: A tensor has no name in GGUF.
    """

    def __init__(self, folder: Path, config: Any, family: Family) -> None:
        self._config, self._family = config, family
        architectures = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}
        names = gguf.get_tensor_name_map(
            architectures[family.architecture], config.num_hidden_layers
        )
        self._where: dict[str, tuple[Path, str]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        for path in sorted(folder.glob("*.safetensors")):
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 - not a mapping
                    if name.endswith("rotary_emb.inv_freq"):
                        continue
                    if name == "lm_head.weight" and config.tie_word_embeddings:
                        continue
                    known = names.get_name(name, try_suffixes=_SUFFIXES)
                    if known is None:
                        raise ModelError(f"GGUF has no name for the tensor {name} of {folder}")
                    if known.endswith(".bias") and known.split(".")[-2] not in family.biases:
                        raise ModelError(
                            f"A {config.model_type} model must have no bias {name} to export to "
                            "GGUF: llama.cpp does not read it"
                        )
                    self._where[known] = path, name
                    self.shapes[known] = tuple(file.get_slice(name).get_shape())
        self._extra = {}
        if (factors := rope_factors(config)) is not None:
            self._extra["rope_freqs.weight"] = factors
            self.shapes["rope_freqs.weight"] = factors.shape
        embedding = self.shapes.get("token_embd.weight")
        if embedding is None:
            raise ModelError(f"The checkpoint {folder} has no token embedding")

    def read(self, name: str) -> npt.NDArray[np.float32]:
        """Return one tensor by its name in GGUF, in GGUF's layout."""
        if name in self._extra:
            return self._extra[name]
        path, source = self._where[name]
        with safe_open(path, framework="pt") as file:
            values: npt.NDArray[np.float32] = file.get_tensor(source).float().numpy()
        if self._family.norm_offset and source.endswith("norm.weight"):
            values = values + np.float32(self._family.norm_offset)
        if self._family.interleave:
            if source.endswith(("q_proj.weight", "q_proj.bias")):
                values = interleaved(values, self._config.num_attention_heads)
            elif source.endswith(("k_proj.weight", "k_proj.bias")):
                values = interleaved(values, self._config.num_key_value_heads)
        return np.ascontiguousarray(values)

    def __iter__(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield each tensor's name in GGUF and its shape."""
        yield from self.shapes.items()


def rope_factors(config: Any) -> npt.NDArray[np.float32] | None:
    """Return by what each rotary frequency is divided under llama3 scaling; None without it."""
    if rope_parameters(config).get("rope_type") != "llama3":
        return None
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, device="cpu")
    dim = head_dim(config)
    plain = rope_parameters(config)["rope_theta"] ** -(np.arange(0, dim, 2) / dim)
    factors: npt.NDArray[np.float32] = (plain / scaled.double().numpy()).astype(np.float32)
    return factors


def interleaved(values: npt.NDArray[np.float32], heads: int) -> npt.NDArray[np.float32]:
    """Put each head's rows from two halves into pairs, as interleaved rotary embeddings want."""
    half = values.shape[0] // heads // 2
    by_half = values.reshape(heads, 2, half, *values.shape[1:])
    return by_half.swapaxes(1, 2).reshape(values.shape)
