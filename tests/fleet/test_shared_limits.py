"""Gateways that share a database share limits, budgets and that there were keys."""

import time

import psycopg
import pytest

from forks import forks
from openwheel.access import Access, KeyStore, Limits, RefusedError
from openwheel.access.shared_counters import SharedCounters
from openwheel.store import Store
from openwheel.store.limits import Used

SECOND = 1_000_000_000


@pytest.fixture
def start():
    with forks() as start:
        yield start


@pytest.fixture
def gateways(postgres_url, tmp_path, monkeypatch):
    """Return what starts a gateway's worker, each as on a machine of its own."""
    opened = []

    def gateway(**options):
        number = len(opened)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"cache-{number}"))
        store = Store.open(postgres_url)
        # Machines start at different times, and so do their monotonic clocks.
        skew = (number + 1) * 10**15
        options = {"ticks": lambda: time.monotonic_ns() + skew, **options}
        access = Access(store, tmp_path / f"limits-{number}", **options)
        opened.append((access, store))
        return access

    yield gateway
    for access, store in opened:
        access.close()
        store.close()


def key_of(url, name="desk", **limits):
    with Store.open(url) as store:
        return KeyStore(store).create(name, **limits)[0]


def admitted(access, key, tries):
    """Return how many of so many requests are admitted."""
    number = 0
    for _ in range(tries):
        try:
            access.admit(key)
        except RefusedError:
            break
        number += 1
    return number


def wait_of(access, key):
    try:
        access.admit(key)
    except RefusedError as error:
        return error.retry_after
    return 0.0


def test_what_one_gateway_admits_others_do_not(postgres_url, gateways):
    key = key_of(postgres_url, requests_per_minute=60)
    one, other = gateways(), gateways()
    assert admitted(one, key, 40) == 40
    one.refresh()
    other.refresh()
    # A minute's 60, and what came back meanwhile: one a second.
    assert 20 <= admitted(other, key, 100) <= 25
    other.refresh()
    one.refresh()
    assert admitted(one, key, 100) <= 5
    late = gateways()  # a gateway that starts knows at once
    assert admitted(late, key, 100) <= 5


def test_what_gateways_admit_before_they_hear_of_each_other_is_a_debt(postgres_url, gateways):
    key = key_of(postgres_url, requests_per_minute=60)
    three = [gateways() for _ in range(3)]
    assert [admitted(one, key, 100) for one in three] == [60, 60, 60]  # the most there can be
    for _ in range(2):
        for one in three:
            one.refresh()
    # Two minutes' allowance was lent; none is admitted until it is paid back.
    for one in three:
        assert 110 < wait_of(one, key) < 125


def test_a_gateway_alone_admits_as_many_as_with_a_file(postgres_url, gateways):
    key = key_of(postgres_url, requests_per_minute=60)
    now = 10**15
    alone = gateways(ticks=lambda: now)
    for _ in range(3):
        assert admitted(alone, key, 20) == 20
        alone.refresh()
    assert wait_of(alone, key) == pytest.approx(1.0)


def test_tokens_are_shared_too(postgres_url, gateways):
    key = key_of(postgres_url, tokens_per_minute=600)
    one, other = gateways(), gateways()
    one.charge(key, 900, 0)
    one.refresh()
    other.refresh()
    assert 25 < wait_of(other, key) < 31


def test_what_could_not_be_told_is_told_later(tmp_path):
    limits = Limits(SharedCounters(tmp_path / "limits"), clock=lambda: 10**15, shared=True)
    limits.admit(7, requests=60, tokens=None)

    def away(used):
        limits.admit(7, requests=60, tokens=None)  # meanwhile
        raise OSError("away")

    with pytest.raises(OSError, match="away"):
        limits.share(away)
    told = []
    limits.share(lambda used: told.append(used) or {})
    limits.share(lambda used: told.append(used) or {})
    assert told == [{7: Used(0, 2 * SECOND, 0)}, {}]
    limits.close()


