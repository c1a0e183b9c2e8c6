"""Loading a model and its adapters into an engine."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from openwheel.engine.base import load_base
from openwheel.engine.engine import Engine, EngineLimits


def open_engine(
    model: str,
    *,
    name: str = "",
    adapters: Mapping[str, str | Path] | None = None,
    revision: str = "",
    precision: str = "auto",
    device: str = "auto",
    max_batch: int = 0,
    context: int = 0,
    limits: EngineLimits | None = None,
    reasoning: str = "auto",
    tools: str = "auto",
) -> Engine:
    """Return an engine that is ready to write; whoever asked for it closes it.

    Args:
        model: A folder, or an id of the hub.
        name: What the base is served as; by default ``model``.
        adapters: Adapter folders by name.
        revision: See `openwheel.engine.base.load_base`, as for the next two.
        precision: What it computes in.
        device: Where.
        max_batch: The most answers written at a time, 0 for the default.
        context: The most tokens of a prompt with its answer, 0 for the default.
        limits: What it may take otherwise.
        reasoning: The form in which the model thinks; ``auto`` reads it from the template.
        tools: The form in which it calls tools, likewise.

    Raises:
        SettingError: A form is none that is known.
        ModelError: The model or an adapter cannot be loaded.
        RequestError: Two adapters have one name.
    """
    limits = limits or EngineLimits()
    if max_batch:
        limits = msgspec.structs.replace(limits, max_batch=max_batch)
    if context:
        limits = msgspec.structs.replace(limits, context=context)
    base = load_base(model, revision=revision, precision=precision, device=device)
    engine = Engine(
        base,
        name=name or model,
        limits=limits,
        reasoning=reasoning,
        tools=tools,
        batched=_batched(base.model_type),
    )
    try:
        for one, folder in (adapters or {}).items():
            engine.load_adapter(one, folder)
    except BaseException:
        engine.close()
        raise
    return engine


def _batched(model_type: str) -> bool:
    """Return whether answers of this family may be written together, as far as is known."""
    from openwheel.catalog import load_catalog  # noqa: PLC0415

    family = load_catalog().family(model_type)
    return family is None or family.batching != "verify"
