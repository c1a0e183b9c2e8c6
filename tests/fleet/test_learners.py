"""Learners as processes on one store in Postgres: they share a turn, and one leaves its part.

What faults do to them is in `test_leases` and `test_fleet`.
"""

import signal
import subprocess
import sys
import time

import pytest

from fleet.checks import is_well, of_tasks
from made_up import write_log
from openwheel.importing import LogProblems, read_log
from openwheel.loop.leases import latest_found, of_task, settled
from openwheel.loop.registry import Registry
from openwheel.loop.turn import failures
from openwheel.store import Store

PATIENCE_S = 120.0
SETTINGS = """
[store]
path = "{url}"
[loop]
turn_nice = 0
turn_threads = 1
rungs = ["linear"]
"""


class Learners:
    """Learners of one store, each a process."""

    def __init__(self, url, folder):
        self._folder = folder
        (folder / "openwheel.toml").write_text(SETTINGS.format(url=url))
        self.store = Store.open(url)
        self.processes = []
        self._logs = []

    def start(self):
        """Start one more."""
        self._logs.append(self._folder / f"learner-{len(self._logs)}.log")
        with self._logs[-1].open("wb") as log:
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "openwheel", "learner"],
                    cwd=self._folder,
                    stdout=log,
                    stderr=log,
                )
            )

    def add(self, tasks, n):
        """Add traffic of so many tasks."""
        log = write_log(self._folder / "log.jsonl", of_tasks(tasks, n), timed=False)
        self.store.append(list(read_log(log, in_order=True, problems=LogProblems())))

    def until(self, done):
        """Wait until that is true, and return it."""
        deadline = time.monotonic() + PATIENCE_S
        while not (found := done()):
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.02)
        return found

    def at_a_task(self):
        """Return the processes that are at a task."""
        with self.store.read() as transaction:
            query = "SELECT holder FROM leases WHERE holder <> '' AND name LIKE 'task %%'"
            holders = transaction.exec_driver_sql(query).scalars()
            pids = {int(holder.split(":")[1]) for holder in holders}
        return [process for process in self.processes if process.pid in pids]

    def are_done(self, tasks):
        """Return whether there are so many tasks, and all parts of the latest turn were taken."""
        known = {of_task(record.task.id) for record in Registry(self.store).tasks()}
        found = latest_found(self.store)
        if self.at_a_task() or found.looked_at < self.store.last_seq():
            return False
        return len(known) == tasks and known <= settled(self.store, found)

    def said(self):
        """Return what each has said."""
        return [path.read_text() for path in self._logs]

    def close(self):
        """End them all."""
        for process in self.processes:
            process.kill()
            process.wait()
        self.store.close()


@pytest.fixture
def learners(postgres_url, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = Learners(postgres_url, tmp_path)
    yield made
    made.close()


def test_learners_share_the_tasks_of_a_turn_and_each_is_learned_once(learners):
    for _ in range(2):
        learners.start()
    learners.add(8, 260)
    learners.until(lambda: learners.are_done(8))
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


def test_one_that_is_stopped_at_a_task_leaves_it_to_another(learners):
    learners.add(2, 1_500)
    for _ in range(2):
        learners.start()
    stopped = learners.until(learners.at_a_task)[0]
    stopped.send_signal(signal.SIGTERM)
    assert stopped.wait(30) == 0
    learners.until(lambda: learners.are_done(2))
    is_well(learners.store)
    assert failures.read(learners.store) == []
