"""One process, a clock that the test moves."""

import os
import struct
import subprocess
import sys
import threading
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openwheel.access import Limits
from openwheel.access.shared_counters import SharedCounters
from openwheel.errors import StoreError

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
START = 5_000_000 * SECOND


@pytest.fixture
def limits(tmp_path, ticks):
    limits = Limits(SharedCounters(tmp_path / "limits"), clock=ticks)
    yield limits
    limits.close()


def admitted(limits, key=1, *, requests=None, tokens=None):
    left = limits.admit(key, requests=requests, tokens=tokens)
    return not any(part and part.retry_after for part in (left.requests, left.tokens))


def count(limits, n, key=1, **which):
    return sum(admitted(limits, key, **which) for _ in range(n))


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 60, 1_000, 7_919])
def test_a_minutes_requests_at_once_and_not_one_more(limits, ticks, limit):
    assert count(limits, limit + 5, requests=limit) == limit
    ticks.now += MINUTE // limit - 1
    assert not admitted(limits, requests=limit)
    ticks.now += 1
    assert count(limits, 5, requests=limit) == 1
    ticks.now += MINUTE
    assert count(limits, limit + 5, requests=limit) == limit


def test_what_is_left_and_for_how_long(limits, ticks):
    left = limits.admit(1, requests=60, tokens=None).requests
    assert (left.limit, left.remaining, left.reset, left.retry_after) == (60, 59, 1.0, 0.0)
    count(limits, 59, requests=60)
    left = limits.admit(1, requests=60, tokens=None).requests
    assert (left.limit, left.remaining, left.reset, left.retry_after) == (60, 0, 60.0, 1.0)
    ticks.now += SECOND // 4
    assert limits.admit(1, requests=60, tokens=None).requests.retry_after == 0.75


def test_waiting_as_told_is_enough(limits, ticks):
    for limit in (1, 7, 13, 999):
        count(limits, limit, key=limit, requests=limit)
        wait = limits.admit(limit, requests=limit, tokens=None).requests.retry_after
        ticks.now += round(wait * SECOND)
        assert admitted(limits, limit, requests=limit)


def test_keys_do_not_share_limits(limits):
    assert count(limits, 5, key=1, requests=2) == 2
    assert count(limits, 5, key=2, requests=3) == 3
    assert count(limits, 5, key=1_000_000, requests=4) == 4


def test_tokens_admit_until_there_is_a_debt_that_time_pays(limits, ticks):
    assert limits.admit(1, requests=None, tokens=600).tokens.remaining == 600
    limits.charge(1, 100, tokens=600)
    assert limits.admit(1, requests=None, tokens=600).tokens.remaining == 500
    limits.charge(1, 800, tokens=600)
    left = limits.admit(1, requests=None, tokens=600).tokens
    assert left.remaining == 0
    assert left.retry_after == pytest.approx(30.0)  # 300 owed, 10 a second
    ticks.now += 29 * SECOND
    assert not admitted(limits, tokens=600)
    ticks.now += SECOND + 1
    assert admitted(limits, tokens=600)


def test_one_enormous_request_blocks_for_an_hour_at_most(limits, ticks):
    limits.charge(1, 10**30, tokens=1)
    assert not admitted(limits, tokens=1)
    ticks.now += 60 * MINUTE
    assert admitted(limits, tokens=1)


def test_usage_that_cannot_be_gives_nothing_back(limits):
    limits.charge(1, 50, tokens=60)
    limits.charge(1, -1_000, tokens=60)
    assert limits.admit(1, requests=None, tokens=60).tokens.remaining == 10


def test_a_request_that_the_tokens_refuse_is_not_counted(limits, ticks):
    limits.charge(1, 1_200, tokens=600)
    assert count(limits, 20, requests=5, tokens=600) == 0
    ticks.now += MINUTE + 1
    assert count(limits, 20, requests=5, tokens=600) == 5


@settings(max_examples=100, deadline=None)
@given(
    limit=st.integers(1, 5_000),
    steps=st.lists(st.tuples(st.integers(0, 90 * SECOND), st.integers(1, 40)), max_size=30),
)
def test_never_more_than_the_burst_and_the_rate_allow(tmp_path_factory, limit, steps):
    now = START
    limits = Limits(SharedCounters(tmp_path_factory.mktemp("limits") / "x"), clock=lambda: now)
    level = Fraction(limit)  # an exact bucket, which fills by `limit` a minute
    for wait, tries in steps:
        now += wait
        level = min(level + Fraction(wait * limit, MINUTE), Fraction(limit))
        got = count(limits, tries, requests=limit)
        # An interval is cut to whole nanoseconds, so it may be a nanosecond ahead for each.
        slack = Fraction(limit * limit * len(steps), MINUTE) + Fraction(1, 1_000)
        assert got <= level + slack
        assert got == tries or got >= level - 1
        level -= got
    limits.close()


def test_state_outlives_the_process_that_wrote_it(tmp_path, ticks):
    for wanted in (3, 0):
        limits = Limits(SharedCounters(tmp_path / "limits"), clock=ticks)
        assert count(limits, 5, requests=3) == wanted
        limits.close()


@pytest.mark.parametrize("back", [1, 30, 3_600, 5_000_000])
def test_a_clock_that_goes_back_blocks_for_a_minute_at_most(limits, ticks, back):
    count(limits, 5, requests=5)
    ticks.now -= back * SECOND
    assert count(limits, 10, requests=5) == 0
    ticks.now += MINUTE
    assert count(limits, 10, requests=5) == 5


