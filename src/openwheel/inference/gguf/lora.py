"""A LoRA adapter of PEFT as a GGUF file, which llama.cpp puts on its base while it runs.

Source: llama.cpp, ``convert_lora_to_gguf.py`` and ``src/llama-adapter.cpp``.
"""

import json
import math
import re
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from openwheel.errors import ModelError
from openwheel.inference.gguf.families import FAMILIES, Family, head_dim, keys_of
from openwheel.inference.gguf.tensors import interleaved

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_NAME = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
_LAYER = re.compile(r"blk\.\d+\.")


def write_lora(adapter: Path, target: Path, config: Any) -> None:
    """Write an adapter as GGUF.

    Args:
        adapter: Its folder, as PEFT writes it.
        target: The file to write.
        config: The ``transformers`` configuration of its base.

    Raises:
        ModelError: The base's family cannot be written as GGUF, or the adapter changes what
            llama.cpp does not; the message says which.
        OSError: The file cannot be written.
    """
    if config.model_type not in FAMILIES:
        raise ModelError(
            f"llama.cpp is given adapters of the families {', '.join(FAMILIES)}; this base is "
            f"{config.model_type}"
        )
    family = FAMILIES[config.model_type]
    keys_of(config, family)  # what is refused there has weights in another order
    settings = _settings(adapter)
    tensors = _tensors(adapter, config, family)
    alpha = float(settings["lora_alpha"])
    if settings.get("use_rslora"):
        alpha *= math.sqrt(settings["r"])
    writer = gguf.GGUFWriter(None, family.architecture)
    writer.add_type("adapter")
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    for name, values in sorted(tensors.items()):
        writer.add_tensor(name, values)
    try:
        writer.write_header_to_file(target)
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _settings(adapter: Path) -> dict[str, Any]:
    try:
        settings: dict[str, Any] = json.loads((adapter / CONFIG).read_text(encoding="utf-8"))
        kind = settings["peft_type"]
        odd = [
            name
            for name in ("use_dora", "alpha_pattern", "rank_pattern", "modules_to_save", "bias")
            if settings.get(name) and settings[name] != "none"
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"The adapter's {adapter / CONFIG} cannot be read: {error}") from None
    if kind != "LORA" or odd:
        what = f"LoRA with {odd[0]}" if odd else str(kind)
        raise ModelError(f"llama.cpp is given plain LoRA adapters; the one at {adapter} is {what}")
    return settings


def _tensors(adapter: Path, config: Any, family: Family) -> dict[str, npt.NDArray[np.float32]]:
    architectures = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(architectures[family.architecture], config.num_hidden_layers)
    found: dict[str, npt.NDArray[np.float32]] = {}
    try:
        with safe_open(adapter / WEIGHTS, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - not a mapping
                matched = _NAME.fullmatch(name)
                modules = family.modules(matched["module"]) if matched else []
                known = [names.get_name(module) for module in modules]
                if not matched or not all(one and _LAYER.match(one) for one in known):
                    raise ModelError(
                        f"llama.cpp is given adapters of a model's layers alone; the one at "
                        f"{adapter} changes {name}"
                    )
                values = file.get_tensor(name).float().numpy()
                if matched["side"] == "A":
                    found |= {f"{one}.weight.lora_a": values for one in known}
                else:
                    rows = _as_base(values, matched["module"], config, family)
                    parts = zip(known, np.split(rows, len(known)), strict=True)
                    found |= {f"{one}.weight.lora_b": part for one, part in parts}
    except (OSError, SafetensorError) as error:
        raise ModelError(f"The adapter at {adapter} cannot be read: {error}") from None
    return found


def _as_base(
    values: npt.NDArray[np.float32], module: str, config: Any, family: Family
) -> npt.NDArray[np.float32]:
    """Return rows in the order that the base's have in its own file."""
    if family.interleave and module.endswith((".q_proj", ".k_proj")):
        values = interleaved(values, values.shape[0] // head_dim(config))
    return np.ascontiguousarray(values)
