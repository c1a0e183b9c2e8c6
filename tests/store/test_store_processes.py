"""The store between real processes: opened at once, written and read at once, killed."""

import os
import random
import tempfile
import time
from pathlib import Path

import pytest

from forks import forks
from openwheel.store import Store

MAKE = """
import sys
from openwheel.store import Exchange, Store
from openwheel.wire import Answer

def batch(name, number, size):
    return [
        Exchange(
            id=f"{name}-{number}-{i}",
            request=b'{"messages":[{"role":"user","content":"%d"}]}' % i,
            answer=Answer("x" * (i % 700)),
            source="teacher",
        )
        for i in range(size)
    ]

path, name = sys.argv[1:3]
"""

OPEN = (
    MAKE
    + """
print("ready", flush=True)
sys.stdin.readline()
with Store.open(path) as store:
    store.append(batch(name, 0, 10))
"""
)

APPEND = (
    MAKE
    + """
size, batches = int(sys.argv[3]), int(sys.argv[4])
with Store.open(path) as store:
    for number in range(batches):
        store.append(batch(name, number, size))
        print(number, flush=True)
"""
)


@pytest.fixture
def start():
    with forks() as start:
        yield start


def is_whole(store):
    """Return whether a file is; Postgres looks after its own."""
    if store.shared:
        return True
    with store.read() as connection:
        return connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"


@pytest.mark.parametrize("attempt", range(2))
def test_many_processes_may_make_the_same_store_at_once(start, place, attempt):
    openers = [start(OPEN, place, f"p{attempt}-{i}") for i in range(6)]
    for opener in openers:
        assert opener.stdout.readline() == "ready\n"
    for opener in openers:
        opener.stdin.write("go\n")
        opener.stdin.flush()
    for opener in openers:
        opener.rest()
        assert opener.returncode == 0
    with Store.open(place, create=False) as store:
        assert store.count() == 60


def test_a_gateway_appends_while_a_learner_reads_and_assigns(start, place):
    with Store.open(place) as store:
        gateways = [start(APPEND, place, name, 20, 100) for name in ("a", "b")]
        seen = []
        after = 0
        deadline = time.monotonic() + 60
        while len(seen) < 4_000 and time.monotonic() < deadline:
            new = list(store.exchanges(after=after))
            if new:
                after = new[-1][0]
                seen += [exchange.id for _, exchange in new]
                store.assign([(seq, "t", "[]", "") for seq, _ in new])
            store.sample_unassigned(10, seed=0)
        for gateway in gateways:
            gateway.rest()
            assert gateway.returncode == 0
        # Nothing was passed over, nothing came twice, and each gateway's order was kept.
        assert len(seen) == len(set(seen)) == 4_000
        for name in ("a", "b"):
            assert [i for i in seen if i.startswith(name)] == [
                f"{name}-{number}-{i}" for number in range(100) for i in range(20)
            ]
        assert store.task_counts() == {"t": 4_000}


def test_a_long_assignment_does_not_keep_a_gateway_waiting(start, place):
    with Store.open(place) as store:
        filler = start(APPEND, place, "fill", 5_000, 12)
        filler.rest()
        gateway = start(APPEND, place, "live", 5, 40)
        assert gateway.stdout.readline() == "0\n"
        for _ in range(3):
            store.assign((seq, "t", '["' + "x" * 100 + '"]', "") for seq in range(1, 60_001))
            if gateway.poll() is not None:
                break
        assert gateway.poll() == 0


def kill_writers(start, path, times, size, seed):
    """Kill a writer `times` times mid-append; return acknowledged batches after checking them."""
    rng = random.Random(seed)
    acknowledged = 0
    for attempt in range(times):
        writer = start(APPEND, path, attempt, size, 100_000)
        last = int(writer.stdout.readline())
        time.sleep(rng.uniform(0, 0.15))
        writer.kill()
        rest = writer.rest().split("\n")
        # The line that the kill cut off was not acknowledged.
        last = max([last, *map(int, filter(None, rest[:-1]))])
        with Store.open(path) as store:
            assert is_whole(store)
            found = {}
            for _, exchange in store.exchanges():
                name, number, _ = exchange.id.split("-")
                if name == str(attempt):
                    found[int(number)] = found.get(int(number), 0) + 1
        assert set(found) >= set(range(last + 1)), "an acknowledged batch is lost"
        assert len(found) <= last + 2
        assert set(found.values()) == {size}, "a batch is there by half"
        acknowledged += last + 1
    return acknowledged


@pytest.mark.parametrize("times", [2, pytest.param(30, marks=pytest.mark.evidence)])
@pytest.mark.parametrize("size", [1, 40, 2_000])
def test_a_killed_writer_loses_nothing_acknowledged(start, place, size, times):
    assert kill_writers(start, place, times, size, seed=size) >= times


def test_a_store_that_may_not_be_written_says_so(start):
    script = """
import os, sys
from openwheel.errors import StoreError
from openwheel.store import Exchange, Store
from openwheel.wire import Answer
if os.geteuid() == 0:
    os.setuid(65534)
try:
    with Store.open(sys.argv[1]) as store:
        store.append([Exchange(id="a", request=b"{}", answer=Answer("a"), source="log")])
except StoreError as error:
    print(error)
"""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.db"
        Store.open(path).close()
        path.chmod(0o444)
        os.chmod(folder, 0o555)
        output = start(script, path).rest()
        os.chmod(folder, 0o755)
    assert "x.db is read-only for this user" in output or "x.db cannot be opened" in output
