"""Copies an adapter as the standard PEFT folder, which vLLM, SGLang and PEFT load with the base."""

import shutil
from pathlib import Path

from safetensors import SafetensorError, safe_open

from openwheel.errors import ModelError
from openwheel.export.source import CONFIG, WEIGHTS, Source


def write_adapter(source: Source, folder: Path) -> int:
    """Copy an adapter's two files, if they can be read; return how many numbers it holds.

    Raises:
        ModelError: There is no adapter, or its weights cannot be read.
    """
    if source.adapter is None:
        raise ModelError(f"{source.base} is a checkpoint by itself and has no adapter to export")
    for name in (CONFIG, WEIGHTS):
        shutil.copyfile(source.adapter / name, folder / name)
    count = 0
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - not a mapping
                values = file.get_tensor(name)
                if not values.isfinite().all():
                    raise ModelError(f"The adapter's weight {name} must be finite, but is not")
                count += values.numel()
    except SafetensorError as error:
        raise ModelError(f"The adapter's weights cannot be read: {error}") from None
    if not count:
        raise ModelError(f"The adapter at {source.adapter} holds no weights")
    return count
