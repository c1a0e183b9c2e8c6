"""Finds what this machine computes on: accelerators, through their vendors, and processors."""

import importlib
import platform
import re
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from openwheel.machine import main_memory, processors

_BLOCK = 64 << 20
"""Bytes of an array: beyond the caches of most processors, so that memory is measured."""

_MATRIX = 768


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A processor or an accelerator.

    Attributes:
        kind: ``cuda``, ``rocm`` or ``cpu``.
        name: As its vendor calls it.
        memory: Bytes.
        free: Bytes that can still be taken.
        bandwidth: Bytes of memory read a second, at most; None where nobody says.
        flops: Operations a second, measured; None where they are not.
        bandwidth_source: Who says so.
    """

    kind: str
    name: str
    memory: int
    free: int
    bandwidth: float | None = None
    flops: float | None = None
    bandwidth_source: str = ""


def find_devices(memory: int | None = None, *, seconds: float = 1.0) -> list[Device]:
    """Return the devices of this machine, cards that are alike taken together first.

    Args:
        memory: Bytes of free main memory, instead of what there is.
        seconds: How long the processor is measured.
    """
    cards = [*nvidia_cards(), *amd_cards()]
    return [*_together(cards), *cards, _cpu(memory, seconds)]


def nvidia_cards(nvml: Any = None) -> list[Device]:
    """Return NVIDIA's cards by its management library (`nvidia-ml-py`, of the extra `nvidia`).

    Bandwidth is two transfers a clock of the memory, over the width of its bus.
    """
    if nvml is None:
        try:
            nvml = importlib.import_module("pynvml")
        except ImportError:
            return []
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:  # no driver
        return []
    try:
        return [_nvidia_card(nvml, i) for i in range(nvml.nvmlDeviceGetCount())]
    finally:
        nvml.nvmlShutdown()


def _nvidia_card(nvml: Any, index: int) -> Device:
    card = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = nvml.nvmlDeviceGetMemoryInfo(card)
    try:
        clock = nvml.nvmlDeviceGetMaxClockInfo(card, nvml.NVML_CLOCK_MEM) * 1e6
        bandwidth = 2 * clock * nvml.nvmlDeviceGetMemoryBusWidth(card) / 8
    except nvml.NVMLError:  # a virtual card does not say
        bandwidth = None
    return Device(
        kind="cuda",
        name=nvml.nvmlDeviceGetName(card),
        memory=memory.total,
        free=memory.free,
        bandwidth=bandwidth,
        bandwidth_source="clock and bus" if bandwidth else "",
    )


def amd_cards(root: Path = Path("/sys/class/drm")) -> list[Device]:
    """Return AMD's cards as the kernel's driver shows them (amdgpu, in sysfs)."""
    cards = []
    for folder in sorted(root.glob("card[0-9]*/device")):
        try:
            total = int((folder / "mem_info_vram_total").read_text(encoding="ascii"))
            used = int((folder / "mem_info_vram_used").read_text(encoding="ascii"))
        except (OSError, ValueError):  # another vendor's
            continue
        name = folder / "product_name"
        cards.append(
            Device(
                kind="rocm",
                name=(name.read_text(encoding="utf-8").strip() if name.exists() else "") or "AMD",
                memory=total,
                free=max(total - used, 0),
            )
        )
    return cards


def _together(cards: list[Device]) -> list[Device]:
    """Return cards of one name as one device, as engines can use them; none where there is one."""
    joined = []
    for name in dict.fromkeys(card.name for card in cards):
        alike = [card for card in cards if card.name == name]
        if (count := len(alike)) > 1:
            bandwidth = alike[0].bandwidth
            joined.append(
                msgspec.structs.replace(
                    alike[0],
                    name=f"{count} x {name}",
                    memory=count * alike[0].memory,
                    free=count * min(card.free for card in alike),  # each holds an equal share
                    bandwidth=bandwidth and count * bandwidth,
                )
            )
    return joined


def _cpu(memory: int | None, seconds: float) -> Device:
    machine = main_memory()
    bandwidth, flops = measure_cpu(max(int(processors()), 1), seconds)
    return Device(
        kind="cpu",
        name=_cpu_name(),
        memory=memory or machine.total,
        free=memory or machine.available,
        bandwidth=bandwidth,
        flops=flops,
        bandwidth_source="measured",
    )


def _cpu_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    named = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return named[1].strip() if named else platform.processor() or platform.machine()


def measure_cpu(threads: int, seconds: float) -> tuple[float, float]:
    """Measure the bytes that so many threads read a second, and float32 operations a second.

    Bytes are those of NumPy's sums of arrays beyond the caches, which let other threads run;
    operations those of matrix products, with the threads that NumPy's library takes by itself.
    """
    import numpy as np  # noqa: PLC0415 - commands that measure nothing should not wait for it

    arrays = [np.ones(_BLOCK // 4, np.float32) for _ in range(threads)]
    moved = [0] * threads
    begun = time.perf_counter()
    end = begun + seconds / 2

    def read(i: int) -> None:
        while time.perf_counter() < end or not moved[i]:
            np.add.reduce(arrays[i])
            moved[i] += _BLOCK

    workers = [threading.Thread(target=read, args=(i,)) for i in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    bandwidth = sum(moved) / (time.perf_counter() - begun)
    square = np.ones((_MATRIX, _MATRIX), np.float32)
    done, begun = 0, time.perf_counter()
    while not done or time.perf_counter() < begun + seconds / 2:
        square @ square
        done += 1
    return bandwidth, done * 2 * _MATRIX**3 / (time.perf_counter() - begun)
