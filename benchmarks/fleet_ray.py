"""What training on a Ray cluster costs beside the learner's own process, on one machine.

    python benchmarks/fleet_ray.py turns       a turn of 50 tasks: here, and with 1 and 2 workers
    python benchmarks/fleet_ray.py job         one job: here, and in a child process, by size
    python benchmarks/fleet_ray.py files       the exchanges of a job as MessagePack and as Parquet
    python benchmarks/fleet_ray.py finding     finding tasks, which stays in the learner

Workers are nodes of a cluster on the loopback address, each with one processor. All of them, the
learner and whatever else runs share this machine, so wall times say what they say for it alone.
"""

import argparse
import contextlib
import functools
import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from shared import about

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # the loopback address as it is
}

from many_tasks import traffic  # type: ignore[import-not-found]
from openwheel.executors import Executor
from openwheel.executors.child import carry_out
from openwheel.executors.ray import RayCluster
from openwheel.loop.data import load_answers, split
from openwheel.loop.registry import Registry
from openwheel.loop.resources import NO_RESOURCES, Resources
from openwheel.loop.settings import LoopSettings
from openwheel.loop.subject import subject_of
from openwheel.loop.turn.curate import curate, examples_of
from openwheel.loop.turn.training import Exchanges, Training, packed, unpacked
from openwheel.loop.turn.turn import turn
from openwheel.progress import silent
from openwheel.store import Exchange, Store
from openwheel.tasks import find_tasks

SETTINGS = LoopSettings(job_least=0)  # every training is a job
OBJECTS = 100 << 20


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of all that it started, ended ones included."""
    own = psutil.Process()
    total = 0.0
    for process in (own, *own.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            spent = process.cpu_times()
            total += sum((spent.user, spent.system, spent.children_user, spent.children_system))
    return total


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Return the wall and CPU seconds of some work."""
    cpu, wall = cpu_seconds(), time.perf_counter()
    work()
    return time.perf_counter() - wall, cpu_seconds() - cpu


def shown(values: list[float]) -> str:
    """Return the median of some values, and their range."""
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


@contextlib.contextmanager
def cluster(workers: int) -> Iterator[Executor]:
    """Start a cluster; its head and its nodes are children of this process."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "node_ip_address": "127.0.0.1", "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args={**head, "object_store_memory": OBJECTS})
    try:
        for _ in range(workers):
            made.add_node(num_cpus=1, object_store_memory=OBJECTS)
        yield RayCluster(made.address, at_once=2 * workers)
    finally:
        made.shutdown()


def turns(tasks: int, exchanges: int, rounds: int, machines: Sequence[int]) -> None:
    many, few = (traffic(n, exchanges, records=False) for n in (tasks, 2))

    def one(executor: Executor | None, rows: list[Exchange], tasks: int) -> tuple[float, float]:
        with (
            tempfile.TemporaryDirectory() as folder,
            Store.open(Path(folder, "openwheel.db")) as store,
        ):
            store.append(rows)
            found: list[str] = []

            def take() -> None:
                events = turn(store, SETTINGS, resources=Resources(executor=executor)).events
                found.extend(event.kind for event in events)

            spent = timed(take)
            assert found.count("promoted") > tasks / 2, found
            return spent

    print(f"\na turn of {tasks} tasks with {exchanges:,} exchanges each, {rounds} rounds")
    print("| where | wall s | CPU s |\n|---|---|---|")
    for workers in machines:
        with contextlib.ExitStack() as stack:
            executor = stack.enter_context(cluster(workers)) if workers else None
            if executor is not None:
                one(executor, few, 2)  # a worker's process starts with its first job
            spent = [one(executor, many, tasks) for _ in range(rounds)]
        name = f"Ray, {workers} worker{'s' * (workers > 1)}" if workers else "the learner"
        walls, cpus = zip(*spent, strict=True)
        print(f"| {name} | {shown(list(walls))} | {shown(list(cpus))} |", flush=True)


@contextlib.contextmanager
def training(exchanges: int, *, records: bool = False) -> Iterator[Training]:
    """Yield the training of a task with labels, or with records."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Store.open(Path(folder, "openwheel.db")) as store,
    ):
        store.append(traffic(0 if records else 1, exchanges, records=records))
        registry = Registry(store)
        curate(store, registry)
        [record] = registry.tasks()
        data = load_answers(store, record.task.id, record.form, record.folds)
        before, calibration = split(data)
        yield Training(
            subject=subject_of(registry, record, SETTINGS, NO_RESOURCES),
            training=before.to_train(),
            untrained=before.to_count(),
            calibration=calibration.inputs,
            progress=silent,
        )