def test_a_clock_that_goes_back_blocks_tokens_for_an_hour_at_most(limits, ticks):
    limits.charge(1, 120, tokens=60)
    ticks.now -= 1_800 * SECOND
    assert not admitted(limits, tokens=60)
    ticks.now += 60 * MINUTE
    assert admitted(limits, tokens=60)


def test_a_clock_that_leaps_ahead_fills_the_bucket_once(limits, ticks):
    count(limits, 5, requests=5)
    ticks.now += 10**18
    assert count(limits, 10, requests=5) == 5


@pytest.mark.parametrize(
    "content", [b"", b"x", b"\xff" * 5_000, b"openwheel limits 0\n" + b"\0" * 100, b"\0" * 4_096]
)
def test_a_damaged_file_is_made_anew(tmp_path, ticks, content):
    path = tmp_path / "limits"
    path.write_bytes(content)
    limits = Limits(SharedCounters(path), clock=ticks)
    assert count(limits, 5, requests=3) == 3
    other = Limits(SharedCounters(path), clock=ticks)
    assert count(other, 5, requests=3) == 0
    limits.close()
    other.close()


def test_what_was_written_before_the_machine_started_counts_for_nothing(tmp_path, ticks):
    path = tmp_path / "limits"
    limits = Limits(SharedCounters(path), clock=ticks)
    assert count(limits, 5, requests=3) == 3
    limits.close()
    content = bytearray(path.read_bytes())
    line = content.index(b"\n") + 1
    content[line : line + 4] = b"0000"
    path.write_bytes(content)
    ticks.now = 10 * SECOND
    limits = Limits(SharedCounters(path), clock=ticks)
    assert count(limits, 5, requests=3) == 3
    limits.close()


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=16, max_size=16))
def test_a_damaged_slot_blocks_for_a_while_and_not_for_ever(tmp_path_factory, rubbish):
    path = tmp_path_factory.mktemp("limits") / "x"
    now = START
    limits = Limits(SharedCounters(path), clock=lambda: now)
    with path.open("r+b") as file:
        file.seek(64 + 16)
        file.write(rubbish)
    count(limits, 1, requests=3, tokens=60)
    now += 60 * MINUTE
    assert count(limits, 5, requests=3, tokens=60) == 3
    limits.close()


def test_a_file_truncated_in_use_costs_its_counts_and_nothing_else(tmp_path, ticks):
    path = tmp_path / "limits"
    limits = Limits(SharedCounters(path), clock=ticks)
    count(limits, 5, requests=3)
    os.truncate(path, 0)
    assert count(limits, 5, requests=3) == 3
    limits.check()
    assert path.read_bytes().startswith(b"openwheel limits 1\n")
    assert count(limits, 5, requests=3) <= 3
    other = Limits(SharedCounters(path), clock=ticks)
    assert count(limits, 2, key=2, requests=3) + count(other, 5, key=2, requests=3) == 3
    limits.close()
    other.close()


@pytest.mark.parametrize("replace", [False, True])
def test_a_file_removed_in_use_is_shared_again_after_a_look(tmp_path, ticks, replace):
    path = tmp_path / "limits"
    limits = Limits(SharedCounters(path), clock=ticks)
    path.unlink()
    if replace:
        path.write_bytes(b"something else")
    assert count(limits, 5, requests=3) == 3
    limits.check()
    other = Limits(SharedCounters(path), clock=ticks)
    assert count(limits, 2, key=2, requests=3) + count(other, 5, key=2, requests=3) == 3
    limits.close()
    other.close()


def test_a_file_that_cannot_be_made_is_a_store_error(tmp_path):
    with pytest.raises(StoreError, match=r"no/such/folder"):
        Limits(SharedCounters(tmp_path / "no/such/folder/limits"))
    with pytest.raises(StoreError, match="limits file"):
        Limits(SharedCounters(tmp_path))


FULL = """
import resource, signal, sys
from openwheel.access import Limits
from openwheel.access.shared_counters import SharedCounters
from openwheel.errors import StoreError

now = 10**15
limits = Limits(SharedCounters(sys.argv[1]), clock=lambda: now)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
taken = lambda n: sum(
    not limits.admit(1, requests=3, tokens=None).requests.retry_after for _ in range(n)
)
print(taken(5))
try:
    limits.check()
except StoreError as error:
    print("limits file" in str(error) and sys.argv[1] in str(error))
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
print(taken(5))
now += 60 * 10**9
print(taken(5))
limits.check()
"""


def test_a_file_that_cannot_be_written_leaves_each_worker_its_own_counts(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL, tmp_path / "limits"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["3", "True", "0", "3"]
    # Once it could be written again, others see what was counted meanwhile.
    assert struct.unpack_from("<q", (tmp_path / "limits").read_bytes(), 64 + 16)[0] > 10**15


def test_after_closing_it_no_other_file_is_written(tmp_path, ticks):
    limits = Limits(SharedCounters(tmp_path / "limits"), clock=ticks)
    limits.close()
    with (tmp_path / "other").open("w+b") as other:
        assert count(limits, 5, requests=3) == 3
        assert other.read() == b""


def test_threads_take_exactly_what_there_is(limits):
    taken = []

    def take():
        taken.append(count(limits, 300, requests=1_000))

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) == 1_000
