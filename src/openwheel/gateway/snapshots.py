"""Adds up the counts of all workers; each writes its snapshot to a file in one folder.

The worker that serves ``/metrics`` reads all of them. Counters and histograms of workers that are
gone stay in the sum, so counters never go back. Knows nothing of what is counted.
"""

import asyncio
import contextlib
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, Protocol, TypeVar

import msgspec

import openwheel
from openwheel.gateway.meter import BOUNDS, Histogram, Snapshot, within_most_tasks
from openwheel.gateway.metric import Labels, Metric, Sample

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger(__name__)

_WORKER: Final = re.compile(r"worker-(\d+)-(\d+)\.msgpack")
_GONE: Final = "gone.msgpack"
# A reader may still hold the file of a worker that was folded lately.
_FOLDED_KEPT: Final = 1_000


class Merged(msgspec.Struct, frozen=True, kw_only=True):
    """The counts of all workers together.

    Attributes:
        workers: How many are alive.
        gauges: Those of the workers that are alive, each with a label ``worker``, its slot.
    """

    workers: int
    counters: tuple[Sample, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    gauges: tuple[Sample, ...] = ()


class _Gone(msgspec.Struct, frozen=True, kw_only=True):
    """The counts of workers that are gone, and the ids of the latest of them."""

    folded: tuple[str, ...] = ()
    counters: tuple[Sample, ...] = ()
    histograms: tuple[Histogram, ...] = ()


_Read = TypeVar("_Read", Snapshot, _Gone)


class Snapshots(Protocol):
    """Shares the counts of workers with one another."""

    def write(self, slot: int, snapshot: Snapshot) -> None:
        """Write the counts of this worker, by its slot from 0."""

    def merged(self) -> Merged:
        """Return the counts of all workers, as last written."""

    def fold_dead(self) -> None:
        """Add up the counts of workers that are gone; called from time to time."""


class SnapshotFolder:
    """The folder of the snapshots of workers on one machine.

    Files that cannot be read, or have another format, are skipped, each with one warning.

    Args:
        folder: Made if it is missing. It belongs to one gateway.
        lives: Whether a process is alive, by its id.
    """

    def __init__(self, folder: Path, *, lives: Callable[[int], bool] | None = None) -> None:
        self._folder = folder
        self._lives = lives or process_lives
        self._lock = threading.Lock()
        self._written = -1
        self._warned: set[str] = set()

    def write(self, slot: int, snapshot: Snapshot) -> None:
        """Write this worker's snapshot, unless a later one of it was written already.

        A folder that cannot be written to is logged, and costs nothing else. The slot is the
        worker's place among the workers, from 0; its successor takes it over.
        """
        name = f"worker-{slot}-{os.getpid()}.msgpack"
        with self._lock:
            if snapshot.number <= self._written:
                return
            try:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._replace(name, snapshot)
            except OSError as error:
                self._warn("write", f"Metrics cannot be written to {self._folder}: {error}")
            else:
                self._warned.discard("write")
                self._written = snapshot.number

    def merged(self) -> Merged:
        """Return the counts of all workers, as last written."""
        live: list[tuple[str, Snapshot]] = []
        dead: list[Snapshot] = []
        for path, slot, pid in self._worker_files():
            snapshot = self._read(path, Snapshot)
            if snapshot is None:
                continue
            if self._lives(pid):
                live.append((slot, snapshot))
            else:
                dead.append(snapshot)
        # Last, so that a worker folded meanwhile is either among the files read or in here, and
        # if in both then by its id.
        total = self._read(self._folder / _GONE, _Gone) or _Gone()
        folded = set(total.folded)
        return merge(
            [(slot, worker) for slot, worker in live if worker.id not in folded],
            gone=[total, *(worker for worker in dead if worker.id not in folded)],
        )

    def fold_dead(self) -> None:
        """Put the counts of processes that have ended into one file, and remove theirs.

        Safe at any time, in several processes at once, and when it is killed half-way. Raises
        `OSError`.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._alone():
            total = self._read(self._folder / _GONE, _Gone) or _Gone()
            folded = set(total.folded)
            paths, snapshots = [], []
            for path, _, pid in self._worker_files():
                # Looked up at its file's turn: a worker that starts meanwhile is in no list made
                # before.
                if self._lives(pid):
                    continue
                paths.append(path)
                snapshot = self._read(path, Snapshot)
                if snapshot is not None and snapshot.id not in folded:
                    snapshots.append(snapshot)
            if snapshots:
                whole = merge((), gone=[total, *snapshots])
                ids = (*total.folded, *(snapshot.id for snapshot in snapshots))
                self._replace(
                    _GONE,
                    _Gone(
                        folded=ids[-_FOLDED_KEPT:],
                        counters=within_most_tasks(whole.counters),
                        histograms=whole.histograms,
                    ),
                )
            for path in paths:
                path.unlink(missing_ok=True)
                self._unwritten(path.name).unlink(missing_ok=True)

    def _worker_files(self) -> Iterator[tuple[Path, str, int]]:
        """Yield the workers' files with slot and process id, by name."""
        for path in sorted(self._folder.glob("*.msgpack")):
            match = _WORKER.fullmatch(path.name)
            if match:
                yield path, match[1], int(match[2])
            elif path.name != _GONE:
                self._warn(path.name, f"{path} is no snapshot of a worker; it is skipped")

    def _read(self, path: Path, kind: type[_Read]) -> _Read | None:
        try:
            content = msgspec.msgpack.decode(path.read_bytes(), type=kind)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            self._warn(path.name, f"{path} cannot be read, its counts are left out: {error}")
            return None
        if any(
            histogram.bounds != BOUNDS or len(histogram.counts) != len(BOUNDS) + 1
            for histogram in content.histograms
        ):
            self._warn(path.name, f"{path} is another version's, its counts are left out")
            return None
        return content

    def _replace(self, name: str, value: msgspec.Struct) -> None:
        unwritten = self._unwritten(name)
        unwritten.write_bytes(msgspec.msgpack.encode(value))
        unwritten.replace(self._folder / name)

    def _unwritten(self, name: str) -> Path:
        return self._folder / f".{name}.new"

    def _warn(self, about: str, message: str) -> None:
        if about not in self._warned:
            self._warned.add(about)
            logger.warning("%s", message)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from folding; a lock of the system, which ends with its process."""
        with (self._folder / "fold.lock").open("ab") as file:
            if sys.platform != "win32":
                fcntl.flock(file, fcntl.LOCK_EX)
            yield


async def keep_writing(
    snapshots: Snapshots, slot: int, take: Callable[[], Snapshot], *, every: float = 1.0
) -> None:
    """Write a worker's snapshot every second until cancelled, and once more then.

    It is taken on the event loop and written in a thread.
    """
    try:
        while True:
            await asyncio.to_thread(snapshots.write, slot, take())
            await asyncio.sleep(every)
    finally:
        snapshots.write(slot, take())


def merge(live: Iterable[tuple[str, Snapshot]], *, gone: Iterable[Snapshot | _Gone] = ()) -> Merged:
    """Return the counts of workers together.

    Args:
        live: Those that are alive, each with its slot. Of two with the same slot, when one takes
            over from the other, the later one's gauges hold.
        gone: Those that are not; their gauges are left out.
    """
    live = list(live)
    counters: dict[tuple[str, Labels], float] = {}
    filled: dict[tuple[str, Labels], tuple[list[int], float]] = {}
    for snapshot in (*gone, *(snapshot for _, snapshot in live)):
        for sample in snapshot.counters:
            key = sample.name, sample.labels
            counters[key] = counters.get(key, 0) + sample.value
        for histogram in snapshot.histograms:
            key = histogram.name, histogram.labels
            counts, total = filled.get(key, ([0] * len(histogram.counts), 0.0))
            counts = [a + b for a, b in zip(counts, histogram.counts, strict=True)]
            filled[key] = counts, total + histogram.sum
    latest = dict(sorted(live, key=lambda pair: pair[1].started))
    return Merged(
        workers=len(live),
        counters=tuple(Sample(*key, value) for key, value in counters.items()),
        histograms=tuple(
            Histogram(*key, BOUNDS, tuple(counts), total) for key, (counts, total) in filled.items()
        ),
        gauges=tuple(
            Sample(sample.name, (("worker", slot), *sample.labels), sample.value)
            for slot, snapshot in sorted(latest.items())
            for sample in (*snapshot.gauges, *AGE.samples(snapshot))
        ),
    )


def process_lives(pid: int) -> bool:
    """Return whether a process of this user has the id ``pid``."""
    if sys.platform == "win32":  # where signal 0 would end it
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError, OverflowError):
        return False
    return True


AGE: Final[Metric[Snapshot]] = Metric(
    "openwheel_worker_snapshot_age_seconds",
    "Since a worker last reported; more than a few seconds means that it hangs.",
    lambda snapshot: max(0.0, time.monotonic() - snapshot.time),
    ("worker",),
)

# fmt: off
WORKERS: Final[tuple[Metric[Merged], ...]] = (
    Metric("openwheel_workers", "Workers that are alive.", lambda merged: merged.workers),
    Metric("openwheel_build_info", "The version that runs.",
           lambda _: [((openwheel.__version__,), 1)], ("version",), shape="info"),
)
# fmt: on
