"""Copies of stores, from a file to Postgres and back."""

import random
import signal
import subprocess
import sys
import time

import pytest
import sqlalchemy as sa

from openwheel.errors import StoreError
from openwheel.store import (
    Exchange,
    Store,
    alerts,
    keys,
    leases,
    promotions,
    stops,
    students,
    tasks,
    turns,
)
from openwheel.store.copy import Copied, compare, copy_store
from openwheel.store.exchanges import delete_exchanges
from openwheel.store.feedback import FeedbackStore
from openwheel.store.schema import exchanges, metadata
from openwheel.wire import Answer, Usage
from postgres import sql

DAY = 86_400.0


def _days_ago(i):
    """The first hundred come from three years ago, the others from the last days."""
    return 900 - i if i < 100 else (400 - i) / 60


@pytest.fixture
def filled(tmp_path):
    """A file with rows in many tables, of many days, with gaps and odd characters."""
    rng = random.Random(5)
    now = time.time()
    with Store.open(tmp_path / "first.db") as store:
        rows = [
            Exchange(
                id=f"e{i}",
                time=0.0 if i % 50 == 0 else now - _days_ago(i) * DAY + rng.random(),
                request=f'{{"n":{i // 3}}}'.encode(),
                answer=Answer(f"Größe \0 \ufdd0 {i}", (), "stop"),
                source="teacher",
                confidence=rng.random() if i % 2 else None,
                usage=Usage(i, 2),
                reply_id=f"r{i}",
            )
            for i in range(400)
        ]
        store.append(rows)
        store.assign((seq, "b", '["x"]', '{"model":"m"}') for seq in range(1, 300, 2))
        with store.write() as transaction:
            transaction.execute(sa.delete(exchanges).where(exchanges.c.seq.in_([7, 400])))
            for name in ("b", "a", "c"):
                tasks.add(transaction, name, f"name {name}", Answer(name), form_reason="")
            tasks.count_attempt(transaction, "b")
            students.add(transaction, "s", "b", rung="linear", state="shadow", body=Answer("s"))
            promotions.add(transaction, "b", None, by="audit", reason="r")
            stops.add(transaction, stopped=True, by="me")
            stops.add(transaction, stopped=False, by="me")
            turns.add(transaction, 3, [], seconds=1.0)
            keys.add_spent(transaction, {("2026-12-01", 1): (5, 7)})
            alerts.add(transaction, alerts.Delivery("r", "k", "i", "t", 1.0, 1.0, "old", 0, ""))
        FeedbackStore(store).put(3, 0, correction="valves")
        yield store


def rows_of(store):
    with store.read() as transaction:
        found = {
            table.name: sorted(transaction.execute(sa.select(table)).all(), key=repr)
            for table in metadata.sorted_tables
            if table.name not in {"copies", "exchanges"}
        }
        return found | {"order": [row.task for row in tasks.read(transaction)]}


def test_to_postgres_and_back_all_is_the_same_and_numbers_go_on(filled, postgres_url, tmp_path):
    with Store.open(postgres_url) as middle:
        done = copy_store(filled, middle)
        assert done == Copied(exchanges=398, added=398, until=399, later=0, changed=())
        assert list(middle.exchanges()) == list(filled.exchanges())
        assert rows_of(middle) == rows_of(filled)
        assert compare(filled, middle) == 398
        with Store.open(tmp_path / "last.db") as last:
            copy_store(middle, last)
            assert list(last.exchanges()) == list(filled.exchanges())
            assert rows_of(last) == rows_of(filled)
            numbers = []
            for store in (filled, middle, last):
                # The newest exchange and the newest turn were deleted in none: no number again.
                store.append([Exchange(id="n", request=b"{}", answer=Answer(""), source="log")])
                with store.write() as transaction:
                    row = promotions.add(transaction, "b", None, by="person", reason="r")
                numbers.append((store.last_seq(), row))
            assert numbers == [(401, 2)] * 3


def test_a_copy_catches_up_until_somebody_else_writes_to_it(filled, postgres_url):
    later = [Exchange(id=f"l{i}", request=b"{}", answer=Answer(""), source="log") for i in range(5)]
    with Store.open(postgres_url) as copy:
        copy_store(filled, copy)
        filled.append(later)
        with filled.write() as transaction:
            tasks.set_judged(transaction, "b", 9)
        assert copy_store(filled, copy).added == 5
        assert rows_of(copy) == rows_of(filled)
        with copy.write() as transaction:
            tasks.set_judged(transaction, "b", 12)
        with pytest.raises(StoreError, match=r"holds data of its own, in the table"):
            copy_store(filled, copy)


def test_a_copy_follows_what_was_assigned_and_deleted_since(filled, postgres_url, tmp_path):
    FeedbackStore(filled).put(9, 0, correction="seals")
    with Store.open(postgres_url) as copy, Store.open(tmp_path / "copy.db") as file:
        for target in (copy, file):
            copy_store(filled, target)
        filled.assign((seq, "a", '["y"]', "") for seq in range(2, 300, 2))
        filled.unassign("b")
        with filled.write() as transaction:
            delete_exchanges(transaction, [9, 11, 12])
        for target in (copy, file):
            done = copy_store(filled, target)
            assert (done.exchanges, done.added) == (395, 0)
            assert list(target.exchanges()) == list(filled.exchanges())
            assert list(target.task_rows("a")) == list(filled.task_rows("a"))
            assert rows_of(target) == rows_of(filled)
        # The ids of the deleted exchanges are free in both.
        again = [Exchange(id=f"e{i}", request=b"{}", answer=Answer(""), source="log") for i in (8,)]
        assert [copy.append(again), file.append(again)] == [1, 1]


