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
        system = min(system, max(limit - used, 0))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        pass
    return min(system, _own_room(system))


def _own_room(system: int) -> int:
    """Return what this process may still take, ``system`` if nobody limited it."""
    import resource  # noqa: PLC0415 - not on every system, and this is Linux

    limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
    if limit == resource.RLIM_INFINITY:
        return system
    rows = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    used = next((int(row.split()[1]) << 10 for row in rows if row.startswith("VmData:")), 0)
    return max(limit - used, 0)
