"""What turns may take of the machine: requests come first.

Whoever trains is nice, computes with few threads, may take a share of the memory, and is the first
to go when memory runs out. The processes that training starts inherit all of it but the threads.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from openwheel.settings import Settings

FIRST_TO_GO = 1_000
"""The most of ``oom_score_adj``: the kernel ends this process before any other."""

LEAST_MEMORY = 400 << 20
"""Bytes below which not even a small student is trained; 220 MB of them are libraries."""

TO_SAY_SO = 64 << 20
"""Bytes that telling of a lack of memory may take."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a turn's process may take.

    Attributes:
        nice: Its niceness, from 0 to 19.
        threads: How many compute at once.
        memory: Bytes, 0 for no limit.
    """

    nice: int
    threads: int
    memory: int

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """Return what the settings make of this machine."""
        loop = settings.loop
        cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
        total = machine_memory()
        share = int(loop.turn_memory * total) if total else 0
        return cls(
            nice=loop.turn_nice,
            threads=loop.turn_threads or max(1, cores // 2),
            memory=max(share, LEAST_MEMORY) if share else 0,
        )


def thread_caps(threads: int) -> dict[str, str]:
    """Return the environment in which libraries compute with so many threads.

    It must be there before NumPy or torch is imported. Threads that spin while they wait for each
    other make a busy machine several times slower.
    """
    count = str(threads)
    caps = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), count)
    return {**caps, "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}


def apply_limits(limits: Limits) -> list[str]:
    """Hold this process, and those it starts from now on, to its limits.

    Args:
        limits: The limits; of threads only libraries that are not imported yet take note.

    Returns:
        What could not be done, in sentences.
    """
    for name, value in thread_caps(limits.threads).items():
        os.environ.setdefault(name, value)
    os.nice(limits.nice)
    problems = []
    if sys.platform == "linux":
        try:
            Path("/proc/self/oom_score_adj").write_text(str(FIRST_TO_GO), encoding="ascii")
        except OSError as error:
            problems.append(
                "When memory runs out the system may end the gateway before the learner: its "
                f"oom_score_adj could not be set ({error.strerror})"
            )
    if limits.memory and sys.platform != "linux":
        problems.append("loop.turn_memory has no effect: memory can be limited on Linux only")
    elif limits.memory:
        import resource  # noqa: PLC0415 - not on every system

        # Not RLIMIT_AS, which counts what is only reserved and mapped files: CUDA reserves far
        # more than there is. RLIMIT_DATA counts what is private and writable.
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        allowed = limits.memory if most == resource.RLIM_INFINITY else min(limits.memory, most)
        resource.setrlimit(resource.RLIMIT_DATA, (allowed, most))
    return problems


def memory_limit() -> int | None:
    """Return how many bytes this process may take, None if there is no limit."""
    if sys.platform != "linux":
        return None
    import resource  # noqa: PLC0415 - not on every system

    soft, _ = resource.getrlimit(resource.RLIMIT_DATA)
    return None if soft == resource.RLIM_INFINITY else soft


@contextlib.contextmanager
def some_more_memory() -> Iterator[None]:
    """Let this process take a little more until the block ends: enough to say what is wrong."""
    limit = memory_limit()
    if limit is None:
        yield
        return
    import resource  # noqa: PLC0415 - not on every system

    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    more = limit + TO_SAY_SO
    resource.setrlimit(
        resource.RLIMIT_DATA, (more if most == resource.RLIM_INFINITY else min(more, most), most)
    )
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, most))


def too_much() -> str:
    """Say that this process would need more memory than it may take, and what to do."""
    limit = memory_limit()
    if limit is None:
        return "it takes more memory than there is"
    allowed = f"{limit / 1e6:,.0f} MB of memory"
    return f"it takes more than the {allowed} that a turn may take; raise loop.turn_memory"


def machine_memory() -> int | None:
    """Return the bytes of memory of this machine, or of its container if that has fewer."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return None
    return min([total, *group_limits(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))])


def group_limits(own: Path, root: Path) -> Iterator[int]:
    """Yield the limits of this process's control groups, from its own to the outermost."""
    try:
        rows = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for row in rows:
        _, controllers, name = row.split(":", 2)
        if controllers not in {"", "memory"}:
            continue
        mounted, file = (root / "memory", "memory.limit_in_bytes")
        if not controllers:
            mounted, file = root, "memory.max"
        group = mounted / name.lstrip("/")
        for folder in (group, *group.parents):
            if folder == mounted or mounted in folder.parents:
                try:
                    yield int((folder / file).read_text(encoding="ascii"))
                except (OSError, ValueError):  # not there from in here, or "max"
                    continue
