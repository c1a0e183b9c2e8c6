"""The LoRA adapter: which modules of a base it changes, and its standard folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from openwheel.catalog import load_catalog
from openwheel.errors import ModelError
from openwheel.settings import LmSection
from openwheel.students.lm.base import Base

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


class Targets(NamedTuple):
    """What LoRA changes: linear modules by the ends of their names, fused parameters likewise."""

    modules: tuple[str, ...]
    parameters: tuple[str, ...] = ()


def targets_of(model_type: str, settings: LmSection) -> Targets:
    """Return the modules and the fused parameters that LoRA changes in a family.

    PEFT's own defaults know few families, and its ``all-linear`` means attention and MLP in some,
    routers and experts too in others; so the catalogue names them.

    Raises:
        ModelError: The catalogue knows no targets for the family, and the settings name none.
    """
    if settings.targets:
        return Targets(settings.targets)
    family = load_catalog().family(model_type)
    if family is None or not family.attention_targets:
        raise ModelError(
            f"There are no LoRA targets for model_type {model_type!r} in the catalogue; name the "
            'modules in openwheel.toml, for example [lm] targets = ["q_proj", "v_proj"]'
        )
    if settings.experts and family.expert_targets:
        return Targets(family.attention_targets, family.expert_targets)
    return Targets((*family.attention_targets, *family.mlp_targets))


def add_adapter(base: Base, settings: LmSection) -> Any:
    """Return the base with a new adapter, its weights drawn by the seed of the settings.

    In many mixtures PEFT takes the names of an MLP's modules for the routed experts that once had
    them, which are most of the model. There, unless experts are wanted or the settings name the
    modules, attention alone is changed.

    Raises:
        ModelError: The family has no targets, or the model has no modules of those names.
    """
    targets = targets_of(base.model_type, settings)
    model = _adapted(base, targets, settings)
    unwanted = not (settings.targets or settings.experts)
    if unwanted and any(".experts." in name for name in learned(model)):
        model.unload()
        family = load_catalog().family(base.model_type)
        assert family is not None
        model = _adapted(base, Targets(family.attention_targets), settings)
    return model


def _adapted(base: Base, targets: Targets, settings: LmSection) -> Any:
    import torch  # noqa: PLC0415
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - 20 seconds of imports

    torch.manual_seed(settings.seed)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=settings.rank,
        lora_alpha=2 * settings.rank,
        lora_dropout=0.0,
        target_modules=list(targets.modules),
        target_parameters=list(targets.parameters) or None,
        base_model_name_or_path=base.name,
        revision=base.revision or None,
    )
    try:
        return get_peft_model(base.model, config, autocast_adapter_dtype=True)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ModelError(
            f"LoRA cannot be put on {base.name} ({base.model_type}): {error}"
        ) from None


def targets_in(model: Any) -> tuple[str, ...]:
    """Return the modules and parameters that an adapter changes."""
    config = model.peft_config[model.active_adapter]
    return tuple(sorted({*config.target_modules, *(config.target_parameters or ())}))


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
