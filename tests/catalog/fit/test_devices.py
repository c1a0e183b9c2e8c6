from openwheel.catalog.fit.cards import find_card, with_speed
from openwheel.catalog.fit.devices import parse_ascend, parse_nvidia, parse_rocm

NVIDIA = """\
0, NVIDIA H100 80GB HBM3, 81559, 80991
1, NVIDIA L4, 23034, 22512
2, NVIDIA GB10, [N/A], [N/A]
"""
ROCM = """\
WARNING: AMD GPU device(s) is/are in a low-power state.
{"card1": {"VRAM Total Memory (B)": "206141652992", "VRAM Total Used Memory (B)": "297271296",
 "Card Series": "AMD Instinct MI300X", "Card Vendor": "Advanced Micro Devices, Inc. [AMD/ATI]"},
 "card0": {"VRAM Total Memory (B)": "206141652992", "VRAM Total Used Memory (B)": "0",
 "Card series": "AMD Instinct MI300X"}, "system": {"Driver version": "6.7.0"}}
"""
ASCEND = """\
+------------------------------------------------------------------------------------------------+
| npu-smi 24.1.rc2                 Version: 24.1.rc2                                             |
+---------------------------+---------------+----------------------------------------------------+
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip                      | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
+===========================+===============+====================================================+
| 0     910B3               | OK            | 93.5        48                0    / 0             |
| 0                         | 0000:C1:00.0  | 0           0    / 0          3367 / 65536         |
+===========================+===============+====================================================+
| 1     310P3               | OK            | NA          44                0    / 0             |
| 0                         | 0000:01:00.0  | 0           1582 / 21527      0    / 0             |
+===========================+===============+====================================================+
| NPU     Chip              | Process id    | Process name             | Process memory(MB)      |
+===========================+===============+====================================================+
"""


def test_nvidia_cards_with_memory_of_their_own():
    first, second = parse_nvidia(NVIDIA)
    assert (first.index, first.name) == (0, "NVIDIA H100 80GB HBM3")
    assert (second.memory, second.free) == (23034 << 20, 22512 << 20)


def test_amd_cards_in_order_whatever_stands_around_them():
    first, second = parse_rocm(ROCM)
    assert (first.index, second.index) == (0, 1)
    assert second.free == 206141652992 - 297271296
    assert first.name == "AMD Instinct MI300X"


def test_ascend_chips_with_and_without_hbm():
    first, second = parse_ascend(ASCEND)
    assert (first.name, first.memory, first.free) == (
        "Ascend 910B3",
        65536 << 20,
        (65536 - 3367) << 20,
    )
    assert (second.name, second.free) == ("Ascend 310P3", (21527 - 1582) << 20)


def test_what_no_tool_prints_is_no_device():
    for parse in (parse_nvidia, parse_rocm, parse_ascend):
        assert parse("") == []
        assert parse("Failed to initialize: {driver} | not | loaded |") == []


def test_the_longest_known_name_counts_and_like_names_are_others():
    def bandwidth(name: str) -> float | None:
        card = find_card(name)
        return card.bandwidth if card else None

    assert bandwidth("NVIDIA H100 80GB HBM3") == 3350
    assert bandwidth("NVIDIA H100 PCIe") == 2000
    assert bandwidth("NVIDIA L40S") == 864
    assert bandwidth("NVIDIA L4") == 300
    assert bandwidth("NVIDIA A100-SXM4-80GB") == 2039
    assert bandwidth("Apple M3 Max") == 300
    assert bandwidth("NVIDIA A10G") is None


def test_published_speed_is_added_with_its_source():
    first, second = (with_speed(device) for device in parse_nvidia(NVIDIA))
    assert first.bandwidth == 3350e9
    assert first.flops == 989e12
    assert second.bandwidth_source == "NVIDIA data sheet"
