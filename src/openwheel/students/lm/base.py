"""Loading a base checkpoint: its model, its tokenizer, and where both came from."""

from pathlib import Path
from typing import Any, Literal

import msgspec

from openwheel.catalog import load_catalog
from openwheel.errors import ModelError
from openwheel.inference.checkpoint import Checkpoint, find_checkpoint
from openwheel.machine import free_memory

Precision = Literal["auto", "float32", "bfloat16", "float16"]


class Base(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint in memory.

    Attributes:
        name: As it was asked for.
        model: A transformers causal LM in evaluation mode, its weights frozen.
        tokenizer: Its tokenizer.
        model_type: The ``model_type`` of the class that runs it.
        path: Its folder.
        revision: The hub's commit it is of, ``""`` for a folder that is of none.
        device: Where it is: ``cpu``, ``cuda:0``, ``mps`` and so on.
        precision: What it computes in: ``float32``, ``bfloat16`` or ``float16``.
    """

    name: str
    model: Any
    tokenizer: Any
    model_type: str
    path: Path
    revision: str
    device: str
    precision: str


def load_base(
    name: str, *, revision: str = "", precision: str = "auto", device: str = "auto"
) -> Base:
    """Load a causal language model and its tokenizer.

    Args:
        name: A folder, or an id of the Hugging Face hub.
        revision: The hub's commit; see `find_checkpoint`.
        precision: ``float32``, ``bfloat16``, ``float16``, or ``auto``: what the checkpoint is kept
            in on an accelerator that computes in it, ``float32`` on a CPU.
        device: A torch device, or ``auto``: an accelerator if there is one.

    Raises:
        ModelError: There is no such checkpoint, transformers has no class for it, it needs code
            of its own, it has no safetensors or lacks weights, or memory does not suffice.
    """
    import torch  # noqa: PLC0415 - seconds of imports, which only those who run a model need
    from safetensors import SafetensorError  # noqa: PLC0415
    from transformers import AutoModelForCausalLM  # noqa: PLC0415

    checkpoint = find_checkpoint(name, revision=revision)
    config = _config(checkpoint)
    place = _device(device)
    dtype = _dtype(precision, config, place)
    _check_memory(checkpoint, config, dtype, place)
    try:
        model, found = AutoModelForCausalLM.from_pretrained(
            checkpoint.path,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
        model.to(place)
    except torch.OutOfMemoryError:
        raise ModelError(f"The model {name} does not fit into the memory of {place}") from None
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        raise ModelError(f"The model {name} cannot be loaded: {_first_line(error)}") from None
    # Transformers would fill them with random numbers, and say so in a warning only.
    if lacking := sorted(found["missing_keys"]):
        raise ModelError(
            f"The model {name} lacks {len(lacking)} of the weights its class has, "
            f"among them {lacking[0]}"
        )
    model.eval()
    model.requires_grad_(False)
    return Base(
        name=name,
        model=model,
        tokenizer=load_tokenizer(checkpoint),
        model_type=config.model_type,
        path=checkpoint.path,
        revision=checkpoint.revision,
        device=str(place),
        precision=str(dtype).removeprefix("torch."),
    )


def load_tokenizer(checkpoint: Checkpoint) -> Any:
    """Load the tokenizer of a checkpoint.

    Raises:
        ModelError: It has none that transformers can read without code of the checkpoint's own.
    """
    from transformers import AutoTokenizer  # noqa: PLC0415

    try:
        tokenizer = AutoTokenizer.from_pretrained(checkpoint.path, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError) as error:
        raise ModelError(
            f"The tokenizer of {checkpoint.name} cannot be loaded: {_first_line(error)}"
        ) from None
    if not tokenizer.is_fast:
        raise ModelError(
            f"The tokenizer of {checkpoint.name} must be one of the tokenizers library "
            f"(tokenizer.json), was {type(tokenizer).__name__}"
        )
    return tokenizer


def _config(checkpoint: Checkpoint) -> Any:
    """Return the configuration as its transformers class.

    Raises:
        ModelError: Transformers has no such class, or no causal LM for it.
    """
    from huggingface_hub.errors import StrictDataclassError  # noqa: PLC0415
    from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING  # noqa: PLC0415

    name = checkpoint.name
    family = load_catalog().family(checkpoint.model_type)
    # Some model types are those of another's classes under a name of their own.
    model_type = (family.loads_as if family else "") or checkpoint.model_type
    if model_type not in CONFIG_MAPPING:
        own = (
            " without code of its own, which is never run"
            if "auto_map" in checkpoint.config
            else ""
        )
        raise ModelError(
            f"The model {name} is of model_type {checkpoint.model_type!r}, which this version of "
            f"transformers cannot load{own}"
        )
    fields = {**checkpoint.config, "model_type": model_type}
    fields.pop("auto_map", None)
    try:
        config = CONFIG_MAPPING[model_type].from_dict(fields)
    except (StrictDataclassError, ValueError, TypeError, KeyError) as error:
        raise ModelError(
            f"The config.json of {name} is not one of {model_type}: {_first_line(error)}"
        ) from None
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ModelError(
            f"The model {name} must be a causal language model; transformers has none for "
            f"model_type {model_type!r}"
        )
    return config


def _device(device: str) -> Any:
    import torch  # noqa: PLC0415

    if device == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return torch.device(found.type, 0) if found is not None else torch.device("cpu")
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"The device {device!r} cannot be used: {_first_line(error)}") from None
    return place


def _dtype(precision: str, config: Any, device: Any) -> Any:
    """Return the torch dtype to compute in.

    Raises:
        ModelError: It is not one of those that models are run in.
    """
    import torch  # noqa: PLC0415

    named = {
        "float32": torch.float32,
        "bfloat16": torch.bfloat16,
        "float16": torch.float16,
    }
    if precision in named:
        return named[precision]
    if precision != "auto":
        raise ModelError(
            f"The precision must be auto, float32, bfloat16 or float16, was {precision!r}"
        )
    # Few CPUs multiply half-precision matrices; the others go through float32, at a loss.
    if device.type == "cpu":
        return torch.float32
    kept = config.dtype
    if device.type == "cuda" and kept == torch.bfloat16 and not torch.cuda.is_bf16_supported():
        return torch.float16
    return kept if kept in named.values() else torch.float32


def _check_memory(checkpoint: Checkpoint, config: Any, dtype: Any, device: Any) -> None:
    """Refuse a model whose weights alone are more than what is left of the device's memory."""
    if device.type == "cuda":
        import torch  # noqa: PLC0415

        free = int(torch.cuda.mem_get_info(device)[0])
    elif device.type in {"cpu", "mps"}:
        free = free_memory()
    else:
        return  # nobody says
    kept = getattr(config.dtype, "itemsize", 4)
    # Quantised weights are opened up by their own loaders; how far is not known here.
    grown = 1.0 if "quantization_config" in checkpoint.config else dtype.itemsize / kept
    needed = int(checkpoint.weight_bytes * grown)
    if needed > free:
        raise ModelError(
            f"The weights of {checkpoint.name} take {needed / 1e9:.1f} GB in "
            f"{str(dtype).removeprefix('torch.')}; {device} has {free / 1e9:.1f} GB left"
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
