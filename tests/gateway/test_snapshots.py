"""Snapshots of several workers in one folder, written by real processes."""

import asyncio
import json
import os
import signal
import threading
import time

import msgspec
import pytest

from forks import forks
from openwheel.gateway.meter import MOST_TASKS, Histogram, Meter, ProcessUsage
from openwheel.gateway.snapshots import SnapshotFolder, keep_writing, merge

WORKER = """
import sys, time
from pathlib import Path
from openwheel.gateway.meter import Meter, process_usage
from openwheel.gateway.snapshots import SnapshotFolder

folder, slot, count, then = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
meter, snapshots = Meter(), SnapshotFolder(folder)
for number in range(count):
    meter.request("chat", "student", 200, 0.01, 0.005, "route")
    snapshots.write(slot, meter.snapshot(usage=process_usage()))
print(count, flush=True)
while then == "stay":
    time.sleep(0.01)
    meter.request("chat", "student", 200, 0.01, 0.005, "route")
    snapshots.write(slot, meter.snapshot(usage=process_usage()))
"""


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def worker(folder):
    """Start a worker that counts and writes."""
    with forks() as start:
        yield lambda slot, count, then="stay": start(WORKER, folder, slot, count, then)


def requests(merged):
    return sum(one.value for one in merged.counters if one.name == "openwheel_requests_total")


def observed(merged):
    (found,) = [one for one in merged.histograms if "duration" in one.name]
    return sum(found.counts)


def gauge(merged, name):
    return {dict(one.labels)["worker"]: one.value for one in merged.gauges if one.name == name}


def ended(process):
    assert process.wait() is not None
    return process


def test_workers_that_write_at_once_are_summed(folder, worker):
    processes = [worker(slot, 300, "end") for slot in range(2)]
    snapshots = SnapshotFolder(folder)
    seen = 0
    while any(process.poll() is None for process in processes):
        now = requests(snapshots.merged())
        assert now >= seen  # a counter never goes back, whatever is being written
        seen = now
        time.sleep(0.001)
    merged = snapshots.merged()
    assert (requests(merged), observed(merged)) == (600, 600)
    assert (merged.workers, merged.gauges) == (0, ())
    assert len(list(folder.iterdir())) == 2


def test_a_killed_workers_counts_stay_and_its_gauges_go(folder, worker):
    first, second = worker(0, 50), worker(1, 70)
    first.stdout.readline(), second.stdout.readline()
    snapshots = SnapshotFolder(folder)
    merged = snapshots.merged()
    assert merged.workers == 2
    assert gauge(merged, "openwheel_memory_bytes").keys() == {"0", "1"}
    assert requests(merged) >= 120
    first.kill()
    ended(first)
    assert first.returncode == -signal.SIGKILL
    after = snapshots.merged()
    assert after.workers == 1
    assert gauge(after, "openwheel_memory_bytes").keys() == {"1"}
    assert requests(after) >= requests(merged)
    assert observed(after) == requests(after)


def test_the_gone_are_folded_into_one_file(folder, worker):
    *gone, alive = [worker(slot, 10, "end" if slot < 2 else "stay") for slot in range(3)]
    for process in gone:
        ended(process)
    alive.stdout.readline()
    snapshots = SnapshotFolder(folder)
    before = requests(snapshots.merged())
    snapshots.fold_dead()
    names = {path.name for path in folder.glob("*.msgpack")}
    assert names == {"gone.msgpack", f"worker-2-{alive.pid}.msgpack"}
    assert requests(snapshots.merged()) >= before
    alive.kill()
    ended(alive)
    before = requests(snapshots.merged())
    for _ in range(2):
        snapshots.fold_dead()
        merged = snapshots.merged()
        assert (requests(merged), observed(merged)) == (before, before)
    # The folder does not grow with restarts.
    assert {path.name for path in folder.iterdir()} == {"gone.msgpack", "fold.lock"}


FOLDER = """
import sys, time
from pathlib import Path
from openwheel.gateway.snapshots import SnapshotFolder
snapshots = SnapshotFolder(Path(sys.argv[1]))
while not Path(sys.argv[2]).exists():
    snapshots.fold_dead()
    time.sleep(0.001)
"""


