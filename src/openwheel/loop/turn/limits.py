"""Limits a turn's use of the machine, since requests come first.

A process that trains has a high niceness, few threads and a share of the memory, and the kernel
ends it first when memory runs out. The processes that training starts inherit all but the threads.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from openwheel.job import thread_caps
from openwheel.machine import data_limit, limit_data, main_memory, processors
from openwheel.settings import Settings

FIRST_TO_GO = 1_000
"""The most of ``oom_score_adj``: the kernel ends this process before any other."""

LEAST_MEMORY = 400 << 20
"""Bytes below which not even a small student is trained; 220 MB of them are libraries."""

TO_SAY_SO = 64 << 20
"""Bytes that reporting a lack of memory may take."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of a turn's process.

    Attributes:
        nice: Its niceness, from 0 to 19.
        threads: How many threads compute at once.
        memory: Bytes, 0 for no limit.
    """

    nice: int
    threads: int
    memory: int

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """Return the limits that the settings give on this machine."""
        loop = settings.loop
        share = int(loop.turn_memory * main_memory().total)
        return cls(
            nice=loop.turn_nice,
            threads=loop.turn_threads or max(1, int(processors()) // 2),
            memory=max(share, LEAST_MEMORY) if share else 0,
        )


def apply_limits(limits: Limits) -> list[str]:
    """Apply limits to this process and those it starts; return, in sentences, those it could not.

    That of threads affects only libraries that are not imported yet.
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
        limit_data(limits.memory)
    return problems


@contextlib.contextmanager
def some_more_memory() -> Iterator[None]:
    """Allow this process a little more memory until the block ends, to report the error."""
    limit = data_limit()
    if limit is None:
        yield
        return
    limit_data(limit + TO_SAY_SO)
    try:
        yield
    finally:
        limit_data(limit)


def too_much() -> str:
    """Say that this process needs more memory than it may take, and what to do."""
    limit = data_limit()
    if limit is None:
        return "it takes more memory than there is"
    allowed = f"{limit / 1e6:,.0f} MB of memory"
    return f"it takes more than the {allowed} that a turn may take; raise loop.turn_memory"
