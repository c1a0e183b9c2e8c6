"""Counts how long an edge has been without a word of its upstream, whatever is done to its clock.

A wall clock can be set, and a monotonic one begins anew when the machine starts. So both are read,
and the larger of what they say counts. Across a start of the machine only the wall clock can tell;
if it says that time ran backwards, nobody knows how long it was, and it counts as for ever.
"""

import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from openwheel.store import Store
from openwheel.store.spool import find_note, put_note

NOTE: Final = "heard"
SKEW_S: Final = 300.0
"""How far the clocks of two machines may be apart before one of them counts as wrong."""

_KEEP_EVERY_S: Final = 30.0
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class Now(NamedTuple):
    """The present, as the clocks of this machine have it.

    Attributes:
        wall: Seconds since 1970.
        ticks: Seconds of a clock that runs evenly, also while the machine sleeps.
        boot: Identifies the start of the machine, or of the process, that ``ticks`` count from.
    """

    wall: float
    ticks: float
    boot: str


class MachineClocks:
    """The clocks of this machine, as long as this process runs."""

    def __init__(self) -> None:
        try:
            self._boot = _BOOT_ID.read_text().strip()
        except OSError:
            self._boot = f"process {os.getpid()}"

    def __call__(self) -> Now:
        """Return the present."""
        if sys.platform == "linux":
            ticks = time.clock_gettime(time.CLOCK_BOOTTIME)
        else:
            ticks = time.monotonic()
        return Now(time.time(), ticks, self._boot)


class _Point(msgspec.Struct, frozen=True):
    """How long it had been at a moment; None if nobody can tell."""

    unheard: float | None
    wall: float
    ticks: float
    boot: str


class Heard:
    """Counts the seconds since the upstream was heard; kept in a store across restarts.

    Args:
        store: Where it is kept.
        since: When the bundle was made, in seconds since 1970 by the clock upstream: the first
            word of the upstream, until there is another.
        now: The clocks; by default those of this machine.
    """

    def __init__(self, store: Store, *, since: float, now: Callable[[], Now] | None = None) -> None:
        self._store = store
        self._now = now or MachineClocks()
        with store.read() as transaction:
            point = find_note(transaction, NOTE, _Point)
        present = self._now()
        if point is None:
            age = present.wall - since
            # A clock that is behind the bundle's making cannot tell how old that is.
            unheard = max(age, 0.0) if age >= -SKEW_S else None
            point = _Point(unheard, present.wall, present.ticks, present.boot)
        self._point = self._kept = point
        self._kept_at = -math.inf
        self.tick()

    @property
    def seconds(self) -> float:
        """Seconds since the upstream was heard, infinite if nobody can tell."""
        present, point = self._now(), self._point
        if point.unheard is None:
            return math.inf
        by_wall = present.wall - point.wall
        if present.boot == point.boot and present.ticks >= point.ticks:
            return point.unheard + max(present.ticks - point.ticks, by_wall)
        return point.unheard + by_wall if by_wall >= 0 else math.inf

    def hear(self) -> None:
        """Note that the upstream was heard just now.

        It is kept twice a minute: a restart may count some seconds too many, and none too few.
        """
        present = self._now()
        self._point = _Point(0.0, present.wall, present.ticks, present.boot)
        known = self._kept.unheard
        late = present.ticks - self._kept_at >= _KEEP_EVERY_S
        if late or known is None or known > _KEEP_EVERY_S:
            self._keep()

    def tick(self) -> None:
        """Keep how long it has been, twice a minute, so that a restart knows it."""
        if self._now().ticks - self._kept_at < _KEEP_EVERY_S:
            return
        seconds, present = self.seconds, self._now()
        unheard = None if seconds == math.inf else seconds
        self._point = _Point(unheard, present.wall, present.ticks, present.boot)
        self._keep()

    def _keep(self) -> None:
        with self._store.write() as transaction:
            put_note(transaction, NOTE, self._point)
        self._kept, self._kept_at = self._point, self._point.ticks
