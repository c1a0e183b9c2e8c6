"""Learners as processes: one at a time, within their limits, auditing whether or not they learn."""

import contextlib
import os
import random
import signal
import subprocess
import sys

import msgspec
import pytest

from made_up import ticket, tickets, write_log
from openwheel.importing import LogProblems, read_log
from openwheel.loop.offline.learn import learn
from openwheel.loop.registry import Registry
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn import failures
from openwheel.store import Exchange, Store
from openwheel.wire import Answer

TEACHER = ("--teacher", "http://127.0.0.1:9/v1")
EAGER = "[loop]\nturn_nice = 0\n"
"""Settings of turns that get their share of processors that other tests keep busy."""


@pytest.fixture
def filled(tmp_path):
    """Put exchanges into the store that the gateway uses."""
    (tmp_path / "openwheel.toml").write_text(EAGER)

    def fill(n):
        log = write_log(tmp_path / "log.jsonl", tickets(n))
        with Store.open(tmp_path / "openwheel.db") as store:
            store.append(list(read_log(log, in_order=True, problems=LogProblems())))

    return fill


@pytest.fixture
def run(tmp_path):
    """Start a command on that store; it is killed at the end."""
    with contextlib.ExitStack() as stack:

        def start(*arguments):
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "openwheel", *arguments],
                    cwd=tmp_path,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(process.kill)
            return process

        yield start


def holder(tmp_path):
    """Return the id of the process that holds the lock, 0 if none does."""
    lock = tmp_path / "openwheel.db.learner"
    if not lock.exists():
        return 0
    with open("/proc/locks", encoding="ascii") as locks:
        for line in locks:
            fields = line.split()
            if fields[1] == "FLOCK" and fields[5].endswith(f":{lock.stat().st_ino}"):
                return int(fields[4])
    return 0


def turns_under_way(tmp_path):
    with Store.open(tmp_path / "openwheel.db") as store, store.read() as connection:
        query = "SELECT count(*) FROM leases WHERE holder <> ''"
        return connection.exec_driver_sql(query).scalar_one()


@pytest.mark.parametrize(
    "commands",
    [
        (["learn", "log.jsonl"],),
        pytest.param((["turn"],), marks=pytest.mark.evidence),
    ],
    ids=["learn", "turn"],
)
def test_no_two_learn_at_once_and_a_killed_one_leaves_the_lock(
    filled, run, wait_for, tmp_path, commands
):
    filled(50)
    first = run("learner")
    wait_for(lambda: holder(tmp_path) == first.pid)
    for command in commands:
        second = run(*command)
        _, said = second.communicate(timeout=240)
        assert second.returncode == 2
        said = " ".join(said.split())
        assert f"Another process (process {first.pid}) is learning from openwheel.db" in said
        assert "Traceback" not in said
    assert holder(tmp_path) == first.pid
    first.kill()
    first.wait()
    assert holder(tmp_path) == 0
    third = run("turn")
    third.communicate(timeout=240)
    assert third.returncode == 0


@pytest.mark.evidence
def test_a_gateways_learner_waits_for_one_by_hand_and_takes_over_when_it_is_killed(
    filled, run, up, wait_for, tmp_path
):
    filled(50)
    first = run("learner")
    wait_for(lambda: holder(tmp_path) == first.pid)
    gateway = up(*TEACHER)
    wait_for(lambda: "The learner waits: Another process" in gateway.log)
    (learner,) = wait_for(lambda: gateway.children("learner"))
    first.kill()
    wait_for(lambda: holder(tmp_path) == learner)


def test_a_lock_that_cannot_be_written_is_named(filled, run, tmp_path):
    filled(20)
    (tmp_path / "openwheel.db.learner").mkdir()
    process = run("turn")
    _, said = process.communicate(timeout=240)
    assert process.returncode == 2
    assert "lock openwheel.db.learner must be writable" in " ".join(said.split())


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_learner_of_a_gateway_is_nice_limited_and_the_first_to_go(up, wait_for, tmp_path):
    (tmp_path / "openwheel.toml").write_text(
        "[loop]\nturn_nice = 12\nturn_threads = 3\nturn_memory = 0.25\n"
    )
    gateway = up(*TEACHER)
    (learner,) = wait_for(lambda: gateway.children("learner"))
    wait_for(lambda: holder(tmp_path) == learner)

    def read(pid, name):
        with open(f"/proc/{pid}/{name}", encoding="ascii") as file:
            return file.read()

    def nice(pid):
        return int(read(pid, "stat").rpartition(")")[2].split()[16])

    (worker,) = gateway.children()
    own = nice(os.getpid())  # not 0 if the tests are run by nice; nothing is nicer than 19
    assert (nice(learner), nice(worker)) == (min(own + 12, 19), own)
    assert int(read(learner, "oom_score_adj")) == 1000
    assert int(read(worker, "oom_score_adj")) == int(read(os.getpid(), "oom_score_adj"))
    data = next(line for line in read(learner, "limits").splitlines() if "data size" in line)
    assert int(data.split()[3]) >= 400 << 20
    assert "OPENBLAS_NUM_THREADS=3" in read(learner, "environ").split("\0")


def test_a_learner_that_is_stopped_in_a_turn_did_not_die(filled, up, wait_for, tmp_path):
    filled(6_000)
    gateway = up(*TEACHER)
    wait_for(lambda: turns_under_way(tmp_path))
    assert gateway.stop() == 0
    with Store.open(tmp_path / "openwheel.db") as store:
        assert failures.notice(store, alone=True) == []


def test_one_that_is_killed_in_a_turn_did(filled, up, wait_for, tmp_path):
    filled(6_000)
    gateway = up(*TEACHER)
    wait_for(lambda: turns_under_way(tmp_path))
    (learner,) = wait_for(lambda: gateway.children("learner"))
    os.kill(learner, signal.SIGKILL)
    wait_for(lambda: "a turn failed here: its process was killed or crashed" in gateway.log)


@pytest.mark.evidence
def test_without_turns_audits_go_on_and_a_turn_by_hand_may_be_taken(
    filled, run, up, wait_for, tmp_path
):
    filled(1_000)
    with Store.open(tmp_path / "openwheel.db") as store:
        learn(store, LoopSettings(), source="made up")
        registry = Registry(store)
        (certificate,) = registry.certificates()
        gateway = up(*TEACHER, "--no-turns")
        by_hand = run("turn")
        by_hand.communicate(timeout=240)
        assert by_hand.returncode == 0
        taken = len(registry.turns())
        rng = random.Random(4)
        store.append(
            [
                Exchange(
                    id=f"audit-{i}",
                    request=msgspec.json.encode(
                        {"messages": [{"role": "user", "content": ticket(rng, "billing")}]}
                    ),
                    answer=Answer("account"),
                    source="teacher",
                    unbiased=True,
                    audit_probability=0.05,
                    student=certificate.student,
                    student_answer="billing",
                )
                for i in range(300)
            ]
        )
        wait_for(lambda: registry.promotions()[certificate.task].by == "audit")
        wait_for(lambda: "demoted" in gateway.log)  # told once it is done
        assert len(registry.turns()) == taken
