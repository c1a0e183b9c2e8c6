"""A student that a child process trains is the one that this process would have trained."""

import contextlib

import pytest

from executors.ways import in_a_turn, offline, run
from many_tasks import traffic
from openwheel.executors.child import carry_out


class Children:
    """Carries out each computation in a child process when its result is asked for."""

    def __init__(self, at_once=2):
        self.at_once = at_once
        self.started = []
        self.jobs = {}

    def session(self):
        return contextlib.nullcontext(self)

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


@pytest.mark.parametrize("how", [in_a_turn, offline])
def test_tasks_learned_in_children_come_to_the_same(tmp_path, how):
    exchanges = traffic(3, 500)
    children = Children()
    here = run(how, tmp_path / "here", None, exchanges)
    there = run(how, tmp_path / "there", children, exchanges)
    assert len(children.started) >= 4
    assert len(here[1]) == 4
    assert here[2]
    assert there == here
