"""What turns may take of the machine, in processes of their own."""

import json
import os
import random
import string
import subprocess
import sys

import pytest

from made_up import tickets
from openwheel.loop.turn import failures, limits
from openwheel.machine import main_memory
from openwheel.settings import LoopSection, Settings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux")

TURNS = """
import json, sys
from pathlib import Path
from openwheel.loop.turn.limits import Limits, apply_limits
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.turn import turn
from openwheel.students import train
from openwheel.store import Store

train("linear", [(f"{i % 2} a{i}",) for i in range(80)], ["x", "y"] * 40, variables=(0,))
rows = Path("/proc/self/status").read_text().splitlines()
used = next(int(row.split()[1]) << 10 for row in rows if row.startswith("VmData"))
assert apply_limits(Limits(nice=0, threads=1, memory=used + (int(sys.argv[2]) << 20))) == []
with Store.open(sys.argv[1]) as store:
    for _ in range(2):
        for event in turn(store, LoopSettings(rungs=("linear",)), by_hand=False).events:
            print(json.dumps([event.task, event.kind, event.reason]), flush=True)
        print("turn", flush=True)
"""


def of_task(system, pairs):
    """Return exchanges of a task that its system prompt tells from others."""
    return [
        {
            "messages": [
                {"role": "system", "content": system},
                {"role": "user", "content": text},
                {"role": "assistant", "content": answer},
            ]
        }
        for text, answer in pairs
    ]


def big_and_small():
    """Return exchanges of a task that takes much memory, and of one that takes little."""
    rng = random.Random(1)

    def noise():
        return " ".join("".join(rng.choices(string.ascii_letters, k=9)) for _ in range(400))

    big = [(noise(), rng.choice("abc")) for _ in range(900)]
    small = [(row["input"], row["output"]) for row in tickets(800)]
    return of_task("Read this noise.", big) + of_task("Sort the ticket.", small)


def two_turns(store, *, megabytes):
    """Take two turns in a process with so much memory; return the events of each."""
    done = subprocess.run(
        [sys.executable, "-c", TURNS, str(store.path), str(megabytes)],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    first, second, _ = done.stdout.split("turn\n")
    return [[json.loads(line) for line in lines.splitlines()] for lines in (first, second)]


@pytest.mark.evidence
def test_a_task_that_needs_too_much_memory_says_so_and_the_other_goes_on(store, fill):
    fill(big_and_small())
    first, second = two_turns(store, megabytes=180)
    (trouble,) = {
        (task, "MB of memory that a turn may take; raise loop.turn_memory" in reason)
        for task, kind, reason in first
        if kind == "trouble"
    }
    assert trouble[1]
    (promoted,) = [task for task, kind, _ in first if kind == "promoted"]
    assert promoted != trouble[0]
    (failure,) = failures.read(store)
    assert failures.waits([failure], failure.noticed)[failure.task].seconds >= 60
    # It is not tried again at once.
    (waiting,) = [event for event in second if event[1] == "trouble"]
    assert waiting[0] == trouble[0]
    assert "It is tried again in" in waiting[2]


@pytest.mark.evidence
def test_a_turn_that_needs_too_much_memory_before_its_first_task_waits_as_a_whole(store, fill):
    fill(big_and_small())
    first, _ = two_turns(store, megabytes=60)
    ((task, kind, reason),) = first
    assert (task, kind) == ("all tasks", "trouble")
    assert "raise loop.turn_memory. It is tried again in 60 s" in reason
    assert [failure.task for failure in failures.read(store)] == [None, None]


def test_a_share_of_this_machine():
    settings = Settings(loop=LoopSection(turn_memory=0.25, turn_threads=3, turn_nice=4))
    found = limits.Limits.of(settings)
    assert (found.nice, found.threads) == (4, 3)
    assert found.memory == max(int(0.25 * main_memory().total), limits.LEAST_MEMORY)
    assert limits.Limits.of(Settings(loop=LoopSection(turn_memory=0))).memory == 0
    assert 1 <= limits.Limits.of(Settings()).threads <= max(1, os.cpu_count() // 2)


def test_what_a_process_starts_has_its_limits_too():
    program = (
        "import subprocess, sys\n"
        "from openwheel.loop.turn.limits import Limits, apply_limits\n"
        "assert apply_limits(Limits(nice=7, threads=2, memory=1 << 30)) == []\n"
        "subprocess.run([sys.executable, '-c', '''\n"
        "import os, resource\n"
        'print(os.nice(0), open("/proc/self/oom_score_adj").read().strip(),\n'
        '      resource.getrlimit(resource.RLIMIT_DATA)[0], os.environ["OMP_NUM_THREADS"])\n'
        "'''])\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True
    )
    # Nothing is nicer than 19, and whoever runs the tests may have been nice already.
    assert done.stdout.split() == [str(min(os.nice(0) + 7, 19)), "1000", str(1 << 30), "2"]
