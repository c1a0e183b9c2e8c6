"""Limits between real processes: exact together, and free when one is killed."""

import fcntl
import signal

import pytest

from openwheel.access import Limits
from openwheel.access.shared_counters import SharedCounters

TAKE = """
import sys
from openwheel.access import Limits
from openwheel.access.shared_counters import SharedCounters

path, limit, tries = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
limits = Limits(SharedCounters(path), clock=lambda: 10**15)
taken = 0
for _ in range(tries):
    left = limits.admit(7, requests=limit, tokens=None).requests
    taken += not left.retry_after
print(taken, flush=True)
"""

CHARGE = """
import sys
from openwheel.access import Limits
from openwheel.access.shared_counters import SharedCounters

limits = Limits(SharedCounters(sys.argv[1]), clock=lambda: 10**15)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(2_000):
    limits.charge(7, 3, tokens=1_000_000)
"""

HOLD = """
import sys, time
from pathlib import Path
from openwheel.access.shared_counters import SharedCounters

slots = SharedCounters(Path(sys.argv[1]))
slots.take(7)
print("held", flush=True)
time.sleep(600)
"""


def go(processes):
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()


@pytest.mark.parametrize("limit", [1, 97, 2_000])
def test_processes_that_hit_a_limit_at_once_get_exactly_what_there_is(start, tmp_path, limit):
    processes = [start(TAKE, tmp_path / "limits", limit, 1_500) for _ in range(4)]
    go(processes)
    taken = [int(process.stdout.readline()) for process in processes]
    assert sum(taken) == limit


def test_what_processes_charge_at_once_adds_up(start, tmp_path):
    processes = [start(CHARGE, tmp_path / "limits") for _ in range(4)]
    go(processes)
    for process in processes:
        assert process.wait() == 0
    limits = Limits(SharedCounters(tmp_path / "limits"), clock=lambda: 10**15)
    assert limits.admit(7, requests=None, tokens=1_000_000).tokens.remaining == 1_000_000 - 24_000
    limits.close()


def test_killing_a_process_that_holds_a_limit_frees_it(start, tmp_path):
    path = tmp_path / "limits"
    holder = start(HOLD, path)
    assert holder.stdout.readline() == "held\n"
    with path.open("r+b") as file, pytest.raises(BlockingIOError):
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    waiting = start(TAKE, path, 3, 5)
    go([waiting])
    holder.send_signal(signal.SIGKILL)
    assert waiting.stdout.readline() == "3\n"


def test_a_process_that_holds_one_key_holds_up_no_other(start, tmp_path):
    path = tmp_path / "limits"
    holder = start(HOLD, path)
    assert holder.stdout.readline() == "held\n"
    limits = Limits(SharedCounters(path))
    assert limits.admit(8, requests=5, tokens=None).requests.remaining == 4
    limits.close()
    assert holder.poll() is None
