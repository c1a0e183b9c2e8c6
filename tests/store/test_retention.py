"""Keeping the store within its limits."""

import contextlib
import logging
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from forks import forks
from made_up import tickets, write_log
from openwheel.store import Exchange, Store, retention
from openwheel.store.retention import delete_old, delete_oldest, used_bytes
from openwheel.wire import Answer

DAY = 86_400.0
HOUR = 3_600.0
NOW = 1_800_000_000.0


class Clocks:
    """Two clocks: one that is set, and one that nobody sets."""

    def __init__(self):
        self.time, self.ticks = NOW, 500.0

    def run(self, seconds, every=60.0):
        """Let both run, and yield every minute."""
        for _ in range(int(seconds / every)):
            self.time += every
            self.ticks += every
            yield

    def retention(self, store, **limits):
        return retention(store, **limits, clock=lambda: self.time, ticks=lambda: self.ticks)


def settled(store, **limits):
    """Look as one does whose clock has run evenly for an hour."""
    clocks = Clocks()
    clocks.time -= HOUR
    clocks.ticks -= HOUR
    look = clocks.retention(store, **limits)
    for _ in clocks.run(HOUR):
        pass
    look()
    return look


def exchange(identity, at, size=100):
    return Exchange(
        id=str(identity), time=at, request=b"x" * size, answer=Answer("yes"), source="teacher"
    )


def ids(store):
    return [one.id for _, one in store.exchanges()]


@pytest.fixture
def store(both):
    return both


@pytest.fixture
def file(tmp_path):
    """Return a store in a file: one in Postgres lets whole days go, as `test_postgres` has it."""
    with Store.open(tmp_path / "x.db") as opened:
        yield opened


def test_what_is_too_old_goes_and_what_has_no_time_stays(file):
    file.append(
        [
            exchange("late in a log that was imported early", NOW - 1),
            exchange("old", NOW - 31 * DAY),
            exchange("timeless", 0.0),
            exchange("just too old", NOW - 30 * DAY - 1),
            exchange("just young enough", NOW - 30 * DAY + 1),
            exchange("old, but imported late", NOW - 300 * DAY),
        ]
    )
    settled(file, days=30, most_bytes=0)
    assert ids(file) == [
        "late in a log that was imported early",
        "timeless",
        "just young enough",
    ]


def test_more_than_a_batch_goes_whatever_lies_between(store):
    store.append([exchange(i, 0.0 if i % 3 == 0 else 1.0 + i) for i in range(1_500)])
    assert delete_old(store, before=NOW) == 1_000
    assert ids(store) == [str(i) for i in range(0, 1_500, 3)]
    assert delete_old(store, before=NOW) == 0


def test_the_oldest_go_until_the_rest_fits(file):
    file.append([exchange(i, NOW - i, size=3_000) for i in range(2_000)])
    before = used_bytes(file)
    most = before // 2
    retention(file, days=0, most_bytes=most)()
    left = ids(file)
    assert left == [str(i) for i in range(2_000 - len(left), 2_000)]
    assert used_bytes(file) <= most
    # No more than it takes, to a batch.
    assert used_bytes(file) > most - 250 * 4_096
    # What is free is used again: the file does not grow.
    size = file.path.stat().st_size
    file.append([exchange(f"new {i}", NOW, size=3_000) for i in range(500)])
    with file.read() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    assert pages * 4_096 <= max(size, before)


def test_both_limits_hold_together(file):
    file.append([exchange(f"old {i}", 1.0, size=10) for i in range(300)])
    file.append([exchange(f"timeless {i}", 0.0, size=4_000) for i in range(500)])
    file.append([exchange(f"new {i}", NOW, size=4_000) for i in range(500)])
    most = used_bytes(file) * 2 // 3
    settled(file, days=1, most_bytes=most)
    left = ids(file)
    assert not [one for one in left if one.startswith("old")]
    assert 0 < len([one for one in left if one.startswith("timeless")]) < 500
    assert len([one for one in left if one.startswith("new")]) == 500
    assert used_bytes(file) <= most


def test_without_limits_nothing_is_deleted(store):
    store.append([exchange(i, 1.0) for i in range(10)])
    settled(store, days=0, most_bytes=0)
    assert store.count() == 10


def test_it_looks_at_once_and_then_once_a_minute(store):
    store.append([exchange("first", 1.0)])
    look = settled(store, days=1, most_bytes=0)
    assert store.count() == 0
    store.append([exchange("second", 1.0)])
    look()
    assert store.count() == 1


