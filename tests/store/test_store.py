import contextlib
import os
import random
import re
import sqlite3
import threading
from collections import Counter

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openwheel.errors import StoreError
from openwheel.store import Exchange, Store, turns
from openwheel.store.exchanges import delete_exchanges
from openwheel.store.feedback import FeedbackStore
from openwheel.wire import Answer, ToolCall, Usage

BODY = b'{"messages":[{"role":"user","content":"Pump 3 leaks"}]}'


def exchange(name, **changes):
    values = {"id": name, "request": BODY, "answer": Answer("pumps"), "source": "log"}
    return Exchange(**{**values, **changes})


def many(n, start=0):
    return [exchange(f"e{i}", time=1.6e9 + i) for i in range(start, start + n)]


@pytest.fixture
def store(both):
    return both


@pytest.fixture
def file(tmp_path):
    """Return a store in a file, for what is SQLite's own."""
    with Store.open(tmp_path / "openwheel.db") as store:
        yield store


def test_what_is_stored_comes_back_as_it_was(store):
    full = Exchange(
        id="a",
        time=1.5,
        request=BODY,
        answer=Answer("", (ToolCall("f", '{"x": 1}'), ToolCall("g", "")), "tool_calls"),
        source="teacher",
        model="m",
        task="t",
        latency_ms=2.5,
        usage=Usage(3, 4),
        unbiased=False,
        audit_probability=0.25,
        student="s",
        student_answer="",
        confidence=0.75,
    )
    plain = exchange("b", answer=Answer("Größe\n\0 end"))
    assert store.append([full, plain]) == 2
    assert list(store.exchanges()) == [(1, full), (2, plain)]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.tuples(texts, st.binary(max_size=50), st.floats(allow_nan=False)), max_size=20))
def test_any_text_bytes_and_number_come_back(store, values):
    after = store.last_seq()
    given_ = [
        exchange(f"{after}-{i}", answer=Answer(text), student_answer=text, request=body, time=time)
        for i, (text, body, time) in enumerate(values)
    ]
    assert store.append(given_) == len(given_)
    assert [found for _, found in store.exchanges(after=after)] == given_


def test_an_id_is_stored_once_and_stays_as_it_was(store):
    assert store.append(many(3)) == 3
    assert store.append([exchange("e1", answer=Answer("other")), *many(2, start=3)]) == 2
    assert store.append([exchange("x"), exchange("x")]) == 1
    assert store.append([]) == 0
    assert store.count() == 6
    assert [found.answer.text for _, found in store.exchanges()] == ["pumps"] * 6


@pytest.mark.parametrize(
    "bad",
    [
        exchange("bad", answer=Answer("\ud800")),
        exchange("bad", usage=Usage(2**64, 0)),
        exchange("bad", time=float("nan")),
    ],
)
def test_a_batch_is_kept_whole_or_not_at_all(store, bad):
    with pytest.raises(StoreError, match=re.escape(str(store))):
        store.append([*many(3), bad])
    assert store.count() == 0
    assert store.append(many(3)) == 3


def test_an_empty_store(store):
    assert store.count() == 0
    assert store.last_seq() == 0
    assert list(store.exchanges()) == []
    assert store.sample_unassigned(5, 0) == []
    assert store.task_counts() == {}
    assert store.unassign("t") == 0


@pytest.mark.parametrize("batch", [1, 3, 10, 100])
def test_pages(store, batch):
    store.append(many(10))
    store.assign((seq, "even", "[]", "") for seq in range(2, 11, 2))

    def seqs(**which):
        return [seq for seq, _ in store.exchanges(batch=batch, **which)]

    assert seqs() == list(range(1, 11))
    assert seqs(after=3, until=7) == [4, 5, 6, 7]
    assert seqs(task_id="even") == [2, 4, 6, 8, 10]
    assert seqs(task_id="even", after=4) == [6, 8, 10]
    assert seqs(unassigned=True) == [1, 3, 5, 7, 9]
    assert seqs(task_id="none") == []
    assert [row.seq for row in store.task_rows("even", until=8, batch=batch)] == [2, 4, 6, 8]


