"""Processes that are killed at any moment; the short form is in `processes/test_workers`."""

import os
import random
import signal
import time

import pytest

from processes.conftest import load, teacher, up, wait_for  # noqa: F401 - fixtures

KILLS = 100


@pytest.mark.evidence
def test_no_acknowledged_exchange_is_lost_or_doubled(up, teacher, load, wait_for):  # noqa: F811
    gateway = up(
        "--teacher", teacher().url, "--workers", "4", "--capture", "strict", "--no-turns",
        "--log-level", "error",
    )  # fmt: skip
    chance = random.Random(20261130)
    with load(gateway, clients=8) as clients:
        for _ in range(KILLS):
            wait_for(lambda: len(gateway.children()) >= 2)
            clients.more(chance.randrange(1, 50))
            time.sleep(3 * chance.random())
            os.kill(chance.choice(gateway.children() + gateway.children("learner")), signal.SIGKILL)
        clients.more(100)
    assert gateway.stop() == 0
    stored = gateway.stored()
    assert set(stored.values()) == {1}
    assert not set(clients.answered) - set(stored)