HAMMER = """
import sys, time
from openwheel.access import Access, KeyStore, RefusedError
from openwheel.store import Store

url, limits, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
store = Store.open(url)
access = Access(store, limits)
(key,) = KeyStore(store).by_hash().values()
print("ready", flush=True)
sys.stdin.readline()
ends, refreshed, admitted = time.monotonic() + seconds, 0.0, 0
while time.monotonic() < ends:
    if time.monotonic() - refreshed > 0.2:
        access.refresh()
        refreshed = time.monotonic()
    try:
        access.admit(key)
        access.charge(key, 3, 5)
        admitted += 1
    except RefusedError:
        time.sleep(0.001)
access.close()
store.close()
print(admitted, flush=True)
"""


def test_four_gateways_keep_within_their_bound_and_lose_no_spending(
    postgres_url, start, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    limit, gateways, seconds = 600, 4, 2.0
    key_of(postgres_url, requests_per_minute=limit, budget=1_000)
    first = start(HAMMER, postgres_url, tmp_path / "limits-first", 0.5)
    assert first.stdout.readline() == "ready\n"
    began = time.monotonic()
    first.stdin.write("go\n")
    total = int(first.rest())
    assert total >= limit
    # The key has used what there was. Without sharing each of the others would admit it again.
    others = [
        start(HAMMER, postgres_url, tmp_path / f"limits-{i}", seconds) for i in range(gateways - 1)
    ]
    for other in others:
        assert other.stdout.readline() == "ready\n"
    for other in others:
        other.stdin.write("go\n")
        other.stdin.flush()
    total += sum(int(other.rest()) for other in others)
    minutes = (time.monotonic() - began) / 60
    each_telling = (gateways - 1) * limit * 1.0 / 60  # a refresh takes less than a second
    assert total <= limit * (1 + minutes) + each_telling
    with psycopg.connect(postgres_url) as connection:
        spent = connection.execute("SELECT tokens, micro_dollars FROM key_spending").fetchall()
    assert spent == [(3 * total, 5 * total)]


def test_a_budget_spent_on_one_gateway_is_spent_on_all(postgres_url, gateways):
    key = key_of(postgres_url, budget=1)
    one, other = gateways(), gateways()
    one.charge(key, 1, 600_000)
    other.charge(key, 1, 600_000)
    for access in (one, other, one):
        access.refresh()
    for access in (one, other):
        with pytest.raises(RefusedError, match="has spent its budget"):
            access.admit(key)


def test_writing_what_was_spent_waits_for_no_turn(postgres_url, gateways):
    key = key_of(postgres_url)
    gateway = gateways()
    gateway.charge(key, 7, 7)
    with Store.open(postgres_url) as learner, learner.write():  # as a promotion does
        gateway.refresh()
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT tokens FROM key_spending").fetchone() == (7,)


WRONG_CLOCK = """
import sys, time
right = time.time
time.time = lambda: right() + 90 * 86_400
from openwheel.access import Access, KeyStore
from openwheel.store import Store

with Store.open(sys.argv[1]) as store:
    access = Access(store, sys.argv[2])
    (key,) = KeyStore(store).by_hash().values()
    access.charge(key, 7, 7)
    access.close()
    print(time.time() - right() > 86_400, flush=True)
"""


def test_months_and_days_are_those_of_the_database(postgres_url, start, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    key_of(postgres_url)
    assert start(WRONG_CLOCK, postgres_url, tmp_path / "limits").rest() == "True\n"
    with psycopg.connect(postgres_url) as connection:
        period, month = connection.execute(
            "SELECT period, to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-01') FROM key_spending"
        ).fetchone()
    assert period == month


def test_keys_that_were_deleted_leave_gateways_closed(postgres_url, gateways, caplog):
    assert not gateways().in_force
    key_of(postgres_url)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DELETE FROM api_keys")
    fresh = gateways()  # on a machine that has seen no key
    assert fresh.in_force
    assert "There were keys" in caplog.text
    assert "the table once_keyed" in caplog.text
    with pytest.raises(RefusedError):
        fresh.identify(None)


def test_a_gateway_that_saw_keys_stays_closed_on_a_database_made_anew(
    postgres_server, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    url = postgres_server.database()
    try:
        key_of(url)
        with Store.open(url) as store:
            Access(store, tmp_path / "limits").close()
        postgres_server.drop(url)
        with psycopg.connect(f"{url.rpartition('/')[0]}/postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {url.rpartition('/')[2]}")
        with Store.open(url) as store:
            again = Access(store, tmp_path / "other-limits")
            assert again.in_force
            again.close()
    finally:
        postgres_server.drop(url)