def test_a_reading_ends_where_the_store_ended_when_it_began(store):
    store.append(many(4))
    reading = store.exchanges(batch=2)
    next(reading)
    store.append(many(4, start=4))
    assert len(list(reading)) == 3


def test_a_slow_reader_holds_up_neither_writers_nor_checkpoints(file):
    file.append(many(10))
    reading = file.exchanges(batch=2)
    next(reading)
    file.append(many(10, start=10))
    with sqlite3.connect(file.path) as connection:
        blocked, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    connection.close()
    assert blocked == 0
    reading.close()


def test_task_rows_hold_what_training_needs(store):
    calls = (ToolCall("f", "{}"),)
    store.append(
        [
            exchange("a", time=2.0, confidence=0.5, student="s", student_answer="x", teacher="t"),
            exchange("b", answer=Answer("", calls, "tool_calls"), unbiased=False),
        ]
    )
    rows = [(1, "t", '["one"]', "{}"), (2, "t", '["two"]', ""), (99, "t", "[]", "")]
    assert store.assign(rows) == 2
    first, second = store.task_rows("t")
    about = (1, 2.0, '["one"]', "{}", "pumps", "", "stop", "log", True, 1.0)
    assert first == (*about, "s", "x", "t", "", "", None)
    assert second.tool_calls == '[{"name":"f","arguments":"{}"}]'
    assert second.unbiased is False


def test_counts_and_unassigning(store):
    store.append(many(12_000))
    store.assign((seq, "a" if seq % 2 else "b", "[]", "") for seq in range(1, 11_001))
    assert store.task_counts() == {"a": 5_500, "b": 5_500, None: 1_000}
    assert store.unassign("a") == 5_500
    assert store.task_counts() == {"b": 5_500, None: 6_500}


def test_a_sample_is_uniform_repeatable_and_of_unassigned_rows(store):
    store.append(many(200))
    store.assign((seq, "t", "[]", "") for seq in range(1, 101))
    drawn = Counter()
    for seed in range(300):
        sample = [seq for seq, _ in store.sample_unassigned(20, seed)]
        assert sample == sorted(set(sample))
        assert len(sample) == 20
        drawn.update(sample)
    assert set(drawn) == set(range(101, 201))
    # 300 draws at 1/5: mean 60, deviation 6.9.
    assert min(drawn.values()) > 60 - 5 * 6.9
    assert max(drawn.values()) < 60 + 5 * 6.9
    assert store.sample_unassigned(20, 7) == store.sample_unassigned(20, 7)
    assert len(store.sample_unassigned(1_000, 7)) == 100


