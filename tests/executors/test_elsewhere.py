"""A student that a child process trains is the one that this process would have trained."""

import contextlib
import importlib.util
import subprocess
import sys

import pytest

from executors.ways import in_a_turn, offline, run
from made_up_records import orders
from many_tasks import exchanges_of, traffic
from openwheel import __version__
from openwheel.errors import SettingError
from openwheel.executors.child import carry_out
from openwheel.loop.resources import executor_of
from openwheel.loop.settings import LoopSettings
from openwheel.settings import TaskSection
from openwheel.students.onnx_encoder import GRAPH
from students.conftest import make_encoder, onnx_here  # noqa: F401 - a fixture


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
    exchanges = traffic(2, 400)
    children = Children()
    here = run(how, tmp_path / "here", None, exchanges)
    there = run(how, tmp_path / "there", children, exchanges)
    assert len(children.started) >= 3
    assert len(here[1]) == 3
    assert here[2]
    assert there == here


def test_a_task_is_given_the_student_of_one_before_it_wherever_that_is_trained(tmp_path):
    settings = LoopSettings(job_least=0, tasks={"queue-1": TaskSection(same_as="queue-0")})
    exchanges = traffic(2, 400, records=False)
    here = run(in_a_turn, tmp_path / "here", None, exchanges, settings)
    there = run(in_a_turn, tmp_path / "there", Children(), exchanges, settings)
    assert there == here
    assert [kind for _, kind, _ in here[0]] == ["promoted", "shadowing"]


def test_a_student_with_an_encoder_is_saved_from_what_came_back(tmp_path, make_encoder):  # noqa: F811
    encoder = onnx_here(make_encoder())
    settings = LoopSettings(
        rungs=("encoder",), encoder=encoder.name, tune_encoder="never", epsilon=0.2
    )
    exchanges = traffic(1, 500, records=False)
    here = run(in_a_turn, tmp_path / "here", None, exchanges, settings, encoder)
    children = Children()
    there = run(in_a_turn, tmp_path / "there", children, exchanges, settings, encoder)
    assert len(children.started) == 1  # whatever the number of exchanges
    assert there == here
    [(_, rung, _, files, *_)] = here[1]
    assert (rung, GRAPH in files) == ("encoder", True)


def test_a_few_labels_are_learned_here(tmp_path):
    children = Children()
    found = run(in_a_turn, tmp_path / "a", children, traffic(1, 300), LoopSettings(job_least=300))
    assert children.started == ["Training a student of the task orders"]  # records always go
    assert [kind for _, kind, _ in found[0]].count("promoted") == 2


def test_rules_for_fields_that_do_not_suit_are_said_as_here(tmp_path):
    settings = LoopSettings(tasks={"orders": TaskSection(fields={"nothing": ("ignore",)})})
    exchanges = exchanges_of("orders", orders(300))
    here = run(in_a_turn, tmp_path / "here", None, exchanges, settings)
    there = run(in_a_turn, tmp_path / "there", Children(), exchanges, settings)
    assert there == here
    [(task, kind, reason)] = here[0]
    assert (task, kind) == ("orders", "trouble")
    assert "nothing" in reason


def test_a_node_with_another_version_refuses_and_the_task_waits(tmp_path):
    class Older(Children):
        def start(self, computation, folder):
            order = folder / "order.json"
            order.write_bytes(order.read_bytes().replace(__version__.encode(), b"0.0.1", 1))
            super().start(computation, folder)

    found = run(in_a_turn, tmp_path / "a", Older(), traffic(1, 300, records=False))
    [(_, kind, reason)] = found[0]
    assert kind == "trouble"
    assert (
        f"A job of Openwheel 0.0.1 must run on a machine with that version; here is {__version__}"
        in reason
    )
    assert "tried again in 60 s" in reason


def test_ray_is_imported_by_no_learner_and_a_missing_one_is_said(monkeypatch):
    code = "import sys, openwheel.loop.learner.learner as _; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(
        SettingError, match=r"needs the extra `ray`: pip install 'openwheel\[ray\]'"
    ):
        executor_of(LoopSettings(executor="ray"))