def test_a_clock_that_is_wrong_for_a_while_deletes_nothing(store, caplog):
    """As that of a machine that starts before it knows the time, or one that somebody set."""
    clocks = Clocks()
    look = clocks.retention(store, days=30, most_bytes=0)
    store.append([exchange("of today", NOW), exchange("old", NOW - 31 * DAY)])
    look()
    for _ in clocks.run(HOUR / 2):
        look()
    assert store.count() == 2
    clocks.time += 3_650 * DAY
    for _ in clocks.run(HOUR - 120):
        look()
    assert "set by +315360000 s" in caplog.text
    clocks.time -= 3_650 * DAY
    for _ in clocks.run(HOUR - 60):
        look()
    assert ids(store) == ["of today", "old"]
    for _ in clocks.run(120):
        look()
    assert ids(store) == ["of today"]
    assert caplog.text.count("The clock was set") == 2


def test_a_clock_that_gains_is_followed(store, caplog):
    """A second a minute is more than any clock of a machine is wrong by, and no step."""
    clocks = Clocks()
    look = clocks.retention(store, days=30, most_bytes=0)
    store.append([exchange("old", NOW - 31 * DAY)])
    for _ in clocks.run(2 * HOUR):
        clocks.time += 1
        look()
    assert store.count() == 0
    assert not caplog.text


def test_used_bytes_falls_when_something_is_deleted_though_the_file_does_not(file):
    file.append([exchange(i, 1.0, size=8_000) for i in range(100)])
    full = used_bytes(file)
    assert full > 800_000
    assert delete_oldest(file, most_bytes=1) == 100
    assert used_bytes(file) < full - 800_000


def test_a_store_that_cannot_be_written_is_said_and_stops_nothing(tmp_path, caplog):
    with (
        Store.open(tmp_path / "x.db") as other,
        Store.open(tmp_path / "x.db", busy_seconds=0.1) as store,
    ):
        store.append([exchange("old", 1.0)])
        with other.write(), caplog.at_level(logging.ERROR):
            settled(store, days=1, most_bytes=0)
        assert "Old exchanges could not be deleted" in caplog.text
        assert store.count() == 1


WRITE = """
import sys
from openwheel.store import Exchange, Store
from openwheel.wire import Answer

with Store.open(sys.argv[1]) as store:
    print("ready", flush=True)
    seen, number = [], 0
    while not seen or seen[-1]:
        one = Exchange(id=f"w{number}", request=b"{}", answer=Answer("yes"), source="teacher")
        store.append([one])
        number += 1
        seen.append(store.count() - number)
    print(len(set(seen)))
"""


def test_a_writer_in_another_process_gets_its_turns_meanwhile(file):
    file.append([exchange(i, 1.0, size=500) for i in range(6_000)])
    with forks() as start:
        writer = start(WRITE, file.path)
        assert writer.stdout.readline() == "ready\n"
        assert delete_old(file, before=NOW) == 6_000
        # How many left it has seen between two writes of its own: with each of the thirty batches
        # a number of its own, were it always in time; with one large batch two.
        assert int(writer.stdout.readline()) >= 10


SETTINGS = """
[capture]
keep_days = 30
max_store = 4000000
"""


def test_the_settings_hold_in_a_gateway_that_runs(tmp_path):
    """The learner's process sees to it, also where it is not to learn."""
    (tmp_path / "openwheel.toml").write_text(SETTINGS)
    rows = [{**row, "model": "m"} for row in tickets(5)]
    log = write_log(tmp_path / "log.jsonl", rows)
    now = time.time()
    command = [sys.executable, "-m", "openwheel", "up", "--port", "0", "--no-turns"]
    with Store.open(tmp_path / "openwheel.db") as store:
        store.append([exchange("timeless", 0.0, size=10)])
        store.append([exchange(f"old {i}", now - 31 * DAY, size=10) for i in range(300)])
        store.append([exchange(f"young {i}", now - 29 * DAY, size=3_500) for i in range(500)])
        store.append([exchange(f"large {i}", now, size=20_000) for i in range(300)])
        assert used_bytes(store) > 4_000_000
        with (
            (tmp_path / "errors").open("w") as errors,
            subprocess.Popen(
                [*command, "--teacher", f"replay:{log}"],
                cwd=tmp_path,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            ) as up,
        ):
            try:
                assert re.search(r"http://\S+", up.stdout.readline())
                deadline = time.monotonic() + 30
                while used_bytes(store) > 4_000_000 and time.monotonic() < deadline:
                    time.sleep(0.05)
            finally:
                up.send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    up.wait(timeout=30)
        assert up.returncode == 0, (tmp_path / "errors").read_text()
        assert used_bytes(store) <= 4_000_000
        left = ids(store)
    # By age first, so that of the young as many stay as fit; by order of arrival then.
    assert not [one for one in left if one.startswith("old")]
    assert left
    assert left[-1] == "large 299"
    assert "timeless" not in left
