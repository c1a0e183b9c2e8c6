"""The LoRA adapter: which modules of a base it changes, and its standard folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openwheel.catalog import Family, load_catalog
from openwheel.engine.base import Base
from openwheel.errors import ModelError
from openwheel.settings import LmSection

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def targets_of(model_type: str, settings: LmSection) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the modules and the fused parameters that LoRA changes in a family.

    PEFT's own defaults know few families, and its ``all-linear`` means attention and MLP in some,
    routers and experts too in others; so the catalogue names them.

    Raises:
        ModelError: The catalogue knows no targets for the family, and the settings name none.
    """
    if settings.targets:
        return settings.targets, ()
    family = _family(model_type)
    targets = (*family.attention_targets, *family.mlp_targets) if family else ()
    if not targets:
        raise ModelError(
            f"There are no LoRA targets for model_type {model_type!r} in the catalogue; name the "
            'modules in openwheel.toml, for example [lm] targets = ["q_proj", "v_proj"]'
        )
    return targets, family.expert_targets if family and settings.experts else ()


def _family(model_type: str) -> Family | None:
    return load_catalog().family(model_type)


def add_adapter(base: Base, settings: LmSection) -> Any:
    """Return the base with a new adapter, its weights drawn by the seed of the settings.

    Raises:
        ModelError: The family has no targets, or the model has no modules of those names.
    """
    import torch  # noqa: PLC0415
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - 20 seconds of imports

    modules, parameters = targets_of(base.model_type, settings)
    torch.manual_seed(settings.seed)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.rank,
        lora_alpha=2 * settings.rank,
        lora_dropout=0.0,
        target_modules=list(modules),
        target_parameters=list(parameters) or None,
        base_model_name_or_path=base.name,
        revision=base.revision or None,
    )
    try:
        model = get_peft_model(base.model, config, autocast_adapter_dtype=True)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ModelError(
            f"LoRA cannot be put on {base.name} ({base.model_type}): {error}"
        ) from None
    return model


def compute_again(model: Any) -> None:
    """Have each layer's values computed again for the gradient instead of kept."""
    model.enable_input_require_grads()
    # The older name, which transformers lets go in version 6, is all that early versions 5 have.
    enable = getattr(model, "activation_checkpointing_enable", None)
    (enable or model.gradient_checkpointing_enable)({"use_reentrant": False})


def learned(model: Any) -> dict[str, Any]:
    """Return the weights that are learned, by name."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def put(model: Any, weights: Mapping[str, Any]) -> None:
    """Give the weights that are learned these values, by name."""
    import torch  # noqa: PLC0415

    with torch.no_grad():
        for name, weight in learned(model).items():
            weight.copy_(weights[name])


def save_adapter(model: Any, weights: Mapping[str, Any], folder: Path) -> None:
    """Write an adapter folder with these weights in place of the model's own.

    Raises:
        ModelError: It cannot be written.
    """
    from safetensors import SafetensorError  # noqa: PLC0415

    put(model, weights)
    try:
        model.save_pretrained(folder, safe_serialization=True)
        # A form of the hub's, with nothing filled in.
        (folder / "README.md").unlink(missing_ok=True)
        # PEFT writes a set in whatever order this process has it.
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        config["target_modules"] = sorted(config["target_modules"])
        (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise ModelError(f"The adapter cannot be written to {folder}: {error}") from None
