"""Memory bandwidth and peak speed of known accelerators, as their makers publish them."""

from typing import Final

import msgspec

from openwheel.catalog.fit.devices import Device


class Card(msgspec.Struct, frozen=True):
    """A published row.

    Attributes:
        name: What a device's name has in it; the longest that matches counts.
        bandwidth: GB a second.
        tflops: Dense bfloat16 or float16 operations, in millions of millions a second.
        source: Where it is published.
    """

    name: str
    bandwidth: float
    tflops: float
    source: str


_NVIDIA, _AMD, _APPLE = "NVIDIA data sheet", "AMD data sheet", "Apple technical specifications"

CARDS: Final = (
    Card("B200", 8000, 2250, _NVIDIA),
    Card("H200", 4800, 989, _NVIDIA),
    Card("H100", 3350, 989, _NVIDIA),
    Card("H100 PCIe", 2000, 756, _NVIDIA),
    Card("H100 NVL", 3900, 835, _NVIDIA),
    Card("A100-SXM4-80GB", 2039, 312, _NVIDIA),
    Card("A100 80GB PCIe", 1935, 312, _NVIDIA),
    Card("A100", 1555, 312, _NVIDIA),
    Card("A800", 1935, 312, _NVIDIA),
    Card("L40S", 864, 362, _NVIDIA),
    Card("L40", 864, 181, _NVIDIA),
    Card("L4", 300, 121, _NVIDIA),
    Card("A40", 696, 150, _NVIDIA),
    Card("A30", 933, 165, _NVIDIA),
    Card("A10", 600, 125, _NVIDIA),
    Card("T4", 320, 65, _NVIDIA),
    Card("V100", 900, 125, _NVIDIA),
    Card("RTX 6000 Ada", 960, 364, _NVIDIA),
    Card("RTX A6000", 768, 155, _NVIDIA),
    Card("RTX 5090", 1792, 210, _NVIDIA),
    Card("RTX 5080", 960, 113, _NVIDIA),
    Card("RTX 4090", 1008, 165, _NVIDIA),
    Card("RTX 4080", 717, 97, _NVIDIA),
    Card("RTX 3090", 936, 71, _NVIDIA),
    Card("RTX 3060", 360, 26, _NVIDIA),
    Card("MI355X", 8000, 2500, _AMD),
    Card("MI325X", 6000, 1307, _AMD),
    Card("MI300X", 5300, 1307, _AMD),
    Card("MI250X", 3277, 383, _AMD),
    Card("MI210", 1638, 181, _AMD),
    Card("7900 XTX", 960, 123, _AMD),
    Card("Apple M1", 68, 5.2, _APPLE),
    Card("Apple M1 Pro", 200, 10.4, _APPLE),
    Card("Apple M1 Max", 400, 20.8, _APPLE),
    Card("Apple M1 Ultra", 800, 41.6, _APPLE),
    Card("Apple M2", 100, 7.2, _APPLE),
    Card("Apple M2 Pro", 200, 13.6, _APPLE),
    Card("Apple M2 Max", 400, 27.2, _APPLE),
    Card("Apple M2 Ultra", 800, 54.4, _APPLE),
    Card("Apple M3", 100, 7.2, _APPLE),
    Card("Apple M3 Pro", 150, 12.8, _APPLE),
    Card("Apple M3 Max", 300, 28.4, _APPLE),
    Card("Apple M3 Ultra", 819, 56.8, _APPLE),
    Card("Apple M4", 120, 8.6, _APPLE),
    Card("Apple M4 Pro", 273, 17.2, _APPLE),
    Card("Apple M4 Max", 410, 34.4, _APPLE),
)


def find_card(name: str) -> Card | None:
    """Return the published row of a device's name; None if it is not known.

    A name that only begins like a known one (``L40`` for ``L4``) is another card.
    """
    words = f" {name.lower()} ".replace("-", " ")
    matching = [card for card in CARDS if f" {card.name.lower()} ".replace("-", " ") in words]
    return max(matching, key=lambda card: len(card.name), default=None)


def with_speed(device: Device) -> Device:
    """Return the device with what is published of it, where it is known and was not measured."""
    card = find_card(device.name)
    if card is None or device.bandwidth is not None:
        return device
    return msgspec.structs.replace(
        device,
        bandwidth=card.bandwidth * 1e9,
        flops=card.tflops * 1e12,
        bandwidth_source=card.source,
    )
