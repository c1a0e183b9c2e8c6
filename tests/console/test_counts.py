"""What the console counts, and that it stays right as traffic and tasks come."""

import pytest

from console.conftest import NOW
from openwheel.console import counts
from openwheel.console.board import make_board
from openwheel.console.counts import Count, Counts
from openwheel.console.watch import Watch
from openwheel.loop.records import Turn
from openwheel.store import Exchange
from openwheel.tasks import Task
from openwheel.wire import Answer

PRICES = {"big": (2.0, 10.0)}  # dollars for a million tokens


@pytest.fixture
def counted(store):
    return Counts(store, PRICES)


def sums(counted, task=""):
    return counted.by_task(since=NOW - 1).get(task, Count())


def test_requests_audits_and_what_they_saved(counted, traffic, task):
    traffic("ssssssss" + ".x" + "dd")
    counted.look(most=100_000)
    found = sums(counted, task)
    # An audit in the background is no request of a client.
    assert (found.student, found.teacher, found.audits, found.requests) == (8, 2, 2, 10)
    assert found.answered_here == 0.8
    each = 100 * 2e-6 + 10 * 10e-6
    assert found.dollars == pytest.approx(4 * each)
    assert found.saved_dollars == pytest.approx((8 - 2) * each)
    assert found.saved_tokens == (8 - 2) * 110
    assert found.saved_seconds == pytest.approx(8 * (400 - 1) / 1000)
    assert sums(Counts(counted._store, {}), task).saved_dollars is None


def test_nothing_is_saved_where_nothing_is_known():
    assert Count().answered_here is None
    only_here = Count(student=5, student_ms=5.0, student_timed=5)
    assert (only_here.saved_dollars, only_here.saved_tokens, only_here.saved_seconds) == (None,) * 3


def test_a_look_reads_what_came_since_and_no_more(counted, traffic, task, monkeypatch, registry):
    newest = traffic("s" * 40)
    registry.add_turn(Turn(newest, ()), 0.1)
    counted.look(most=100_000)
    read = []
    by_hour = counts.traffic.by_hour
    monkeypatch.setattr(
        counts.traffic,
        "by_hour",
        lambda transaction, *, after, until: (
            read.append(until - after) or by_hour(transaction, after=after, until=until)
        ),
    )
    traffic("s" * 3)
    counted.look(most=100_000)
    assert sum(read) == 3
    assert sums(counted, task).student == 43


def test_a_large_store_is_counted_bit_by_bit(counted, traffic, task, registry):
    registry.add_turn(Turn(traffic("s" * 100), ()), 0.1)
    total = counted._store.last_seq()
    looks = 0
    while counted.behind or not looks:
        counted.look(most=300)
        looks += 1
        assert counted.behind == max(0, total - 300 * looks)
    assert sums(counted, task).student == 100


@pytest.mark.parametrize("turned", [True, False])
def test_exchanges_that_move_to_a_task_are_counted_there(
    counted, store, registry, turned, monkeypatch
):
    monkeypatch.setattr(counts, "_MOST_RECENT", 5)  # so that others are settled without a turn
    rows = [
        Exchange(id=f"r{i}", time=NOW + i, request=b"{}", answer=Answer("a"), source="teacher")
        for i in range(20)
    ]
    first = store.last_seq()
    store.append(rows)
    if turned:
        registry.add_turn(Turn(store.last_seq(), ()), 0.1)
    counted.look(most=100_000)
    assert sums(counted).teacher == 20
    registry.add_tasks([Task(id="new", name="new", explicit="new")])
    store.assign([(first + 1 + i, "new", "[]", "") for i in range(20)])
    counted.look(most=100_000)
    assert (sums(counted).teacher, sums(counted, "new").teacher) == (0, 20)


def test_a_turn_gives_later_exchanges_their_task(counted, store, registry, task, monkeypatch):
    monkeypatch.setattr(counts, "_MOST_RECENT", 5)
    first = store.last_seq()
    store.append(
        [
            Exchange(id=f"r{i}", time=NOW + i, request=b"{}", answer=Answer("a"), source="teacher")
            for i in range(20)
        ]
    )
    counted.look(most=100_000)
    store.assign([(first + 1 + i, task, "[]", "") for i in range(20)])
    registry.add_turn(Turn(store.last_seq(), ()), 0.1)
    counted.look(most=100_000)
    assert sums(counted, task).teacher == 20


def test_a_range_begins_with_its_hour(counted, traffic, task):
    traffic("s", time=NOW - 90_000)
    traffic("ss", time=NOW)
    counted.look(most=100_000)
    assert counted.by_task(since=NOW - 3600)[task].student == 2
    assert counted.by_task(since=NOW - 100_000)[task].student == 3
    assert [one.student for one in counted.by_hour(task, since=NOW - 100_000).values()] == [1, 2]


def test_a_board_is_made_anew_only_when_it_may(store, traffic):
    now = [0.0]
    watch = Watch(store, {}, clock=lambda: now[0])
    first = watch.board(7.0)
    now[0] = 10_000.0
    assert watch.board(7.0) is first  # nothing has changed
    traffic("s")
    again = watch.board(7.0)
    assert again is not first
    traffic("s")
    assert watch.board(7.0) is again  # too soon
    assert watch.board(7.0, fresh=True) is not again
    assert watch.board(1.0).days == 1.0


def test_a_board_costs_a_hundredth_of_a_processor(store, traffic, monkeypatch):
    now = [0.0]
    watch = Watch(store, {}, clock=lambda: now[0])
    dear = lambda *args, **kwargs: make_board(*args, **{**kwargs, "counting": 1.0})  # noqa: E731
    monkeypatch.setattr("openwheel.console.watch.make_board", dear)
    first = watch.board(7.0)
    traffic("s")
    now[0] = 99.0
    assert watch.board(7.0) is first
    now[0] = 110.0
    assert watch.board(7.0) is not first
