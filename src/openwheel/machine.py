"""The memory and the processors of this machine that this process may use, and its name.

psutil reads the system. Control groups (containers, systemd) it does not know: their files are
read here, of version 2 and, for memory, of version 1.
"""

import contextlib
import os
import secrets
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil

OWN_GROUPS = Path("/proc/self/cgroup")
GROUPS = Path("/sys/fs/cgroup")


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Main memory.

    Attributes:
        total: Bytes of the machine, or of its container if that may have fewer.
        available: Bytes that can still be taken; file pages that can be dropped count as such.
    """

    total: int
    available: int


def main_memory(membership: Path = OWN_GROUPS, root: Path = GROUPS) -> Memory:
    """Return the main memory, within the limits of this process's control groups."""
    system = psutil.virtual_memory()
    total, available = int(system.total), int(system.available)
    for limit, used in group_limits(membership, root):
        total, available = min(total, limit), min(available, max(limit - used, 0))
    return Memory(total=total, available=available)


def free_memory() -> int:
    """Return the bytes that this process may still take, within its own limit too."""
    free = main_memory().available
    limit = data_limit()
    return free if limit is None else min(free, max(limit - _data(), 0))


def processors(membership: Path = OWN_GROUPS, root: Path = GROUPS) -> float:
    """Return the processors that this process may use, or its share of them in a container."""
    count = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    shares = [float(count)]
    for folder, version in _groups(membership, root, "cpu"):
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        if version == 2 and quota.isdigit() and period.isdigit():
            shares.append(int(quota) / int(period))
    return min(shares)


def group_limits(membership: Path, root: Path) -> Iterator[tuple[int, int]]:
    """Yield limit and use of memory of this process's control groups, the innermost first."""
    for folder, version in _groups(membership, root, "memory"):
        limit, used, dropped = (
            ("memory.max", "memory.current", "inactive_file ")
            if version == 2
            else ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file ")
        )
        allowed = _read(folder / limit)
        if allowed.isdigit():  # "max" says that there is none
            rows = _read(folder / "memory.stat").splitlines()
            files = next((row.split()[1] for row in rows if row.startswith(dropped)), "0")
            yield int(allowed), max(int(_read(folder / used) or 0) - int(files), 0)


def data_limit() -> int | None:
    """Return the bytes of data that this process may have, None if nobody limited it."""
    if sys.platform != "linux":
        return None
    import resource  # noqa: PLC0415 - not on every system

    soft, _ = resource.getrlimit(resource.RLIMIT_DATA)
    return None if soft == resource.RLIM_INFINITY else soft


def limit_data(limit: int) -> None:
    """Have allocations fail beyond so many bytes of data, where the system can (Linux).

    Not RLIMIT_AS, which counts what is only reserved and mapped files: CUDA reserves far more
    than there is. RLIMIT_DATA counts what is private and writable.
    """
    if sys.platform == "linux":
        import resource  # noqa: PLC0415 - not on every system

        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        allowed = limit if most == resource.RLIM_INFINITY else min(limit, most)
        resource.setrlimit(resource.RLIMIT_DATA, (allowed, most))


@contextlib.contextmanager
def within_free_memory(share: float) -> Iterator[None]:
    """Have allocations fail beyond a share of the free memory, until the block ends.

    The system would rather end the process, and without a word.
    """
    if sys.platform != "linux":
        yield
        return
    import resource  # noqa: PLC0415 - not on every system

    before = resource.getrlimit(resource.RLIMIT_DATA)
    limit_data(_data() + int(share * free_memory()))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _data() -> int:
    """Return the bytes of data that this process has, 0 where the system does not count them."""
    return int(getattr(psutil.Process().memory_info(), "data", 0))


def _groups(membership: Path, root: Path, controller: str) -> Iterator[tuple[Path, int]]:
    """Yield the folders of this process's groups up to the root's, and the groups' version."""
    for row in _read(membership).splitlines():
        _, controllers, name = row.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mounted = root / controller if controllers else root
        group = mounted / name.lstrip("/")
        for folder in (group, *group.parents):
            if folder == mounted or mounted in folder.parents:
                yield folder, 1 if controllers else 2


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:  # not there, or not from in here
        return ""


def process_name() -> str:
    """Return a name for this process that no other has, here or on another machine."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