def test_several_may_fold_while_others_read_and_start(folder, worker, tmp_path):
    done = tmp_path / "done"
    snapshots = SnapshotFolder(folder)
    seen = written = 0
    with forks() as start:
        folding = [start(FOLDER, folder, done) for _ in range(2)]
        for number in range(40):
            meter = Meter()
            for _ in range(number):
                meter.request("chat", "teacher", 200, 0.1, None, "")
            # As if by another process; complete when it gets its name, as `write` does it.
            whole = folder / "new"
            folder.mkdir(exist_ok=True)
            whole.write_bytes(msgspec.msgpack.encode(meter.snapshot()))
            whole.rename(folder / f"worker-{number % 3}-{4_000_000 + number}.msgpack")
            written += number
            for _ in range(10):
                now = requests(snapshots.merged())
                assert seen <= now <= written
                seen = now
            assert seen == written
        done.touch()
        assert [process.wait() for process in folding] == [0, 0]
    snapshots.fold_dead()
    assert requests(snapshots.merged()) == written
    assert {path.name for path in folder.iterdir()} == {"gone.msgpack", "fold.lock"}


def test_a_fold_in_the_middle_of_reading_changes_nothing(folder, worker):
    for process in [worker(slot, 10, "end") for slot in range(2)]:
        ended(process)

    def folds_meanwhile(_: int) -> bool:
        SnapshotFolder(folder).fold_dead()
        return False

    # One file has been read by then, the other is gone.
    assert requests(SnapshotFolder(folder, lives=folds_meanwhile).merged()) == 20
    assert len(list(folder.glob("worker-*"))) == 0


def test_a_worker_that_starts_during_a_fold_is_not_taken_for_gone(folder, worker):
    ended(worker(0, 10, "end"))
    meter, snapshots = Meter(), SnapshotFolder(folder)

    def starts_meanwhile(pid: int) -> bool:
        snapshots.write(1, meter.snapshot())
        return pid == os.getpid()

    SnapshotFolder(folder, lives=starts_meanwhile).fold_dead()
    meter.request("chat", "teacher", 200, 0.1, None, "")
    snapshots.write(1, meter.snapshot())
    merged = snapshots.merged()
    assert (requests(merged), merged.workers) == (11, 1)
    assert {path.name for path in folder.glob("*.msgpack")} == {
        "gone.msgpack",
        f"worker-1-{os.getpid()}.msgpack",
    }


def test_a_fold_killed_before_it_removed_files_counts_nothing_twice(folder, worker):
    ended(worker(0, 25, "end"))
    (path,) = folder.glob("worker-*.msgpack")
    kept = path.read_bytes()
    snapshots = SnapshotFolder(folder)
    snapshots.fold_dead()
    path.write_bytes(kept)  # as where it was killed in between
    assert requests(snapshots.merged()) == 25
    snapshots.fold_dead()
    assert requests(snapshots.merged()) == 25
    assert not path.exists()


def test_a_new_worker_may_have_an_old_ones_process_id(folder):
    for expected in (4, 8):
        meter, snapshots = Meter(), SnapshotFolder(folder)
        SnapshotFolder(folder, lives=lambda _: False).fold_dead()
        for _ in range(4):
            meter.request("chat", "teacher", 200, 0.1, None, "")
        snapshots.write(0, meter.snapshot())
        assert requests(snapshots.merged()) == expected


