"""How much memory is left on a device, so that a model is refused before the system kills it."""

from pathlib import Path
from typing import Any

_GROUP = Path("/sys/fs/cgroup")


def free_memory(device: Any) -> int | None:
    """Return the bytes that can still be used on a torch device, None where nobody says."""
    if device.type == "cuda":
        import torch  # noqa: PLC0415 - seconds of imports

        return int(torch.cuda.mem_get_info(device)[0])
    if device.type in {"cpu", "mps"}:
        return _free_main_memory()
    return None


def _free_main_memory() -> int | None:
    """Return what the system has left, or what a container may still take if that is less."""
    try:
        rows = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        system = next(int(row.split()[1]) << 10 for row in rows if row.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
    try:
        limit = int((_GROUP / "memory.max").read_text(encoding="ascii"))
        used = int((_GROUP / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return system
    return min(system, max(limit - used, 0))
