import random
import sqlite3
import threading
from datetime import UTC, datetime

import pytest

from openwheel.access import KeyStore, Ledger, Spending
from openwheel.errors import StoreError
from openwheel.store import Store

SPEND = """
import sys
from openwheel.access import KeyStore, Ledger
from openwheel.store import Store

with Store.open(sys.argv[1]) as store:
    (key,) = KeyStore(store).list()
    ledger = Ledger(store, clock=lambda: 1_800_014_400.0)
    print("ready", flush=True)
    sys.stdin.readline()
    for i in range(300):
        ledger.spend(key, 2, 7)
        if i % 10 == 0:
            ledger.flush()
    ledger.flush()
"""


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.fixture
def store(both):
    return both


@pytest.fixture
def monthly(store):
    return KeyStore(store).create("monthly", budget=1)[0]


@pytest.fixture
def daily(store):
    return KeyStore(store).create("daily", budget=1, budget_period="day")[0]


@pytest.fixture
def ledger(store, wall):
    return Ledger(store, clock=wall)


def stored(store):
    with store.read() as connection:
        rows = connection.exec_driver_sql(
            "SELECT key, period, tokens, micro_dollars FROM key_spending ORDER BY key, period"
        )
        return [tuple(row) for row in rows]


def test_what_is_spent_counts_at_once_and_is_stored_by_a_flush(ledger, monthly, daily, store):
    ledger.spend(monthly, 10, 500)
    ledger.spend(monthly, 1, 1)
    ledger.spend(daily, 3, 4)
    assert ledger.spent(monthly) == Spending(11, 501)
    assert stored(store) == []
    for _ in range(3):
        ledger.flush()
        assert ledger.spent(monthly) == Spending(11, 501)
        assert ledger.spent(daily) == Spending(3, 4)
    assert stored(store) == [
        (monthly.id, "2027-01-01", 11, 501),
        (daily.id, "2027-01-15", 3, 4),
    ]


def test_what_others_spent_is_known_after_a_flush(ledger, monthly, store, wall):
    other = Ledger(store, clock=wall)
    other.spend(monthly, 1, 100)
    ledger.spend(monthly, 1, 10)
    other.flush()
    assert ledger.spent(monthly) == Spending(1, 10)
    ledger.flush()
    assert ledger.spent(monthly) == Spending(2, 110)
    assert Ledger(store, clock=wall).spent(monthly) == Spending()
    ledger.spend(monthly, 1, 1)
    assert ledger.spent(monthly) == Spending(3, 111)


@pytest.mark.parametrize(
    ("before", "after", "day", "month"),
    [
        ("2027-01-15 23:59:59", "2027-01-16 00:00:00", False, True),
        ("2027-01-31 23:59:59", "2027-02-01 00:00:00", False, False),
        ("2027-12-31 23:59:59", "2028-01-01 00:00:00", False, False),
        ("2028-02-29 00:00:00", "2028-02-29 23:59:59", True, True),
        ("2028-02-28 23:59:59", "2028-02-29 00:00:00", False, True),
    ],
)
def test_periods_end_at_midnight_utc(ledger, monthly, daily, wall, before, after, day, month):
    for flushed in (True, False):
        wall.now = at(before)
        start = (ledger.spent(daily).tokens, ledger.spent(monthly).tokens)
        ledger.spend(daily, 1, 0)
        ledger.spend(monthly, 1, 0)
        assert (ledger.spent(daily).tokens, ledger.spent(monthly).tokens) == (
            start[0] + 1,
            start[1] + 1,
        )
        if flushed:
            ledger.flush()
        wall.now = at(after)
        assert bool(ledger.spent(daily).tokens) is day
        assert bool(ledger.spent(monthly).tokens) is month


def test_what_was_spent_before_midnight_is_stored_where_it_belongs(ledger, daily, store, wall):
    wall.now = at("2027-01-31 23:59:59")
    ledger.spend(daily, 5, 6)
    wall.now += 1
    ledger.spend(daily, 1, 2)
    ledger.flush()
    assert stored(store) == [(daily.id, "2027-01-31", 5, 6), (daily.id, "2027-02-01", 1, 2)]
    assert ledger.spent(daily) == Spending(1, 2)


def test_the_day_on_which_the_next_period_begins(ledger, wall):
    wall.now = at("2027-12-31 12:00:00")
    assert ledger.next_period("day") == "2028-01-01"
    assert ledger.next_period("month") == "2028-01-01"
    wall.now = at("2028-01-31 12:00:00")
    assert ledger.next_period("month") == "2028-02-01"