def test_torn_and_foreign_files_are_skipped_with_one_warning(folder, worker, caplog):
    ended(worker(0, 10, "end"))
    (path,) = folder.glob("worker-*.msgpack")
    whole = path.read_bytes()
    (folder / "worker-7-4000001.msgpack").write_bytes(whole[: len(whole) // 2])
    (folder / "worker-8-4000002.msgpack").write_bytes(b"")
    (folder / "worker-9-4000003.msgpack").write_bytes(msgspec.msgpack.encode({"id": 3}))
    (folder / "notes.msgpack").write_bytes(b"hello")
    (folder / "gateway.pid").write_text("1")
    snapshots = SnapshotFolder(folder)
    for _ in range(3):
        assert requests(snapshots.merged()) == 10
    named = [json.dumps(record.getMessage()) for record in caplog.records]
    assert len(named) == 4
    for name in ("worker-7", "worker-8", "worker-9", "notes"):
        assert sum(name in one for one in named) == 1
    snapshots.fold_dead()
    assert requests(snapshots.merged()) == 10
    left = {path.name for path in folder.iterdir()}
    assert left == {"gone.msgpack", "fold.lock", "notes.msgpack", "gateway.pid"}


def test_another_versions_buckets_are_not_mixed_in(folder, caplog):
    meter = Meter()
    meter.request("chat", "teacher", 200, 0.1, None, "")
    snapshot = meter.snapshot()
    other = tuple(
        Histogram(one.name, one.labels, (1.0, 2.0), (1, 0, 0), one.sum)
        for one in snapshot.histograms
    )
    snapshots = SnapshotFolder(folder)
    snapshots.write(0, msgspec.structs.replace(snapshot, histograms=other))
    assert snapshots.merged().counters == ()
    assert "another version" in caplog.text


def test_a_torn_sum_of_the_gone_is_told(folder, caplog):
    folder.mkdir()
    (folder / "gone.msgpack").write_bytes(b"\x83")
    assert SnapshotFolder(folder).merged().workers == 0
    assert "gone.msgpack cannot be read" in caplog.text


def test_an_older_snapshot_does_not_replace_a_later_one(folder):
    meter, snapshots = Meter(), SnapshotFolder(folder)
    older = meter.snapshot()
    meter.request("chat", "teacher", 200, 0.1, None, "")
    snapshots.write(0, meter.snapshot())
    snapshots.write(0, older)
    assert requests(snapshots.merged()) == 1


def test_when_one_worker_takes_over_the_later_ones_gauges_hold(folder):
    old, new = Meter(), Meter()
    first = old.snapshot(usage=ProcessUsage(1.0, 100))
    second = new.snapshot(usage=ProcessUsage(2.0, 200))
    second = msgspec.structs.replace(second, started=first.started + 1)
    merged = merge([("0", second), ("0", first)])
    assert gauge(merged, "openwheel_memory_bytes") == {"0": 200}
    assert merged.workers == 2
    assert [one.value for one in merged.counters if "cpu" in one.name] == [3.0]


def test_the_tasks_of_many_generations_are_bounded(folder):
    snapshots = SnapshotFolder(folder)
    for generation in range(3):
        meter = Meter()
        for number in range(MOST_TASKS):
            meter.request("chat", "teacher", 200, 0.1, None, f"task {generation} {number}")
        SnapshotFolder(folder).write(0, meter.snapshot())
        SnapshotFolder(folder, lives=lambda _: False).fold_dead()
    found = [one for one in snapshots.merged().counters if "task" in one.name]
    assert len(found) == MOST_TASKS + 1
    assert sum(one.value for one in found) == 3 * MOST_TASKS


def test_a_folder_that_cannot_be_written_to_is_told_once(folder, caplog):
    folder.write_text("a file in its place")
    meter, snapshots = Meter(), SnapshotFolder(folder)
    for _ in range(3):
        snapshots.write(0, meter.snapshot())
    assert caplog.text.count("cannot be written") == 1
    folder.unlink()
    snapshots.write(0, meter.snapshot())
    assert snapshots.merged().workers == 1


def test_a_worker_writes_every_while_and_when_it_stops(folder):
    meter, snapshots = Meter(), SnapshotFolder(folder)

    async def main():
        task = asyncio.create_task(keep_writing(snapshots, 0, meter.snapshot, every=0.01))
        for expected in (1, 2):
            meter.request("chat", "teacher", 200, 0.1, None, "")
            async with asyncio.timeout(10):
                while requests(snapshots.merged()) < expected:
                    await asyncio.sleep(0.005)
        meter.request("chat", "teacher", 200, 0.1, None, "")
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(main())
    assert requests(snapshots.merged()) == 3


def test_threads_of_one_worker_write_one_after_the_other(folder):
    meter, snapshots = Meter(), SnapshotFolder(folder)
    meter.request("chat", "teacher", 200, 0.1, None, "")
    made = [meter.snapshot() for _ in range(200)]
    threads = [
        threading.Thread(target=lambda part=part: [snapshots.write(0, one) for one in part])
        for part in (made[::2], made[1::2])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (path,) = folder.glob("*.msgpack")
    assert path.name == f"worker-0-{os.getpid()}.msgpack"
    assert msgspec.msgpack.decode(path.read_bytes())["number"] == 199


def test_the_age_tells_a_worker_that_hangs(folder):
    snapshots = SnapshotFolder(folder)
    old = msgspec.structs.replace(Meter().snapshot(), time=time.monotonic() - 60)
    snapshots.write(0, old)
    assert gauge(snapshots.merged(), "openwheel_worker_snapshot_age_seconds")["0"] >= 60
