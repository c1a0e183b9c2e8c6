"""Jobs on a real Ray cluster of two nodes on this machine, and what dies under them."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from executors.ways import SETTINGS, in_a_turn, offline, run
from made_up import tickets, write_log
from many_tasks import traffic
from openwheel.errors import ModelError
from openwheel.executors.ray import RayCluster
from openwheel.loop.resources import Resources
from openwheel.loop.turn import failures
from openwheel.loop.turn.turn import turn
from openwheel.store import Store

pytest.importorskip("ray", reason="needs the extra ray")

STORE = 100 << 20
JOB = "openwheel.loop.turn.training_job"
DRIVER = "openwheel.executors.ray_driver"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A cluster on the loopback address, its head without processors and a node with one."""
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "node_ip_address": "127.0.0.1", "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args={**head, "object_store_memory": STORE})
    made.add_node(num_cpus=1, object_store_memory=STORE)
    yield made
    made.shutdown()
    patch.undo()


@pytest.fixture(scope="module")
def exchanges():
    return traffic(2, 400, records=False)


@pytest.fixture(scope="module")
def in_process(exchanges, tmp_path_factory):
    """What a turn in this process comes to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        return run(in_a_turn, tmp_path_factory.mktemp("a") / "here", None, exchanges)


def processes(word):
    """Yield the processes with a word among their arguments: process, parent."""
    for path in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if word in (path / "cmdline").read_bytes().decode().split("\0"):
                yield int(path.name), parent_of(path.name)


def parent_of(process):
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def wait_for(look, seconds=60.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come")


@contextlib.contextmanager
def meanwhile(do):
    """Do something in a thread beside the block; what it raises is raised after it."""
    raised = []

    def run_it():
        try:
            do()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run_it)
    thread.start()
    yield
    thread.join()
    assert not raised, raised


def a_job():
    """Return a job's process and its worker, of a node that this process has started."""
    with contextlib.suppress(OSError):  # one that ends meanwhile
        for child, worker in processes(JOB):
            if parent_of(parent_of(worker)) == os.getpid():
                return child, worker
    return None


def test_tasks_learned_on_a_cluster_come_to_the_same(cluster, tmp_path, exchanges, in_process):
    there = run(in_a_turn, tmp_path / "there", RayCluster(cluster.address, at_once=2), exchanges)
    assert there == in_process
    assert [kind for _, kind, _ in there[0]].count("promoted") == 2


def test_a_worker_that_is_killed_is_replaced_and_nothing_else_changes(
    cluster, tmp_path, exchanges, in_process, caplog
):
    killed = []

    def kill():
        _, worker = wait_for(a_job)
        killed.append(worker)
        os.kill(worker, signal.SIGKILL)

    with meanwhile(kill):
        there = run(in_a_turn, tmp_path / "1", RayCluster(cluster.address, at_once=2), exchanges)
    assert there == in_process
    assert "It is tried once more" in caplog.text
    # The next job removed what the killed one had left.
    assert not list(Path(tempfile.gettempdir()).glob(f"openwheel-job-{killed[0]}-*"))


def test_a_node_that_is_killed_has_its_job_done_on_another(
    cluster, tmp_path, exchanges, in_process
):
    cluster.add_node(num_cpus=1, object_store_memory=STORE)

    def kill():
        _, worker = wait_for(a_job)
        os.kill(parent_of(worker), signal.SIGKILL)

    with meanwhile(kill):
        there = run(in_a_turn, tmp_path / "1", RayCluster(cluster.address, at_once=2), exchanges)
    assert there == in_process


def test_a_job_that_dies_twice_makes_its_task_wait_and_others_go_on(
    cluster, tmp_path, exchanges, in_process
):
    def kill():
        for _ in range(2):
            child, _ = wait_for(a_job)
            os.kill(child, signal.SIGKILL)
            wait_for(lambda child=child: not Path(f"/proc/{child}").exists())

    resources = Resources(executor=RayCluster(cluster.address, at_once=1))
    with Store.open(tmp_path / "openwheel.db") as store:
        store.append(exchanges)
        with meanwhile(kill):
            events = in_a_turn(store, SETTINGS, resources)
        (task, kind, reason), second = events[0], events[-1]
        assert (task, kind) == ("queue-0", "trouble")
        assert "its process ended by signal 9" in reason
        assert "It is tried again in 60 s" in reason
        assert (second[0], second[1]) == ("queue-1", "promoted")
        assert [failure.reason in reason for failure in failures.read(store)] == [True]
        # By hand it is tried at once, and forgotten once it went well.
        assert ("queue-0", "promoted") in {
            event[:2] for event in in_a_turn(store, SETTINGS, resources)
        }
        assert failures.read(store) == []


def test_a_cluster_that_cannot_be_reached_makes_tasks_wait(tmp_path, exchanges):
    with Store.open(tmp_path / "openwheel.db") as store:
        store.append(exchanges)
        resources = Resources(executor=RayCluster("127.0.0.1:1", at_once=2))
        events = turn(store, SETTINGS, resources=resources).events
        assert [event.kind for event in events] == ["trouble", "trouble"]
        why = "The Ray cluster at 127.0.0.1:1 cannot be reached: [Errno 111] Connection refused"
        assert all(why in event.reason for event in events)
        assert len(failures.read(store)) == 2
        with pytest.raises(ModelError, match="cannot be reached"):
            offline(store, SETTINGS, resources)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_learner_that_is_stopped_or_killed_leaves_no_job_behind(cluster, tmp_path, how):
    assert not a_job()
    (tmp_path / "openwheel.toml").write_text("[loop]\njob_least = 0\n")
    log = write_log(tmp_path / "log.jsonl", tickets(400))
    learner = subprocess.Popen(
        [sys.executable, "-m", "openwheel", "learn", log.name, "--ray", cluster.address],
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(a_job)
        [driver] = [child for child, parent in processes(DRIVER) if parent == learner.pid]
        learner.send_signal(how)
        learner.wait(60)
        wait_for(lambda: not a_job())
        wait_for(lambda: driver not in dict(processes(DRIVER)))
    finally:
        learner.kill()
        learner.wait()


def test_learn_takes_a_cluster(cluster, tmp_path):
    (tmp_path / "openwheel.toml").write_text("[loop]\njob_least = 0\n")
    log = write_log(tmp_path / "log.jsonl", tickets(400))
    found = {}
    for db, more in (("a.db", []), ("b.db", ["--ray", cluster.address])):
        done = subprocess.run(
            [sys.executable, "-m", "openwheel", "learn", log.name, "--json", "--db", db, *more],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        found[db] = [
            line
            for line in done.stdout.splitlines()
            if '"student"' not in line and '"certificate"' not in line
        ]
    assert found["a.db"] == found["b.db"]
    assert '"certified": true' in "".join(found["a.db"])