def job(rounds: int) -> None:
    print(f"\none training, {rounds} rounds; in a child with its files written and read")
    print("| exchanges | here: wall s | here: CPU s | child: wall s | child: CPU s |")
    print("|---|---|---|---|---|")
    sizes = [(300, False), (1_000, False), (10_000, False), (50_000, False), (1_000, True)]
    for exchanges, records in sizes:
        with training(exchanges, records=records) as work:

            def away(work: Training = work) -> None:
                with tempfile.TemporaryDirectory() as folder:
                    assert work.place(Path(folder))
                    carry_out(work.module, Path(folder), name=work.name, threads=1)
                    assert work.read(Path(folder)).trained is not None

            here = [timed(work.here) for _ in range(rounds)]
            there = [timed(away) for _ in range(rounds)]
        columns = [shown(list(part)) for both in (here, there) for part in zip(*both, strict=True)]
        name = "records" if records else "labels"
        print(f"| {exchanges:,} with {name} | {' | '.join(columns)} |", flush=True)


def files(exchanges: int, rounds: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with training(exchanges) as work:
        sent = Exchanges(work.training, work.untrained, list(work.calibration))

    def write_parquet() -> bytes:
        data, file = sent.training, io.BytesIO()
        columns = {
            name: value
            for name in data.__struct_fields__
            if isinstance(value := getattr(data, name), np.ndarray)
            or (isinstance(value, list) and name not in {"origins", "probabilities"})
        }
        pq.write_table(pa.table(columns), file, compression="zstd")
        return file.getvalue()

    def read_parquet(content: bytes) -> Any:
        return pq.read_table(io.BytesIO(content)).to_pydict()

    ways: dict[str, tuple[Callable[[], bytes], Callable[[bytes], Any]]] = {
        "MessagePack": (lambda: packed(sent), lambda content: unpacked(content, Exchanges)),
        "Parquet, the training part alone": (write_parquet, read_parquet),
    }
    print(f"\n{exchanges:,} exchanges of a task with labels, {rounds} rounds")
    print("| as | MB | written: CPU s | read: CPU s |\n|---|---|---|---|")
    for name, (write, read) in ways.items():
        content = write()
        writing = [timed(write)[1] for _ in range(rounds)]
        reading = [timed(functools.partial(read, content))[1] for _ in range(rounds)]
        print(f"| {name} | {len(content) / 1e6:.1f} | {shown(writing)} | {shown(reading)} |")


def finding(rounds: int) -> None:
    print(f"\nfinding tasks in a sample, {rounds} rounds")
    print("| exchanges | tasks | CPU s |\n|---|---|---|")
    for tasks, each in ((5, 400), (50, 400)):
        sample = [
            (prompt, answer, "")
            for prompt, answer, _ in examples_of(traffic(tasks, each, records=False))
        ]
        spent = [timed(functools.partial(find_tasks, sample))[1] for _ in range(rounds)]
        print(f"| {len(sample):,} | {tasks} | {shown(spent)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["turns", "job", "files", "finding"])
    parser.add_argument("--tasks", type=int, default=50)
    parser.add_argument("--exchanges", type=int, default=0)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    print(about("fleet_ray.py"))
    if args.what == "turns":
        turns(args.tasks, args.exchanges or 400, args.rounds, args.workers)
    elif args.what == "job":
        job(args.rounds)
    elif args.what == "files":
        files(args.exchanges or 100_000, args.rounds)
    else:
        finding(args.rounds)


if __name__ == "__main__":
    main()
