"""Where a run stands, on disk, so that a killed one goes on as if it had not been.

Tensors are kept as safetensors and the rest as JSON: nothing is pickled. A checkpoint is written
beside its place and renamed; the one before goes only after that.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import msgspec

from openwheel.errors import ModelError

TENSORS, STATE = "tensors.safetensors", "state.json"


class State(msgspec.Struct, frozen=True, kw_only=True):
    """All of a run that is not a tensor.

    Attributes:
        order: The id of its order.
        step: Optimizer steps taken.
        tokens: Tokens learned from.
        best_step: Step of the best held-out loss.
        best_loss: That loss.
        stale: Looks at the held-out part since then.
        losses: Training losses of the last steps.
        seconds: Time used.
        cpu_seconds: Processor time used.
    """

    order: str
    step: int = 0
    tokens: int = 0
    best_step: int = 0
    best_loss: float | None = None
    stale: int = 0
    losses: tuple[float, ...] = ()
    seconds: float = 0.0
    cpu_seconds: float = 0.0


def save_checkpoint(folder: Path, state: State, tensors: dict[str, Any]) -> None:
    """Write a checkpoint in place of the one before.

    Raises:
        ModelError: It cannot be written (a full disk, no permission).
    """
    from safetensors import SafetensorError  # noqa: PLC0415
    from safetensors.torch import save_file  # noqa: PLC0415 - imports torch

    new, old = folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")
    try:
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        save_file(tensors, new / TENSORS)
        (new / STATE).write_bytes(msgspec.json.encode(state))
        _to_disk(new)
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            os.replace(folder, old)
        os.replace(new, folder)
        shutil.rmtree(old, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(new, ignore_errors=True)
        raise ModelError(f"The checkpoint {folder} cannot be written: {error}") from None


def load_checkpoint(folder: Path, order: str) -> tuple[State, dict[str, Any]] | None:
    """Return the checkpoint of an order, None if there is none or it is another order's.

    Raises:
        ModelError: There is one, and it cannot be read.
    """
    from safetensors import SafetensorError  # noqa: PLC0415
    from safetensors.torch import load_file  # noqa: PLC0415 - imports torch

    if not folder.exists():  # killed between the two renames: the one before is whole
        folder = folder.with_name(folder.name + ".old")
    if not folder.exists():
        return None
    try:
        state = msgspec.json.decode((folder / STATE).read_bytes(), type=State)
        if state.order != order:
            return None
        return state, load_file(folder / TENSORS)
    except (OSError, SafetensorError, msgspec.DecodeError) as error:
        raise ModelError(
            f"The checkpoint {folder} cannot be read: {error}. Without it the run starts over"
        ) from None


def _to_disk(folder: Path) -> None:
    for path in (*folder.iterdir(), folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
