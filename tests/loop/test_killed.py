"""A turn that is killed with -9 at any point leaves the last good state, and the next one goes on.

Processes are forked from one that has loaded all libraries, take a turn on a copy of a store, and
are killed: right before and right after each write to the store, and at random moments.
"""

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from made_up import tickets
from openwheel.gate import verify
from openwheel.loop.registry import Registry
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn import failures
from openwheel.loop.turn.turn import turn
from openwheel.store import Exchange, Store
from openwheel.wire import Answer

SETTINGS = LoopSettings(rungs=("linear",))

# Each line of its input is a store, where to put a copy of it, and a point: the copy is made, a
# process killed at the point, and a line is written: whether it was reached.
FORKING = """
import os, random, shutil, signal, sys, time
from pathlib import Path

from sqlalchemy import event

from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.turn import turn
from openwheel.students import train
from openwheel.store import Store
from openwheel.store.sqlite import write_options

train("linear", [(f"{i % 2} a{i}",) for i in range(80)], ["x", "y"] * 40, variables=(0,))
WRITES = next(iter(write_options()))


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def child(database, moment, number):
    with Store.open(database) as store:
        writes, written = 0, False

        def commit(connection):
            nonlocal writes, written
            if connection.get_execution_options().get(WRITES):
                writes += 1
                written = writes == number
                if written and moment == "before":
                    kill()

        def checkin(*_):
            if written and moment == "after":
                kill()

        event.listen(store.engine, "commit", commit)
        event.listen(store.engine, "checkin", checkin)
        turn(store, LoopSettings(rungs=("linear",)))


for line in sys.stdin:
    pristine, database, moment, number = line.split()
    shutil.copytree(Path(pristine).parent, Path(database).parent)
    pid = os.fork()
    if not pid:
        child(database, moment, int(number) if moment != "random" else 0)
        os._exit(0)
    if moment == "random":
        time.sleep(float(number))
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    print(os.WIFSIGNALED(status) and os.WTERMSIG(status), os.waitstatus_to_exitcode(status))
    sys.stdout.flush()
"""


@pytest.fixture(params=["first", pytest.param("demoted", marks=pytest.mark.evidence)])
def pristine(request, tmp_path, store, registry, fill) -> Path:
    """Return a store in a folder of its own: before its first turn, or with an alarm to come."""
    fill(tickets(400))
    if request.param == "demoted":
        turn(store, SETTINGS)
        (certificate,) = registry.certificates()
        body = json.dumps({"messages": [{"role": "user", "content": "invoice tax 1"}]})
        store.append(
            [
                Exchange(
                    id=f"audit-{i}",
                    request=body.encode(),
                    answer=Answer("account"),
                    source="teacher",
                    unbiased=True,
                    audit_probability=0.05,
                    student=certificate.student,
                    student_answer="billing",
                )
                for i in range(30)
            ]
        )
        fill(tickets(200, seed=1))
    store.close()
    folder = tmp_path / "pristine"
    folder.mkdir()
    for path in tmp_path.glob("openwheel.db*"):
        path.rename(folder / path.name)
    return folder / "openwheel.db"


class Killer:
    """Forks turns and kills them."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", FORKING],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )

    def kill(self, pristine: Path, moment: str, number: float) -> tuple[bool, Path]:
        """Return whether a turn was killed there, and the store it left; else it ended well."""
        database = pristine.parents[1] / f"{moment}-{number}" / pristine.name
        self.process.stdin.write(f"{pristine} {database} {moment} {number}\n")
        self.process.stdin.flush()
        by, code = self.process.stdout.readline().split()
        assert by == str(int(signal.SIGKILL)) or code == "0"
        return by == str(int(signal.SIGKILL)), database


@pytest.fixture(scope="module")
def killer():
    made = Killer()
    yield made
    made.process.stdin.close()
    made.process.stdout.close()
    assert made.process.wait(20) == 0


def is_well(registry: Registry) -> None:
    """Assert that whoever is promoted has a certificate, and is who was certified."""
    for promotion in registry.promotions().values():
        if promotion.certificate is not None:
            assert verify(promotion.certificate).holds
            assert promotion.certificate in registry.certificates()
            registry.load(registry.candidate(promotion.certificate.student))  # by its hashes
    for candidate, _, _ in registry.candidates():
        registry.load(candidate)


def attempts(registry: Registry) -> int:
    return sum(record.attempts for record in registry.tasks())


def goes_on(database: Path, *, before: int) -> None:
    """Assert that the store is well, and that the same turn then ends as it should."""
    with Store.open(database, create=False) as store:
        registry = Registry(store)
        is_well(registry)
        left = attempts(registry)
        assert left >= max(before, len(registry.candidates()))
        done = turn(store, SETTINGS)
        is_well(registry)
        assert attempts(registry) >= left
        assert failures.notice(store, alone=True) == []
        assert registry.turns()
        # An attempt that was counted stays so; the next student then waits for evidence.
        assert registry.certificates() or registry.candidates(state="shadow"), done
    shutil.rmtree(database.parent)


@pytest.mark.parametrize("every", [16, pytest.param(1, marks=pytest.mark.evidence)])
def test_a_turn_killed_before_or_after_any_write(killer, pristine, every):
    """Any write, or every sixteenth: before the first, after the ninth, and so on."""
    with Store.open(pristine, create=False) as store:
        before = attempts(Registry(store))
    store.engine.dispose()
    for moment, first in (("before", 1), ("after", 1 + every // 2)):
        for number in itertools.count(first, every):
            killed, database = killer.kill(pristine, moment, number)
            if not killed:
                break
            goes_on(database, before=before)
        assert number > 8, f"a turn of {number - 1} writes does less than it should"


@pytest.mark.parametrize("pristine", ["first"], indirect=True)
@pytest.mark.parametrize("moments", [2, pytest.param(20, marks=pytest.mark.evidence)])
def test_a_turn_killed_at_random_moments(killer, pristine, moments):
    rng = random.Random(3)
    killed = 0
    for _ in range(moments):
        was, database = killer.kill(pristine, "random", round(rng.uniform(0.0, 0.8), 6))
        killed += was
        goes_on(database, before=0)
    assert killed > moments / 3
