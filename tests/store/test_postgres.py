"""What a store in Postgres does beyond what all stores do."""

import datetime
import threading

import pytest

from openwheel.errors import StoreError
from openwheel.store import Exchange, Store, drift, leases
from openwheel.store.feedback import FeedbackStore
from openwheel.store.retention import delete_old, delete_oldest
from openwheel.store.schema import MIGRATIONS
from openwheel.wire import Answer
from postgres import put_back, sql

DAY = 86_400.0
BODY = b'{"messages":[{"role":"user","content":"Pump 3 leaks"}]}'


def exchange(name, **changes):
    values = {"id": name, "request": BODY, "answer": Answer("pumps"), "source": "log"}
    return Exchange(**{**values, **changes})


def test_ids_follow_the_order_of_commits_whoever_writes(postgres_url):
    seen, gaps, over = [], [], threading.Event()

    def write(number):
        with Store.open(postgres_url) as store:
            for batch in range(30):
                store.append([exchange(f"{number}-{batch}-{i}") for i in range(1 + batch % 7)])

    def read():
        with Store.open(postgres_url) as store:
            last = 0
            while True:
                ended = over.is_set()
                for seq, _ in store.exchanges(after=last):
                    if seq != last + 1:
                        gaps.append((last, seq))
                    last = seq
                    seen.append(seq)
                if ended:
                    return

    reader = threading.Thread(target=read)
    with Store.open(postgres_url) as store:
        reader.start()
        writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        over.set()
        reader.join()
        assert not gaps
        assert seen == list(range(1, store.count() + 1))


def test_a_request_is_kept_once_a_day_and_comes_back_with_each_exchange(postgres_url):
    with Store.open(postgres_url) as store:
        store.append([exchange(f"a{i}") for i in range(3)])
        store.append([exchange("b", request=b"other"), exchange("c")])
        assert sql(postgres_url, "SELECT count(*) FROM exchange_bodies") == [(2,)]
        requests = [found.request for _, found in store.exchanges()]
    assert requests == [BODY, BODY, BODY, b"other", BODY]


def test_a_request_that_is_to_be_asked_again_is_read_with_its_body(postgres_url):
    with Store.open(postgres_url) as store:
        store.append([exchange("a", source="teacher", unbiased=True)])
        store.assign([(1, "task", "[]", "")])
        with store.read() as transaction:
            found = drift.next_answer(
                transaction, "task", [1], until=1, first_later=1, choose=lambda seqs: seqs[0]
            )
    assert found.request == BODY


def test_a_day_goes_whole_with_its_requests_its_ids_and_the_feedback_on_it(postgres_url):
    now = datetime.datetime.now(datetime.UTC).timestamp()
    with Store.open(postgres_url) as store:
        store.append([exchange(f"old{i}", time=now - 3 * DAY) for i in range(3)])
        FeedbackStore(store).put(2, 0, correction="valves")
        put_back(postgres_url, 3)
    with Store.open(postgres_url) as store:
        store.append([exchange("new", time=now, request=b"new")])
        FeedbackStore(store).put(4, 0, correction="valves")
        assert delete_old(store, before=now - 4 * DAY) == 0
        assert delete_old(store, before=now - 2 * DAY) == 3
        assert [found.id for _, found in store.exchanges()] == ["new"]
        assert [kept.seq for kept in FeedbackStore(store).latest()] == [4]
        assert store.append([exchange("old0", time=now)]) == 1  # its id is free again
        assert store.last_seq() == 5
    assert sql(postgres_url, "SELECT count(*) FROM exchange_bodies") == [(2,)]


def test_an_exchange_of_long_ago_goes_though_it_was_stored_today(postgres_url):
    now = datetime.datetime.now(datetime.UTC).timestamp()
    with Store.open(postgres_url) as store:
        store.append([exchange("imported", time=now - 90 * DAY), exchange("timeless")])
        store.append([exchange("new", time=now)])
        assert delete_old(store, before=now - 30 * DAY) == 1
        assert delete_old(store, before=now - 30 * DAY) == 0
        assert [found.id for _, found in store.exchanges()] == ["timeless", "new"]


def test_the_oldest_days_go_until_the_rest_fits_and_today_stays(postgres_url):
    with Store.open(postgres_url) as store:
        store.append([exchange(f"old{i}") for i in range(200)])
        put_back(postgres_url, 1)
    with Store.open(postgres_url) as store:
        store.append([exchange("new")])
        assert delete_oldest(store, most_bytes=1) == 200
        assert store.count() == 1


def test_a_dropping_that_was_cut_off_is_completed(postgres_url):
    now = datetime.datetime.now(datetime.UTC).timestamp()
    with Store.open(postgres_url) as store:
        store.append([exchange("old", time=now - 3 * DAY)])
        put_back(postgres_url, 3)
    with Store.open(postgres_url) as store:
        store.append([exchange("new", time=now)])
        then = datetime.datetime.now(datetime.UTC).date() - datetime.timedelta(days=3)
        sql(postgres_url, f"ALTER TABLE exchanges DETACH PARTITION exchanges_{then:%Y%m%d}")
        assert delete_old(store, before=now - 2 * DAY) == 1
        assert [found.id for _, found in store.exchanges()] == ["new"]
    tables = sql(postgres_url, "SELECT count(*) FROM pg_class WHERE relname LIKE 'exchange%2___'")
    assert sql(postgres_url, "SELECT to_regclass(%s)", f"exchanges_{then:%Y%m%d}") == [(None,)]
    assert tables


