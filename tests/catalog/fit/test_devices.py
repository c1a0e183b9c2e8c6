"""Devices, as the libraries and files that know them say."""

from types import SimpleNamespace

import pytest

from openwheel.catalog.fit.devices import amd_cards, find_devices, nvidia_cards


class NvmlError(Exception):
    """NVML's error."""


def library(**changes):
    """Answer as NVML does for a machine with two H200, clocks and bus as one of them said them."""
    memory = [SimpleNamespace(total=150 << 30, free=free << 30) for free in (140, 90)]
    answers = {
        "NVMLError": NvmlError,
        "NVML_CLOCK_MEM": 2,
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda i: i,
        "nvmlDeviceGetName": lambda _: "NVIDIA H200",
        "nvmlDeviceGetMemoryInfo": lambda i: memory[i],
        "nvmlDeviceGetMaxClockInfo": lambda _, __: 3201,
        "nvmlDeviceGetMemoryBusWidth": lambda _: 6144,
    }
    return SimpleNamespace(**{**answers, **changes})


def fails(*_):
    raise NvmlError


def test_nvidias_cards():
    first, second = nvidia_cards(library())
    assert (first.name, first.free >> 30, second.free >> 30) == ("NVIDIA H200", 140, 90)
    assert first.bandwidth == pytest.approx(4.8e12, rel=0.03)  # as its data sheet has it
    assert nvidia_cards(library(nvmlInit=fails)) == []
    silent = nvidia_cards(library(nvmlDeviceGetMemoryBusWidth=fails))
    assert [card.bandwidth for card in silent] == [None, None]


def test_amds_cards(tmp_path):
    for name, vendor in (("card0", "intel"), ("card1", "amd"), ("card1-DP-1", "a socket")):
        (tmp_path / name / "device").mkdir(parents=True)
        if vendor == "amd":
            (tmp_path / name / "device" / "mem_info_vram_total").write_text("1000\n")
            (tmp_path / name / "device" / "mem_info_vram_used").write_text("300\n")
    (card,) = amd_cards(tmp_path)
    assert (card.kind, card.name, card.memory, card.free) == ("rocm", "AMD", 1000, 700)


def test_this_machine():
    *_, cpu = find_devices(memory=5_000, seconds=0.02)
    assert (cpu.kind, cpu.free) == ("cpu", 5_000)
    assert cpu.bandwidth > 1e8
    assert cpu.flops > 1e8
