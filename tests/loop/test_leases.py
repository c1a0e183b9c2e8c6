"""Leases that learners share: who has one, when it is lost, and what is then refused.

On a file here, since nothing of it is of one database; with processes in `tests/fleet`.
"""

import threading
import time

import pytest

from made_up import tickets
from openwheel.errors import StoreError
from openwheel.loop.leases import (
    FINDING,
    RETENTION,
    FileLeases,
    Found,
    LeaseLostError,
    OtherLearnerError,
    SharedLeases,
    claim_unfinished,
    latest_found,
    of_task,
    settled,
)
from openwheel.loop.leases.shared import RENEWALS
from openwheel.loop.offline import learn as offline
from openwheel.loop.registry import Registry
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn import failures
from openwheel.loop.turn.turn import turn
from openwheel.store import leases, turns
from openwheel.tasks import Task

SETTINGS = LoopSettings(rungs=("linear",))

LONG = 3_600.0


@pytest.fixture
def mine(store):
    return SharedLeases(store, seconds=LONG, holder="me")


@pytest.fixture
def yours(store):
    return SharedLeases(store, seconds=LONG, holder="you")


def end(store):
    """Let all leases have ended, as if that much time had passed for the database alone."""
    with store.write() as transaction:
        transaction.exec_driver_sql("UPDATE leases SET until = 1")


def leave_held(store, name):
    """Leave a lease behind as one leaves it that is killed."""
    with store.write() as transaction:
        assert leases.acquire(transaction, name, "me", seconds=LONG)


def test_one_has_it_at_a_time_and_each_task_has_its_own(mine, yours):
    with mine.held(of_task("a")) as lease:
        assert lease is not None
        with yours.held(of_task("a")) as other:
            assert other is None
        with yours.held(of_task("b")) as other:
            assert other is not None
    with yours.held(of_task("a")) as lease:
        assert lease is not None


def test_one_that_waits_has_it_once_it_is_given_back(mine, yours):
    given_back = threading.Event()

    def wait():
        with yours.held(FINDING, patience=60) as lease:
            assert given_back.is_set()
            found.append(lease)

    found = []
    thread = threading.Thread(target=wait)
    with mine.held(FINDING):
        thread.start()
        thread.join(0.2)
        given_back.set()
    thread.join()
    assert found[0] is not None


def note(store, text):
    with store.write() as transaction:
        turns.add_failure(transaction, "x", text)


def noted(store):
    return [one.reason for one in failures.read(store) if one.task == "x"]


def test_what_is_written_under_a_lost_lease_is_refused_whole(store, mine, yours):
    with mine.held(of_task("a")) as lease:
        note(lease.store, "before")
        end(store)
        note(lease.store, "meanwhile")  # nobody has taken it
        with yours.held(of_task("a")) as other:
            assert other is not None
        with pytest.raises(LeaseLostError, match="lease of task a was lost"):
            note(lease.store, "after")
        lease.done = Found(7, 7)
    assert noted(store) == ["before", "meanwhile"]
    assert settled(store, Found(7, 7)) == set()


def test_assigning_exchanges_is_refused_too(store, mine, yours):
    with mine.held(FINDING) as lease:
        end(store)
        with yours.held(FINDING), pytest.raises(LeaseLostError):
            lease.store.assign([(1, "a", "[]", "")])


def test_a_lease_is_renewed_for_as_long_as_it_is_held(store):
    with SharedLeases(store, seconds=1.0).held(of_task("a")):
        time.sleep(1.5)
        assert failures.notice(store, alone=False) == []


def test_a_learner_that_cannot_renew_gives_up_before_the_lease_ends(store, monkeypatch):
    """By its own clock: the store would say that it still has the lease."""
    assert RENEWALS >= 3  # two may fail
    monkeypatch.setattr("openwheel.loop.leases.shared.RENEWALS", 1 / LONG)
    with SharedLeases(store, seconds=1.0).held(of_task("a")) as lease:
        with store.write() as transaction:
            transaction.exec_driver_sql("UPDATE leases SET until = 1e12")
        note(lease.store, "before")
        time.sleep(1.0)
        with pytest.raises(LeaseLostError):
            note(lease.store, "after")
    assert noted(store) == ["before"]


