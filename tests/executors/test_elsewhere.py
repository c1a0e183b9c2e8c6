"""A student that a child process trains is the one that this process would have trained."""

import pytest

from many_tasks import learned, promoted, traffic
from openwheel.executors.child import carry_out
from openwheel.loop.offline.learn import learn
from openwheel.loop.resources import Resources
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.turn import turn
from openwheel.store import Store

SETTINGS = LoopSettings()


class Children:
    """Carries out each computation in a child process when its result is asked for."""

    def __init__(self, at_once=2):
        self.at_once = at_once
        self.started = []
        self.jobs = {}

    def require(self):
        pass

    def start(self, computation, folder):
        self.started.append(computation.name)
        self.jobs[folder] = computation

    def wait(self, folder):
        job = self.jobs[folder]
        carry_out(job.module, folder, name=job.name, threads=job.needs.threads)

    def drop(self, folder):
        self.jobs.pop(folder, None)


def run(how, folder, executor, exchanges, settings=SETTINGS):
    folder.mkdir()
    with Store.open(folder / "openwheel.db") as store:
        store.append(exchanges)
        found = how(store, settings, Resources(executor=executor))
        return found, learned(store), promoted(store)


def in_turns(store, settings, resources):
    return [(e.task, e.kind) for e in turn(store, settings, resources=resources).events]


def offline(store, settings, resources):
    found = learn(store, settings, source="made up", resources=resources)
    return [(t.task, t.n, t.certified, t.trade_off, t.expected, t.warnings) for t in found.tasks]


@pytest.mark.parametrize("how", [in_turns, offline])
def test_tasks_learned_in_children_come_to_the_same(tmp_path, monkeypatch, how):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    exchanges = traffic(3, 500)
    children = Children()
    here = run(how, tmp_path / "here", None, exchanges)
    there = run(how, tmp_path / "there", children, exchanges)
    assert len(children.started) >= 4
    assert len(here[1]) == 4
    assert here[2]
    assert there == here
