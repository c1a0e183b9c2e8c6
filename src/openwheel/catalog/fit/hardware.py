"""Finding the devices of this machine, without torch: files, and the vendors' own tools."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from openwheel.catalog.fit.cards import with_speed
from openwheel.catalog.fit.devices import (
    NVIDIA_QUERY,
    ROCM_QUERY,
    Device,
    parse_ascend,
    parse_nvidia,
    parse_rocm,
)
from openwheel.catalog.fit.system import System, linux_system, parse_sysctl, parse_vm_stat
from openwheel.errors import SettingError

Run = Callable[[Sequence[str]], str]
"""Runs a command; returns what it printed, an empty text where it is not there or fails."""

APPLE_SHARE = 0.75
"""Of unified memory, what Metal lets a process take by default on machines of 64 GB and above;
two thirds below that (``recommendedMaxWorkingSetSize``)."""

_MACOS = ("hw.memsize", "hw.ncpu", "machdep.cpu.brand_string")


def run_command(command: Sequence[str]) -> str:
    """Run a vendor's tool; a tool that hangs or fails has found nothing."""
    path = shutil.which(command[0])
    if path is None:
        return ""
    try:
        done = subprocess.run(
            [path, *command[1:]], capture_output=True, text=True, timeout=15, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def find_devices(run: Run = run_command, *, memory: int | None = None) -> list[Device]:
    """Return what models can run on: accelerators first, then the processor.

    Args:
        run: Runs the vendors' tools.
        memory: Bytes of main memory to count with, instead of what is found.

    Raises:
        SettingError: Nobody says how much memory this machine has.
    """
    found = [
        *parse_nvidia(run(["nvidia-smi", *NVIDIA_QUERY])),
        *(parse_rocm(run(["rocm-smi", *ROCM_QUERY])) or amd_cards()),
        *parse_ascend(run(["npu-smi", "info"])),
    ]
    system, brand = find_system(run, memory=memory), ""
    if sys.platform == "darwin":
        brand = parse_sysctl(run(["sysctl", *_MACOS])).get(_MACOS[2], "")
        if brand.startswith("Apple"):
            found.append(apple_device(brand, system))
    cpu = Device(
        kind="cpu",
        index=0,
        name=brand or _cpu_name(),
        memory=system.memory,
        free=system.available,
    )
    return [*(with_speed(device) for device in found), cpu]


def find_system(run: Run = run_command, *, memory: int | None = None) -> System:
    """Return main memory and processors; ``memory`` in bytes takes the place of what is found.

    Raises:
        SettingError: Nobody says how much memory there is.
    """
    if sys.platform == "win32":
        found: System | None = _windows_system()
    elif sys.platform == "darwin":
        found = macos_system(run(["sysctl", *_MACOS]), run(["vm_stat"]))
    else:
        found = linux_system()
    if memory is not None:
        cpus = found.cpus if found is not None else float(os.cpu_count() or 1)
        return System(memory=memory, available=memory, cpus=cpus)
    if found is None:
        raise SettingError("This system does not say how much memory it has; name it by --memory")
    return found


def macos_system(sysctl: str, vm_stat: str) -> System | None:
    """Return main memory and processors from what ``sysctl`` and ``vm_stat`` print."""
    values = parse_sysctl(sysctl)
    if not values.get("hw.memsize", "").isdigit():
        return None
    memory = int(values["hw.memsize"])
    available = parse_vm_stat(vm_stat)
    return System(
        memory=memory,
        available=memory if available is None else min(available, memory),
        cpus=float(values.get("hw.ncpu") or 1),
    )


def apple_device(brand: str, system: System) -> Device:
    """Return the GPU of an Apple chip, which shares main memory up to a limit."""
    share = APPLE_SHARE if system.memory >= 64 << 30 else 2 / 3
    limit = int(system.memory * share)
    return Device(
        kind="apple", index=0, name=brand, memory=limit, free=min(limit, system.available)
    )


def amd_cards(root: Path = Path("/sys/class/drm")) -> list[Device]:
    """Return AMD cards as the kernel's driver shows them, where rocm-smi is not installed."""
    found = []
    for folder in sorted(root.glob("card[0-9]*/device")):
        try:
            total = int((folder / "mem_info_vram_total").read_text(encoding="ascii"))
            used = int((folder / "mem_info_vram_used").read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
        number = re.fullmatch(r"card(\d+)", folder.parent.name)
        if number is None:
            continue
        try:
            name = (folder / "product_name").read_text(encoding="utf-8").strip()
        except OSError:
            name = ""
        found.append(
            Device(
                kind="rocm",
                index=int(number[1]),
                name=name or "AMD GPU",
                memory=total,
                free=max(total - used, 0),
            )
        )
    return found


def together(devices: Sequence[Device]) -> list[Device]:
    """Return the devices, and each kind's that are alike taken together, as engines can."""
    groups: dict[tuple[str, str], list[Device]] = {}
    for device in devices:
        groups.setdefault((device.kind, device.name), []).append(device)
    joined = []
    for alike in groups.values():
        if len(alike) > 1:
            first = alike[0]
            joined.append(
                msgspec.structs.replace(
                    first,
                    name=f"{len(alike)} x {first.name}",
                    memory=sum(device.memory for device in alike),
                    # Each holds an equal share, so the fullest of them sets it.
                    free=len(alike) * min(device.free for device in alike),
                    bandwidth=first.bandwidth and len(alike) * first.bandwidth,
                    flops=first.flops and len(alike) * first.flops,
                    count=len(alike),
                )
            )
    return [*joined, *devices]


def _cpu_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1].strip() if match else f"{os.cpu_count() or 1} processors"


def _windows_system() -> System | None:
    """Ask Windows, by ``GlobalMemoryStatusEx``."""
    if sys.platform != "win32":
        return None
    import ctypes  # noqa: PLC0415 - of use on Windows only

    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *(
                (name, ctypes.c_ulonglong)
                for name in ("total", "available", "a", "b", "c", "d", "e")
            ),
        )

    status = Status()
    status.length = ctypes.sizeof(Status)
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return System(memory=status.total, available=status.available, cpus=float(os.cpu_count() or 1))
