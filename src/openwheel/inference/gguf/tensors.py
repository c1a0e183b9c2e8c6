"""The tensors of a checkpoint in the order, the names and the layout that GGUF has for them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import gguf
import numpy as np
import numpy.typing as npt
from safetensors import safe_open
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from openwheel.errors import ModelError
from openwheel.inference.gguf.families import Family, head_dim, rope_parameters

_SUFFIXES = (".weight", ".bias")
_TEXT_PART = "model.language_model."
"""What the names of a model's text part begin with where it has others."""

_OTHER_PARTS = ("model.visual.", "mtp.")
"""What transformers' class of the text part leaves out as well: towers, heads for drafts."""


class _Source(NamedTuple):
    """Where a tensor is read: a tensor of a file, and which of how many parts of its rows."""

    path: Path
    name: str
    part: int
    parts: int


class Tensors:
    """A checkpoint's tensors, read one at a time so that memory holds one.

    Args:
        folder: The checkpoint, as safetensors.
        config: Its ``transformers`` configuration.
        family: Its row.

    Attributes:
        shapes: Of each tensor, by its name in GGUF.
        notes: What was left out, in a sentence.

    Raises:
        ModelError: A tensor has no name in GGUF.
    """

    def __init__(self, folder: Path, config: Any, family: Family) -> None:
        self._config, self._family = config, family
        architectures = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}
        names = gguf.get_tensor_name_map(
            architectures[family.architecture], config.num_hidden_layers
        )
        self._where: dict[str, _Source] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.notes: tuple[str, ...] = ()
        for path in sorted(folder.glob("*.safetensors")):
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 - not a mapping
                    if name.endswith("rotary_emb.inv_freq"):
                        continue
                    if name == "lm_head.weight" and config.tie_word_embeddings:
                        continue
                    if name.startswith(_OTHER_PARTS):
                        self.notes = ("It reads text alone: other parts are left out.",)
                        continue
                    shape = tuple(file.get_slice(name).get_shape())
                    self._place(path, name, shape, names)
        self._extra = {}
        if (factors := rope_factors(config)) is not None:
            self._extra["rope_freqs.weight"] = factors
            self.shapes["rope_freqs.weight"] = factors.shape
        embedding = self.shapes.get("token_embd.weight")
        if embedding is None:
            raise ModelError(f"The checkpoint {folder} has no token embedding")

    def _place(self, path: Path, name: str, shape: tuple[int, ...], names: Any) -> None:
        """Note where a tensor of a file, or each part of it, goes.

        Raises:
            ModelError: GGUF has no name for it, or llama.cpp does not read it.
        """
        suffix = next((end for end in _SUFFIXES if name.endswith(end)), "")
        modules = self._family.modules(name.removesuffix(suffix).replace(_TEXT_PART, "model.", 1))
        for part, module in enumerate(modules):
            known = names.get_name(module + suffix, try_suffixes=_SUFFIXES)
            if known is None:
                raise ModelError(f"GGUF has no name for the tensor {name} of {path.parent}")
            if known.endswith(".bias") and known.split(".")[-2] not in self._family.biases:
                raise ModelError(
                    f"A {self._config.model_type} model must have no bias {name} to export to "
                    "GGUF: llama.cpp does not read it"
                )
            self._where[known] = _Source(path, name, part, len(modules))
            self.shapes[known] = _without_ones((shape[0] // len(modules), *shape[1:]))

    def read(self, name: str) -> npt.NDArray[np.float32]:
        """Return one tensor by its name in GGUF, in GGUF's layout."""
        if name in self._extra:
            return self._extra[name]
        path, source, part, parts = self._where[name]
        with safe_open(path, framework="pt") as file:
            values: npt.NDArray[np.float32] = file.get_tensor(source).float().numpy()
        values = np.split(values, parts)[part].reshape(self.shapes[name])
        if source.endswith("norm.weight") and not source.endswith(self._family.plain_norms):
            values = values + np.float32(self._family.norm_offset)
        if source.endswith(".A_log"):  # llama.cpp has the rate itself
            values = -np.exp(values)
        if self._family.interleave:
            if source.endswith(("q_proj.weight", "q_proj.bias")):
                values = interleaved(values, self._config.num_attention_heads)
            elif source.endswith(("k_proj.weight", "k_proj.bias")):
                values = interleaved(values, self._config.num_key_value_heads)
        return np.ascontiguousarray(values)

    def __iter__(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield each tensor's name in GGUF and its shape."""
        yield from self.shapes.items()


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without the dimension between that convolutions of one channel each have."""
    return (shape[0], *(size for size in shape[1:-1] if size != 1), *shape[1:][-1:])


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