def test_a_change_of_a_promotion_or_a_stop_wakes_who_waits(postgres_url):
    from openwheel.store import stops

    with Store.open(postgres_url) as waiting, Store.open(postgres_url) as store:
        waiting.wait(0.0)  # it listens from here on
        threading.Timer(0.2, lambda: _stop(store, stops)).start()
        waiting.wait(60.0)
        with waiting.read() as transaction:
            assert stops.read(transaction, limit=1)[0].stopped


def _stop(store, stops):
    with store.write() as transaction:
        stops.add(transaction, stopped=True, by="test")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("postgresql://openwheel:hush@127.0.0.1:1/x", r"cannot be opened"),
        ("postgresql://127.0.0.1:1", r"must name a database"),
        ("postgresql://me:hush@host:port/x", r"must be postgresql://USER@HOST:PORT/DATABASE"),
    ],
)
def test_a_place_that_is_none_says_so_and_shows_no_password(place, message):
    with pytest.raises(StoreError, match=message) as raised:
        Store.open(place)
    assert "hush" not in str(raised.value)


def test_a_database_that_is_missing_or_anothers_is_refused(postgres_url, postgres_server):
    with pytest.raises(StoreError, match=r"cannot be opened .*does not exist"):
        Store.open(postgres_url + "x")
    with pytest.raises(StoreError, match=r"There is no traffic store at postgresql://"):
        Store.open(postgres_url, create=False)
    sql(postgres_url, "CREATE TABLE tasks (id INTEGER)")
    with pytest.raises(StoreError, match=r"tables of another program"):
        Store.open(postgres_url)
    latin = postgres_server.database(TEMPLATE="template0", ENCODING="'LATIN1'")
    with pytest.raises(StoreError, match=r"encoding of .* must be UTF8, was LATIN1"):
        Store.open(latin)
    postgres_server.drop(latin)


def test_a_store_of_a_later_version_is_refused(postgres_url):
    Store.open(postgres_url).close()
    sql(postgres_url, "UPDATE openwheel_store SET schema = 99")
    with pytest.raises(StoreError, match=r"later version of Openwheel \(schema 99"):
        Store.open(postgres_url)


ADDED = {
    2: (("exchanges", "api"), ("exchanges", "key"), ("exchanges", "settings")),
    3: (("exchanges", "teacher"),),
    4: (("exchanges", "reply_id"), ("exchanges", "request_id")),
    5: (("exchanges", "fingerprint"),),
    6: (("exchanges", "student_guess"),),
    7: (("exchanges", "probabilities"), ("exchanges", "student_probabilities")),
    8: (("feedback", "verdict"),),
}
"""The columns that came with each version of the schema."""


def make_old(url, version):
    """Make a store one of an earlier version."""
    for since, columns in ADDED.items():
        for table, column in columns if since > version else ():
            sql(url, f"ALTER TABLE {table} DROP COLUMN {column}")
    for table in ("leases", "copies"):  # of later than all of these
        sql(url, f"DROP TABLE {table}")
    sql(url, "UPDATE openwheel_store SET schema = %s", version)


def test_all_versions_are_tried():
    assert set(ADDED) == set(MIGRATIONS)


@pytest.mark.parametrize("version", [1, 4, 7, 8])
def test_a_store_of_an_earlier_version_is_brought_up_to_date(postgres_url, version):
    with Store.open(postgres_url) as store:
        store.append([exchange(f"old{i}") for i in range(3)])
        put_back(postgres_url, 2)  # so that there are two days
    with Store.open(postgres_url) as store:
        store.append([exchange("last", time=5.0)])
        store.assign([(1, "t", '["one"]', "{}")])
        FeedbackStore(store).put(2, 0, correction="valves")
    make_old(postgres_url, version)
    with pytest.raises(StoreError, match=r"written by an earlier version of Openwheel"):
        Store.open(postgres_url, read_only=True)

    # All at once, as workers do.
    errors = []

    def come():
        try:
            Store.open(postgres_url).close()
        except StoreError as error:
            errors.append(error)

    threads = [threading.Thread(target=come) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors

    new = exchange("new", api="responses", teacher="gpu", reply_id="r", student_guess="valves")
    with Store.open(postgres_url) as store:
        assert store.append([new]) == 1
        found = [kept for _, kept in store.exchanges()]
        assert [kept.id for kept in found] == ["old0", "old1", "old2", "last", "new"]
        assert found[-1] == new
        assert {kept.api for kept in found[:-1]} == {"chat"}
        assert {kept.request for kept in found} == {BODY}
        assert [row.inputs for row in store.task_rows("t")] == ['["one"]']
        assert [kept.correction for kept in FeedbackStore(store).latest()] == ["valves"]
        with store.write() as transaction:
            assert leases.acquire(transaction, "a", "me", seconds=60.0) == 1
    latest = max(MIGRATIONS)
    assert sql(postgres_url, "SELECT schema FROM openwheel_store") == [(latest,)]
    assert Store.open(postgres_url, read_only=True).close() is None


def test_a_process_that_stands_still_in_a_write_does_not_hold_up_others(postgres_url, monkeypatch):
    from openwheel.store import postgres

    monkeypatch.setattr(postgres, "_IDLE_WRITER_S", 1)
    with Store.open(postgres_url) as frozen, Store.open(postgres_url) as store:

        def stand_still():
            with frozen.write() as transaction:
                with store.write():  # waits until the database has ended the other
                    pass
                transaction.exec_driver_sql("SELECT 1")

        with pytest.raises(StoreError, match=r"left idle|ended this connection|cannot be opened"):
            stand_still()
