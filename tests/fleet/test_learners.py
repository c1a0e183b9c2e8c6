"""Learners as processes on one store in Postgres: they share its tasks, end, die and freeze."""

import contextlib
import random
import signal
import subprocess
import sys
import time

import pytest

import postgres
from fleet.checks import is_well, of_tasks
from made_up import write_log
from openwheel.errors import StoreError
from openwheel.importing import LogProblems, read_log
from openwheel.loop.leases import latest_found, of_task, settled
from openwheel.loop.registry import Registry
from openwheel.loop.turn import failures
from openwheel.store import Store

LEASE_S = 2.0
PATIENCE_S = 120.0
SETTINGS = """
[store]
path = "{url}"
[loop]
lease = {lease}
turn_nice = 0
turn_threads = 1
rungs = ["linear"]
"""


class Fleet:
    """Learners of one store, each a process that is started again when it ends by itself."""

    def __init__(self, url, folder, monkeypatch):
        self.url, self._folder = url, folder
        (folder / "openwheel.toml").write_text(SETTINGS.format(url=url, lease=LEASE_S))
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        self.store = Store.open(url)
        self.processes = []
        self.logs = []
        self.attempts = {}
        self._batches = 0

    def start(self):
        """Start one more learner; return its number."""
        self.processes.append(None)
        self.logs.append(self._folder / f"learner-{len(self.logs)}.log")
        self.keep_running()
        return len(self.logs) - 1

    def keep_running(self):
        """Start those again that have ended, as systemd would."""
        for number, process in enumerate(self.processes):
            if process is None or process.poll() is not None:
                with self.logs[number].open("ab") as log:
                    self.processes[number] = subprocess.Popen(
                        [sys.executable, "-m", "openwheel", "learner"],
                        cwd=self._folder,
                        stdout=log,
                        stderr=log,
                    )

    def add(self, tasks, n):
        """Add traffic of so many tasks."""
        self._batches += 1
        path = self._folder / f"{self._batches}.jsonl"
        log = write_log(path, of_tasks(tasks, n, seed=self._batches), timed=False)
        self.store.append(list(read_log(log, in_order=True, problems=LogProblems())))

    def until(self, done):
        """Wait until that is true, and return it; no attempt is forgotten meanwhile."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(StoreError):  # while the database restarts
                for record in Registry(self.store).tasks():
                    before = self.attempts.get(record.task.id, 0)
                    assert record.attempts >= before
                    self.attempts[record.task.id] = record.attempts
                if found := done():
                    return found
            assert time.monotonic() < deadline, "\n".join(path.read_text() for path in self.logs)
            time.sleep(0.02)

    def at_a_task(self):
        """Return which learners are at a task, and at which."""
        with self.store.read() as transaction:
            query = "SELECT holder, name FROM leases WHERE holder <> '' AND name LIKE 'task %%'"
            rows = transaction.exec_driver_sql(query).all()
        numbers = {process.pid: number for number, process in enumerate(self.processes)}
        return {
            numbers[pid]: name
            for holder, name in rows
            if (pid := int(holder.split(":")[1])) in numbers
        }

    def is_done(self, tasks):
        """Return whether there are so many tasks, and the latest turn's parts have been taken."""
        known = {of_task(record.task.id) for record in Registry(self.store).tasks()}
        found = latest_found(self.store)
        with self.store.read() as transaction:
            held = "SELECT count(*) FROM leases WHERE holder <> '' AND name LIKE '%%task%%'"
            if transaction.exec_driver_sql(held).scalar_one():
                return False
        done = found.looked_at == self.store.last_seq() and known <= settled(self.store, found)
        return done and len(known) == tasks

    def said(self):
        return [path.read_text() for path in self.logs]

    def close(self):
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
        self.store.close()


@pytest.fixture
def fleet(tmp_path, monkeypatch):
    with contextlib.ExitStack() as stack:

        def make(url):
            made = Fleet(url, tmp_path, monkeypatch)
            stack.callback(made.close)
            return made

        yield make


def test_learners_share_the_tasks_of_a_turn_and_each_is_learned_once(fleet, postgres_url):
    learners = fleet(postgres_url)
    for _ in range(2):
        learners.start()
    learners.add(8, 260)
    learners.until(lambda: learners.is_done(8))
    registry = is_well(learners.store)
    told = [
        {line.split(":")[0] for line in said.splitlines() if line.startswith("[turn]")}
        for said in learners.said()
    ]
    names = {f"[turn] {record.task.name}" for record in registry.tasks()}
    assert told[0] | told[1] >= names
    assert all(record.attempts <= 1 for record in registry.tasks())
    for process in learners.processes:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert failures.notice(learners.store, alone=True) == []


def test_one_that_is_stopped_at_a_task_leaves_it_to_another(fleet, postgres_url):
    learners = fleet(postgres_url)
    learners.add(2, 1_500)
    for _ in range(2):
        learners.start()
    number = learners.until(learners.at_a_task).popitem()[0]
    stopped = learners.processes[number]
    stopped.send_signal(signal.SIGTERM)
    assert stopped.wait(30) == 0
    learners.until(lambda: learners.is_done(2))
    is_well(learners.store)
    assert failures.read(learners.store) == []


@pytest.fixture
def own_server(postgres_server):
    """Return a server that may be stopped."""
    del postgres_server  # skips where there is none
    with postgres.server() as running:
        yield running


@pytest.mark.evidence
@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_ends_learners_or_the_database(fleet, own_server, seed):
    """Killed, frozen for longer than their leases, or without a database: no attempt is lost,
    spent twice or made without being counted."""
    rng = random.Random(seed)
    learners = fleet(own_server.database())
    for _ in range(3):
        learners.start()
    tasks = 6
    learners.add(tasks, 260)
    faults = ["kill", "freeze", "restart", "crash"] * 4
    rng.shuffle(faults)
    for fault in faults:
        learners.keep_running()
        victim = learners.until(learners.at_a_task).popitem()[0]
        process = learners.processes[victim]
        time.sleep(rng.random() * 0.5)
        if fault == "kill":
            process.kill()
            process.wait()
        elif fault == "freeze":
            process.send_signal(signal.SIGSTOP)
            time.sleep(2 * LEASE_S)
            process.send_signal(signal.SIGCONT)
        else:
            own_server.stop(signal.SIGINT if fault == "restart" else signal.SIGQUIT)
            time.sleep(rng.random() * 2 * LEASE_S)
            own_server.start()
        learners.keep_running()
        learners.add(tasks, 60)

    def done():
        learners.keep_running()
        return learners.is_done(tasks)

    learners.until(done)
    registry = is_well(learners.store)
    for record in registry.tasks():
        assert registry.candidates(task_id=record.task.id), record