def test_threads_may_append_at_once(store):
    def append(thread):
        for i in range(20):
            store.append([exchange(f"{thread}-{i}-{j}") for j in range(5)])

    threads = [threading.Thread(target=append, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.count() == 8 * 20 * 5
    # Each batch is one transaction, so its rows are neighbours.
    batches = [found.id.rsplit("-", 1)[0] for _, found in store.exchanges()]
    assert all(len(set(batches[i : i + 5])) == 1 for i in range(0, len(batches), 5))


def write_and_fail(transaction):
    turns.add(transaction, 2, (), seconds=0.0)
    transaction.exec_driver_sql("INSERT INTO nowhere VALUES (1)")


def test_a_transaction_is_kept_whole_or_not_at_all(store):
    with store.write() as transaction:
        turns.add(transaction, 1, (), seconds=0.0)
    with (
        pytest.raises(StoreError, match=r"no such table|does not exist"),
        store.write() as transaction,
    ):
        write_and_fail(transaction)
    with store.read() as transaction:
        assert turns.read(transaction, tuple[str, ...]) == [(1, ())]


def test_reopening_finds_everything(place):
    with Store.open(place) as store:
        store.append(many(5))
    with Store.open(str(place), create=False) as store:
        assert store.count() == 5
        store.append(many(1, start=5))
        assert store.last_seq() == 6


def test_a_number_is_never_given_to_another_exchange(place):
    with Store.open(place) as store:
        store.append(many(5))
        with store.write() as transaction:
            delete_exchanges(transaction, [2, 5])
    with Store.open(place) as store:
        assert store.append(many(5)) == 2
        assert [found.id for _, found in store.exchanges(after=5)] == ["e1", "e4"]
        assert [found.id for _, found in store.exchanges(until=5)] == ["e0", "e2", "e3"]


def test_a_store_that_is_only_read_refuses_writes(place):
    with Store.open(place) as store:
        store.append(many(2))
    with Store.open(place, read_only=True) as store:
        assert store.count() == 2
        with pytest.raises(StoreError, match="read-only"):
            store.append(many(4))
        with pytest.raises(StoreError, match="read-only"), store.write() as transaction:
            turns.add(transaction, 1, (), seconds=0.0)
        assert store.count() == 2


def test_the_file_promises_what_the_docs_say(file):
    with file.read() as connection:
        for pragma, value in [
            ("journal_mode", "wal"),
            ("synchronous", 2),
            ("foreign_keys", 1),
            ("busy_timeout", 30_000),
        ]:
            assert connection.exec_driver_sql(f"PRAGMA {pragma}").scalar_one() == value


def plan(store, query):
    with store.read() as connection:
        return " ".join(
            str(row) for row in connection.exec_driver_sql("EXPLAIN QUERY PLAN " + query)
        )


@pytest.mark.parametrize("which", ["task_id = 't'", "task_id IS NULL"])
def test_a_tasks_rows_are_found_by_index_and_need_no_sorting(file, which):
    found = plan(file, f"SELECT * FROM exchanges WHERE {which} AND seq > 5 ORDER BY seq LIMIT 9")
    assert "exchanges_by_task" in found
    assert "TEMP B-TREE" not in found


def write_text(path):
    path.write_text("text,label\nhello,world\n" * 100)


def write_foreign(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE orders (id)")
    connection.close()


def write_later(path):
    Store.open(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()


def write_damaged(path):
    with Store.open(path) as store:
        store.append(many(2_000))
    data = bytearray(path.read_bytes())
    data[4096:] = random.Random(0).randbytes(len(data) - 4096)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (write_text, "is not a SQLite database"),
        (write_foreign, "of another program"),
        (write_later, r"later version of Openwheel \(schema 99"),
        (lambda path: path.mkdir(), "is a folder"),
    ],
)
def test_what_is_no_store_is_refused_and_left_alone(tmp_path, make, sentence):
    path = tmp_path / "x.db"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(StoreError, match=sentence):
        Store.open(path)
    assert before is None or path.read_bytes() == before


def test_a_damaged_store_says_so(tmp_path):
    path = tmp_path / "x.db"
    write_damaged(path)
    with pytest.raises(StoreError, match="is damaged"), Store.open(path) as store:
        list(store.exchanges())


def test_a_missing_store_is_made_only_if_asked(tmp_path):
    with pytest.raises(StoreError, match="There is no traffic store at"):
        Store.open(tmp_path / "x.db", create=False)
    with pytest.raises(StoreError, match="there is no folder"):
        Store.open(tmp_path / "none" / "x.db")
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_is_never_released_is_an_error(tmp_path):
    with Store.open(tmp_path / "x.db", busy_seconds=0.2) as store:
        other = sqlite3.connect(store.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="is locked"):
            store.append(many(1))
        assert store.count() == 0
        other.execute("ROLLBACK")
        other.close()
        assert store.append(many(1)) == 1


def fill(store, size):
    """Append until it fails; return how many were stored and the error."""
    kept = 0
    for _ in range(10_000):
        try:
            kept += store.append(many(size, start=kept))
        except StoreError as error:
            return kept, str(error)
    raise AssertionError("it never fills up")


def test_a_full_disk_loses_nothing_and_ends_when_there_is_room(tmp_path):
    room = tmp_path / "small"
    room.mkdir()
    if os.system(f"mount -t tmpfs -o size=2m tmpfs {room} 2>/dev/null") != 0:
        pytest.skip("mounting a small file system needs root")
    try:
        ballast = room / "ballast"
        ballast.write_bytes(bytes(2**20))
        with Store.open(room / "x.db") as store:
            kept, error = fill(store, 500)
            assert "the disk is full" in error or "the disk reports an error" in error
            assert store.count() == kept > 0
            ballast.unlink()
            assert store.append(many(500, start=kept)) == 500
            assert store.count() == kept + 500
            with store.read() as connection:
                assert connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"
    finally:
        os.system(f"umount {room}")


def test_a_full_file_loses_nothing_and_ends_when_there_is_room(file):
    store = file
    limit = 100

    @sa.event.listens_for(store.engine, "begin")
    def cap(connection):
        connection.exec_driver_sql(f"PRAGMA max_page_count = {limit}")

    kept, error = fill(store, 100)
    assert "the disk is full; nothing of this write was kept" in error
    assert store.count() == kept > 0
    limit = 10_000
    assert store.append(many(100, start=kept)) == 100


IDS = ("reply_id", "request_id")


@pytest.mark.parametrize(
    ("version", "added_since"),
    [
        (1, ("api", "key", "settings", "teacher", *IDS, "fingerprint", "student_guess")),
        (2, ("teacher", *IDS, "fingerprint", "student_guess")),
        (3, (*IDS, "fingerprint", "student_guess")),
        (4, ("fingerprint", "student_guess")),
        (5, ("student_guess",)),
        (6, ()),
        (7, ()),
    ],
)
def test_a_store_of_an_earlier_version_is_brought_up_to_date(tmp_path, version, added_since):
    path = tmp_path / "x.db"
    with Store.open(path) as store:
        store.append(many(3))
        store.assign([(1, "t", '["one"]', "{}")])
    connection = sqlite3.connect(path)
    probabilities = ("probabilities", "student_probabilities") if version < 7 else ()
    connection.execute("ALTER TABLE feedback DROP COLUMN verdict")
    for column in (*added_since, *probabilities):
        connection.execute(f"ALTER TABLE exchanges DROP COLUMN {column}")
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()

    with Store.open(path) as store:
        assert [e.id for _, e in store.exchanges()] == [e.id for e in many(3)]
        assert {e.api for _, e in store.exchanges()} == {"chat"}
        (row,) = store.task_rows("t")
        assert row.inputs == '["one"]'
        assert row.settings == ("" if version == 1 else "{}")
        store.append(
            [
                exchange(
                    "new",
                    api="responses",
                    key="app",
                    teacher="gpu",
                    reply_id="r",
                    fingerprint="fp_1",
                    student_guess="billing",
                    answer=Answer("other", probabilities=(("other", 0.7), ("billing", 0.3))),
                    student_probabilities=(("billing", 1.0),),
                )
            ]
        )
        (new,) = (e for _, e in store.exchanges(after=3))
        assert (new.api, new.key, new.teacher) == ("responses", "app", "gpu")
        assert (new.reply_id, new.request_id) == ("r", "")
        assert {e.fingerprint for _, e in store.exchanges(after=3)} == {"fp_1"}
        guesses = [e.student_guess for _, e in store.exchanges()]
        assert guesses == [None, None, None, "billing"]
        given = [e.answer.probabilities for _, e in store.exchanges()]
        assert given == [(), (), (), (("other", 0.7), ("billing", 0.3))]
        assert new.student_probabilities == (("billing", 1.0),)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (8,)
    connection.close()


def test_answers_are_indexed_by_their_ids_from_the_first_feedback_on(tmp_path):
    path = tmp_path / "openwheel.db"

    def plan() -> str:
        looked = "EXPLAIN QUERY PLAN SELECT 1 FROM exchanges WHERE reply_id = 'r'"
        with contextlib.closing(sqlite3.connect(path)) as connection:
            return connection.execute(looked).fetchone()[3]

    with Store.open(path) as store:
        store.append([exchange("one", reply_id="r", request_id="q")])
        feedback = FeedbackStore(store)
        assert "exchanges_by_reply" not in plan()
        assert [found.seq for found in feedback.find("r")] == [1]
        assert [found.seq for found in feedback.find("q")] == [1]
        assert "exchanges_by_reply" in plan()
