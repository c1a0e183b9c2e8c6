"""What a device is, and reading what the vendors' tools say of theirs.

Each parser takes the text a tool prints; an entry that says nothing of its memory is left out.
"""

import json
import re
from typing import Literal

import msgspec

Kind = Literal["cpu", "cuda", "rocm", "apple", "ascend"]

_MIB = 1 << 20


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """Memory that a model can lie in, and what computes on it.

    Attributes:
        kind: Its kind.
        index: Its number among those of its kind, as its vendor counts.
        name: As its vendor calls it.
        memory: Bytes in all.
        free: Bytes nobody has taken.
        bandwidth: Bytes a second that it reads from its memory; None if unknown.
        flops: Operations a second in the precision it computes models in; None if unknown.
        bandwidth_source: ``measured``, or where the number was published.
        count: Devices that are taken together.
    """

    kind: Kind
    index: int
    name: str
    memory: int
    free: int
    bandwidth: float | None = None
    flops: float | None = None
    bandwidth_source: str = ""
    count: int = 1


NVIDIA_QUERY = ("--query-gpu=index,name,memory.total,memory.free", "--format=csv,noheader,nounits")
ROCM_QUERY = ("--showproductname", "--showmeminfo", "vram", "--json")


def parse_nvidia(text: str) -> list[Device]:
    """Read ``nvidia-smi`` with `NVIDIA_QUERY`: ``0, NVIDIA L4, 23034, 22512``, in MiB."""
    found = []
    for line in text.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) != 4 or not all(part.isdigit() for part in (parts[0], *parts[2:])):
            continue  # [N/A] where the GPU has no memory of its own
        index, total, free = (int(parts[i]) for i in (0, 2, 3))
        found.append(
            Device(kind="cuda", index=index, name=parts[1], memory=total * _MIB, free=free * _MIB)
        )
    return found


def parse_rocm(text: str) -> list[Device]:
    """Read ``rocm-smi`` with `ROCM_QUERY`: an object a card, numbers as texts, in bytes."""
    start = text.find("{")  # warnings may stand before it
    try:
        cards = json.loads(text[start:]) if start >= 0 else {}
    except json.JSONDecodeError:
        return []
    found = []
    for card, values in cards.items():
        number = re.fullmatch(r"card(\d+)", card)
        if number is None or not isinstance(values, dict):
            continue
        low = {str(key).lower(): str(value) for key, value in values.items()}
        total = low.get("vram total memory (b)", "")
        used = low.get("vram total used memory (b)", "")
        if not total.isdigit() or not used.isdigit():
            continue
        name = low.get("card series") or low.get("card model") or "AMD GPU"
        found.append(
            Device(
                kind="rocm",
                index=int(number[1]),
                name=name,
                memory=int(total),
                free=max(int(total) - int(used), 0),
            )
        )
    return sorted(found, key=lambda device: device.index)


def parse_ascend(text: str) -> list[Device]:
    """Read ``npu-smi info``: a table with two lines a chip, the second ending in HBM used / all.

    Sizes are in MB, which npu-smi means as MiB. Older cards without HBM report it as 0 / 0 and
    their memory in the column before.
    """
    found: list[Device] = []
    name = ""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) != 3:
            continue
        first = cells[0].split()
        pairs = re.findall(r"(\d+)\s*/\s*(\d+)", cells[2])
        if len(first) >= 2 and first[0].isdigit():
            name = " ".join(first[1:])
        elif len(first) == 1 and first[0].isdigit() and name and pairs:
            used, total = next(((int(a), int(b)) for a, b in reversed(pairs) if int(b) > 0), (0, 0))
            if total:
                found.append(
                    Device(
                        kind="ascend",
                        index=len(found),
                        name=f"Ascend {name}",
                        memory=total * _MIB,
                        free=(total - used) * _MIB,
                    )
                )
    return found
