"""Main memory and processors, and what a container may take of them."""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

Read = Callable[[str], str | None]
"""Returns the text of a file by its absolute path; None where there is none."""

_UNLIMITED = 1 << 60
"""A limit of version 1 above this is no limit: the kernel writes the largest multiple of a page."""


class System(msgspec.Struct, frozen=True, kw_only=True):
    """Main memory and processors.

    Attributes:
        memory: Bytes in all, or what the container may take if that is less.
        available: Bytes that can still be taken.
        cpus: Processors, or the share of them that the container may use.
        limited_by: What set a limit below the machine's: ``""``, ``cgroup v1`` or ``cgroup v2``.
    """

    memory: int
    available: int
    cpus: float
    limited_by: str = ""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a control group allows; None: all there is."""

    memory: int | None = None
    used: int | None = None
    cpus: float | None = None
    version: str = ""


def read_file(path: str) -> str | None:
    """Return the text of a file; None where it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def linux_system(read: Read = read_file) -> System | None:
    """Return main memory and processors of a Linux machine or container; None on others."""
    found = parse_meminfo(read("/proc/meminfo") or "")
    if found is None:
        return None
    total, available = found
    cpus = float(_usable_cpus())
    limits = find_limits(read)
    by = ""
    if limits.memory is not None and limits.memory < total:
        by = limits.version
        total = limits.memory
        available = min(available, max(total - (limits.used or 0), 0))
    if limits.cpus is not None and limits.cpus < cpus:
        by = by or limits.version
        cpus = limits.cpus
    return System(memory=total, available=available, cpus=cpus, limited_by=by)


def _usable_cpus() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def parse_meminfo(text: str) -> tuple[int, int] | None:
    """Read ``/proc/meminfo``: bytes in all, and available; of old kernels free and cached."""
    values = {
        match[1]: int(match[2]) << 10
        for match in re.finditer(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)
    }
    if "MemTotal" not in values:
        return None
    available = values.get("MemAvailable", values.get("MemFree", 0) + values.get("Cached", 0))
    return values["MemTotal"], available


def find_limits(read: Read = read_file) -> Limits:
    """Return what the process's control groups allow: the least of its own and those above it.

    Version 2 is ``memory.max`` and ``cpu.max``; version 1 ``memory.limit_in_bytes`` and
    ``cpu.cfs_quota_us``. Inside a container the path of ``/proc/self/cgroup`` may not be there,
    and its limits lie at the top. File pages that can be dropped do not count as used.
    """
    groups = parse_cgroup(read("/proc/self/cgroup") or "")
    unified = "/sys/fs/cgroup"
    if read(f"{unified}/cgroup.controllers") is not None:
        return _version_2(read, _upwards(unified, groups.get("", "/")))
    memory = _upwards(f"{unified}/memory", groups.get("memory", "/"))
    cpu = _upwards(f"{unified}/cpu", groups.get("cpu", "/"))
    return _version_1(read, memory, cpu)


def parse_cgroup(text: str) -> dict[str, str]:
    """Read ``/proc/self/cgroup``: the path of each controller; version 2's under ``""``."""
    found = {}
    for line in text.splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3:
            found.update(dict.fromkeys(parts[1].split(","), parts[2]))
    return found


def _upwards(root: str, path: str) -> list[str]:
    """Return the folder of a group and of all above it, the nearest first."""
    parts = [part for part in path.split("/") if part and part != ".."]
    return ["/".join([root, *parts[:n]]) for n in range(len(parts), -1, -1)]


def _version_2(read: Read, folders: list[str]) -> Limits:
    memory = used = None
    cpus: float | None = None
    for folder in folders:
        limit = _whole(read(f"{folder}/memory.max"))
        if limit is not None and (memory is None or limit < memory):
            memory = limit
            used = (_whole(read(f"{folder}/memory.current")) or 0) - _droppable(
                read(f"{folder}/memory.stat"), "inactive_file"
            )
        share = re.match(r"(\d+) (\d+)", read(f"{folder}/cpu.max") or "")
        if share:
            cpus = min(int(share[1]) / int(share[2]), cpus or float("inf"))
    return Limits(memory=memory, used=used, cpus=cpus, version="cgroup v2")


def _version_1(read: Read, memory_folders: list[str], cpu_folders: list[str]) -> Limits:
    memory = used = None
    for folder in memory_folders:
        limit = _whole(read(f"{folder}/memory.limit_in_bytes"))
        if limit is not None and limit < _UNLIMITED and (memory is None or limit < memory):
            memory = limit
            used = (_whole(read(f"{folder}/memory.usage_in_bytes")) or 0) - _droppable(
                read(f"{folder}/memory.stat"), "total_inactive_file"
            )
    cpus: float | None = None
    for folder in cpu_folders:
        quota = _whole(read(f"{folder}/cpu.cfs_quota_us"))
        period = _whole(read(f"{folder}/cpu.cfs_period_us"))
        if quota and quota > 0 and period:
            cpus = min(quota / period, cpus or float("inf"))
    return Limits(memory=memory, used=used, cpus=cpus, version="cgroup v1")


def _whole(text: str | None) -> int | None:
    """Return the number a file holds; None for ``max``, ``-1`` and no file."""
    text = (text or "").strip()
    return int(text) if text.isdigit() else None


def _droppable(text: str | None, field: str) -> int:
    match = re.search(rf"^{field} (\d+)$", text or "", re.MULTILINE)
    return int(match[1]) if match else 0


def parse_sysctl(text: str) -> dict[str, str]:
    """Read ``sysctl hw.memsize ...``: ``hw.memsize: 17179869184``, a line each."""
    return dict(re.findall(r"^([\w.]+): (.*)$", text, re.MULTILINE))


def parse_vm_stat(text: str) -> int | None:
    """Read ``vm_stat`` of macOS: bytes of free, inactive, speculative and purgeable pages."""
    size = re.search(r"page size of (\d+) bytes", text)
    pages = {name: int(n) for name, n in re.findall(r'^"?([^":\n]+)"?:\s+(\d+)\.$', text, re.M)}
    if size is None or "Pages free" not in pages:
        return None
    names = ("Pages free", "Pages inactive", "Pages speculative", "Pages purgeable")
    return int(size[1]) * sum(pages.get(name, 0) for name in names)