def test_what_comes_while_a_copy_is_made_is_in_it_or_told(filled, postgres_url):
    said = set()

    def write(step, *_):
        if step not in said:
            said.add(step)
            name = f"during {step}"
            filled.append([Exchange(id=name, request=b"{}", answer=Answer(""), source="log")])
            with filled.write() as transaction:
                stops.add(transaction, stopped=len(said) % 2 == 0, by=step)

    with Store.open(postgres_url) as copy:
        done = copy_store(filled, copy, progress=write)
        assert said == {"copying", "comparing", "copying tasks, students and the rest"}
        assert (done.later, done.changed) == (2, ("stops",))
        assert copy.count() == done.exchanges == filled.count() - 2
        done = copy_store(filled, copy)
        assert (done.added, done.later, done.changed) == (2, 0, ())
        assert rows_of(copy) == rows_of(filled)


def test_a_lease_that_was_held_is_free_in_a_copy(filled, postgres_url):
    with filled.write() as transaction:
        leases.acquire(transaction, "task b", "a learner that died", seconds=None)
    with Store.open(postgres_url) as copy:
        copy_store(filled, copy)
        with copy.write() as transaction:
            assert leases.acquire(transaction, "task b", "another", seconds=60.0) == 2


def test_a_copy_whose_connections_break_goes_on_and_leaves_the_source_as_it_was(
    filled, postgres_url, monkeypatch
):
    monkeypatch.setattr("openwheel.store.copy._BATCH", 50)
    before = rows_of(filled)
    with Store.open(postgres_url) as copy:
        restore = copy.database.restore
        for fatal in (2, 5, 2):
            calls = 0

            def breaking(names, rows, fatal=fatal):
                nonlocal calls
                calls += 1
                if calls == fatal:
                    sql(
                        postgres_url,
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE pid <> pg_backend_pid() AND datname = current_database()",
                    )
                restore(names, rows)

            monkeypatch.setattr(copy.database, "restore", breaking)
            with pytest.raises(StoreError, match=r"ended this connection|cannot be opened"):
                copy_store(filled, copy)
        monkeypatch.setattr(copy.database, "restore", restore)
        copy_store(filled, copy)
        assert list(copy.exchanges()) == list(filled.exchanges())
    assert rows_of(filled) == before


def test_exchanges_that_come_to_a_copy_meanwhile_are_not_mixed_with_it(filled, postgres_url):
    with Store.open(postgres_url) as copy, Store.open(postgres_url) as gateway:

        def write(*_):
            gateway.append([Exchange(id="x", request=b"{}", answer=Answer(""), source="log")])

        with pytest.raises(StoreError, match=r"had further exchanges while it was made a copy"):
            copy_store(filled, copy, progress=write)
        with pytest.raises(StoreError, match=r"holds exchanges that .*first\.db does not have"):
            copy_store(filled, copy)


def test_a_store_with_other_exchanges_is_no_place_for_a_copy(filled, postgres_url):
    with Store.open(postgres_url) as other:
        other.append([Exchange(id="x", request=b"{}", answer=Answer(""), source="log")])
        with pytest.raises(StoreError, match=r"holds exchanges that .*first\.db does not have"):
            copy_store(filled, other)
        assert other.count() == 1


@pytest.mark.parametrize("table", ["exchanges", "feedback", "tasks", "key_spending"])
def test_what_differs_is_named(filled, postgres_url, table):
    changes = {
        "exchanges": "UPDATE exchanges SET text = 'other' WHERE seq = 5",
        "feedback": "UPDATE feedback SET correction = 'other'",
        "tasks": "UPDATE tasks SET attempts = attempts + 1 WHERE id = 'a'",
        "key_spending": "DELETE FROM key_spending",
    }
    with Store.open(postgres_url) as copy:
        copy_store(filled, copy)
        with copy.write() as transaction:
            transaction.exec_driver_sql(changes[table])
        with pytest.raises(StoreError, match=rf"The table {table} of postgresql://"):
            compare(filled, copy)


COPY = """
import sys
from openwheel.store import Store
from openwheel.store.copy import copy_store
import openwheel.store.copy as module
module._BATCH = 7
with Store.open(sys.argv[1]) as source, Store.open(sys.argv[2]) as target:
    print("begun", flush=True)
    copy_store(source, target)
"""


def test_a_copy_that_was_killed_goes_on(filled, postgres_url):
    rng = random.Random(3)
    killed = 0
    for _ in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", COPY, str(filled), postgres_url], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.25))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        process.stdout.close()
    assert killed
    with Store.open(postgres_url) as copy:
        copy_store(filled, copy)
        assert list(copy.exchanges()) == list(filled.exchanges())
        assert rows_of(copy) == rows_of(filled)