def test_one_that_died_at_a_task_is_noted_by_whoever_comes_next(store, mine, yours):
    for name in (of_task("a"), FINDING, RETENTION):
        leave_held(store, name)
    end(store)
    with yours.held(of_task("a")):
        assert [one.task for one in failures.read(store)] == ["a"]
    failed = failures.notice(store, alone=False)
    assert [one.task for one in failed] == ["a", None]
    assert all("froze or was cut off" in one.reason for one in failed)
    assert failures.waits(failed, failed[0].noticed)["a"].seconds == failures.FIRST_WAIT_S


def test_one_that_is_stopped_did_not_die_and_others_keep_theirs(store, mine, yours):
    with pytest.raises(KeyboardInterrupt), mine.held(of_task("a")):
        raise KeyboardInterrupt
    leave_held(store, of_task("b"))
    with yours.held(of_task("c")):
        mine.release_all()
        with mine.held(of_task("c")) as lease:
            assert lease is None
    end(store)
    assert failures.notice(store, alone=False) == []


def test_what_a_stopped_one_left_unfinished_is_for_one_other(store, mine, yours):
    assert not claim_unfinished(store)
    with pytest.raises(KeyboardInterrupt), mine.held(of_task("a")):
        raise KeyboardInterrupt
    assert claim_unfinished(store)
    assert not claim_unfinished(store)
    leave_held(store, of_task("a"))
    assert not claim_unfinished(store)
    mine.release_all()
    with yours.held(of_task("a")):  # whoever has taken it need not be told
        pass
    assert not claim_unfinished(store)
    leave_held(store, FINDING)
    mine.release_all()
    assert not claim_unfinished(store)  # the next turn that is due finds tasks


def test_one_whose_part_ends_by_an_error_counts_as_dead(store, mine):
    with pytest.raises(StoreError), mine.held(of_task("a")):
        raise StoreError("the disk is full")
    assert failures.notice(store, alone=False) == []
    end(store)
    assert [one.task for one in failures.notice(store, alone=False)] == ["a"]


def test_what_was_done_tells_which_turn(store, mine):
    with mine.held(FINDING) as lease:
        assert latest_found(store) == Found()
        lease.done = Found(lease.token, 500)
    found = latest_found(store)
    assert found == Found(1, 500)
    with mine.held(of_task("a")) as lease:
        assert lease.before == Found()
        lease.done = found
    with mine.held(of_task("a")) as lease:
        assert lease.before == found
        assert of_task("a") in settled(store, Found(2, 900))  # held
    assert settled(store, found) == {FINDING, of_task("a")}
    assert settled(store, Found(2, 900)) == set()


def test_on_a_file_one_process_has_all_leases_or_none(store):
    mine, yours = FileLeases(store), FileLeases(store)
    with mine.learning():
        with mine.held(FINDING) as lease:
            assert lease is not None
        with yours.held(of_task("a")) as lease:
            assert lease is None
        with pytest.raises(OtherLearnerError), yours.learning():
            pass
    with yours.held(RETENTION) as lease:
        assert lease is not None
        with pytest.raises(OtherLearnerError), mine.learning():
            pass


def test_who_learns_by_hand_leaves_others_their_tasks(store, fill, mine, yours, monkeypatch):
    monkeypatch.setattr(offline, "PATIENCE_S", 0.0)
    fill(tickets(300))
    turn(store, SETTINGS, leases=mine)
    (record,) = Registry(store).tasks()
    before = Registry(store).candidates()
    with yours.held(of_task(record.task.id)):
        found = offline.learn(store, SETTINGS, source="made up", leases=mine)
    assert [task.reason for task in found.tasks] == [
        "Not learned: another learner is at this task."
    ]
    assert Registry(store).candidates() == before
    with yours.held(FINDING), pytest.raises(OtherLearnerError, match="is finding tasks"):
        offline.learn(store, SETTINGS, source="made up", leases=mine)


def test_a_task_that_another_learner_is_at_makes_room_for_none(store, registry, mine):
    registry.add_tasks([Task(id=name, name=name, template=None) for name in "ab"])
    both = [record.task for record in registry.tasks()]
    with mine.held(of_task("a")):
        assert [task.id for task in registry.remove_tasks(both)] == ["b"]
    assert [task.id for task in registry.remove_tasks(both)] == ["a"]
    assert registry.tasks() == []