def test_a_store_that_is_locked_loses_nothing(tmp_path, wall):
    with Store.open(tmp_path / "x.db", busy_seconds=0.05) as store:
        key, _ = KeyStore(store).create("a")
        ledger = Ledger(store, clock=wall)
        ledger.spend(key, 1, 10)
        ledger.flush()
        blocker = sqlite3.connect(store.path)
        for _ in range(3):
            blocker.execute("BEGIN IMMEDIATE")
            ledger.spend(key, 1, 10)
            with pytest.raises(StoreError, match="locked"):
                ledger.flush()
            blocker.rollback()
        assert ledger.spent(key) == Spending(4, 40)
        blocker.close()
        ledger.flush()
        ledger.flush()
        assert ledger.spent(key) == Spending(4, 40)
        assert [row[2:] for row in stored(store)] == [(4, 40)]


BREAK = {
    False: (
        "CREATE TRIGGER broken BEFORE INSERT ON key_spending "
        "WHEN new.key = {key} BEGIN SELECT RAISE(ABORT, 'the disk hiccups'); END",
    ),
    True: (
        "CREATE FUNCTION hiccup() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN RAISE ''the disk hiccups''; END'",
        "CREATE TRIGGER broken BEFORE INSERT ON key_spending "
        "FOR EACH ROW WHEN (new.key = {key}) EXECUTE FUNCTION hiccup()",
    ),
}
"""What has the spending of a key refused, in a file and in Postgres."""


def test_a_transaction_that_fails_half_way_leaves_nothing_and_loses_nothing(
    ledger, monthly, daily, store
):
    with store.write() as connection:
        for statement in BREAK[store.shared]:
            connection.exec_driver_sql(statement.format(key=daily.id))
    ledger.spend(monthly, 1, 1)
    ledger.spend(daily, 2, 2)
    for _ in range(2):
        with pytest.raises(StoreError, match="hiccups"):
            ledger.flush()
    assert stored(store) == []
    with store.write() as connection:
        on = " ON key_spending" if store.shared else ""
        connection.exec_driver_sql(f"DROP TRIGGER broken{on}")
    ledger.flush()
    assert [row[2:] for row in stored(store)] == [(1, 1), (2, 2)]
    assert ledger.spent(daily) == Spending(2, 2)


def test_usage_that_cannot_be_neither_earns_nor_breaks_anything(ledger, monthly, daily, store):
    ledger.spend(monthly, -5, -5)
    ledger.spend(daily, 10**40, 10**40)
    ledger.spend(monthly, 1, 1)
    ledger.flush()
    assert ledger.spent(monthly) == Spending(1, 1)
    assert ledger.spent(daily).micro_dollars >= 10**12
    assert len(stored(store)) == 2


def test_threads_spend_while_another_flushes(ledger, monthly, store):
    done = threading.Event()
    seen = []

    def flush():
        while not done.is_set():
            ledger.flush()

    def spend():
        for _ in range(2_000):
            ledger.spend(monthly, 1, 3)

    def watch():
        while not done.is_set():
            seen.append(ledger.spent(monthly).tokens)

    side = [threading.Thread(target=flush), threading.Thread(target=watch)]
    spenders = [threading.Thread(target=spend) for _ in range(3)]
    for thread in (*side, *spenders):
        thread.start()
    for thread in spenders:
        thread.join()
    done.set()
    for thread in side:
        thread.join()
    ledger.flush()
    assert ledger.spent(monthly) == Spending(6_000, 18_000)
    assert stored(store)[0][2:] == (6_000, 18_000)
    # What is known to be spent never shrinks while a flush moves it to the store.
    assert seen == sorted(seen)


def test_processes_that_spend_at_once_add_up(start, place):
    with Store.open(place) as store:
        KeyStore(store).create("a")
        processes = [start(SPEND, place) for _ in range(3)]
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            assert process.wait() == 0
        assert [row[2:] for row in stored(store)] == [(1_800, 6_300)]


def test_the_sum_is_exact_whatever_fails_in_between(tmp_path, wall):
    rng = random.Random(5)
    spent = 0
    with Store.open(tmp_path / "x.db", busy_seconds=0.0) as store:
        key, _ = KeyStore(store).create("a")
        ledger = Ledger(store, clock=wall)
        blocker = sqlite3.connect(store.path, isolation_level=None)
        for _ in range(300):
            action = rng.choice(["spend", "spend", "flush", "lock", "free"])
            if action == "spend":
                amount = rng.randrange(1_000)
                spent += amount
                ledger.spend(key, amount, amount)
            elif action == "flush":
                if blocker.in_transaction:
                    ledger.spend(key, 0, 0)  # something to write
                    with pytest.raises(StoreError):
                        ledger.flush()
                else:
                    ledger.flush()
            elif action == "lock" and not blocker.in_transaction:
                blocker.execute("BEGIN IMMEDIATE")
            elif action == "free" and blocker.in_transaction:
                blocker.execute("ROLLBACK")
            assert ledger.spent(key) == Spending(spent, spent)
        blocker.close()
        ledger.flush()
        assert [row[2:] for row in stored(store)] == [(spent, spent)]
