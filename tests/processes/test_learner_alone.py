"""A learner without a gateway beside it, and gateways without a learner."""

import contextlib
import os
import signal
import subprocess
import sys

import pytest

from made_up import tickets, write_log
from openwheel.importing import LogProblems, read_log
from openwheel.loop.registry import Registry
from openwheel.loop.turn import failures
from openwheel.store import Store

TEACHER = ("--teacher", "http://127.0.0.1:9/v1")


def fill(folder, n):
    log = write_log(folder / "log.jsonl", tickets(n))
    with Store.open(folder / "openwheel.db") as store:
        store.append(list(read_log(log, in_order=True, problems=LogProblems())))


@pytest.fixture
def learner(tmp_path):
    """Start ``openwheel learner`` in the folder of the store."""
    (tmp_path / "openwheel.toml").write_text("[loop]\nturn_nice = 0\n")
    with contextlib.ExitStack() as stack:

        def start(*arguments):
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "openwheel", "learner", *arguments],
                    cwd=tmp_path,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    env={**os.environ, "PYTHONUNBUFFERED": "1"},
                )
            )
            stack.callback(process.kill)
            return process

        yield start


def test_a_gateway_without_a_learner_and_one_that_runs_alone(up, learner, wait_for, tmp_path):
    """The gateway has no learner beside it; what it serves, the other promotes and takes off."""
    fill(tmp_path, 1_200)
    gateway = up(*TEACHER, "--no-learner", "--no-console")
    assert not gateway.children("learner")
    assert not gateway.children("console")
    alone = learner("--log-format", "json")
    with Store.open(tmp_path / "openwheel.db") as store:
        registry = Registry(store)
        wait_for(registry.certificates)
        wait_for(lambda: '"students":{"' in gateway.get("/healthz").replace('": {"', '":{"'))
    assert not gateway.children("learner")
    alone.send_signal(signal.SIGTERM)
    assert alone.wait(timeout=30) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_in_a_turn_that_did_not_fail(learner, wait_for, tmp_path, number):
    fill(tmp_path, 6_000)
    alone = learner()

    def under_way():
        with Store.open(tmp_path / "openwheel.db") as store, store.read() as connection:
            query = "SELECT count(*) FROM leases WHERE holder <> ''"
            return connection.exec_driver_sql(query).scalar_one()

    wait_for(under_way)
    alone.send_signal(number)
    assert alone.wait(timeout=30) == 0
    with Store.open(tmp_path / "openwheel.db") as store:
        assert failures.notice(store, alone=True) == []


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        ("[loop]\nturns = 3\n", 2, "loop.turns must be true or false, was 3"),
        ('[store]\npath = "none.db"\n', 1, "none.db"),
        pytest.param(
            '[loop]\nencoder = "no/encoder"\nrungs = ["encoder"]\n',
            2,
            "no/encoder",
            marks=pytest.mark.evidence,
        ),
    ],
    ids=["setting", "store", "encoder"],
)
def test_what_it_cannot_work_with_is_said_and_ends_it(learner, tmp_path, settings, code, said):
    alone = learner()
    alone.kill()
    alone.wait()
    (tmp_path / "openwheel.toml").write_text(settings)
    alone = learner()
    _, told = alone.communicate(timeout=60)
    assert alone.returncode == code
    assert said in " ".join(told.split())
    assert "Traceback" not in told
