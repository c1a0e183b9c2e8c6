"""Turns that were begun and did not end: who waits, how long, and who goes on."""

import contextlib

import msgspec
import pytest

from made_up import tickets
from openwheel.loop.learner.learner import run_learner
from openwheel.loop.learner.schedule import Timetable, timetable
from openwheel.loop.leases import FINDING, LeasesAlone, of_task
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn import failures
from openwheel.loop.turn.training import Training
from openwheel.loop.turn.turn import turn
from openwheel.store import leases

SETTINGS = LoopSettings()


@pytest.fixture
def leave_held(store):
    """Leave a lease behind as a learner that is killed leaves it."""

    def leave(name):
        with store.write() as transaction:
            leases.acquire(transaction, name, "dead", seconds=None)

    return leave


@pytest.fixture
def die(store, leave_held):
    """Leave a turn behind as one that is killed at a task leaves it."""

    def at(task=None):
        leave_held(FINDING if task is None else of_task(task))
        failures.notice(store, alone=True)

    return at


def put_back(store, seconds):
    """Let all failures be so much older."""
    with store.write() as connection:
        connection.exec_driver_sql(f"UPDATE turn_starts SET noticed = noticed - {seconds}")


def two_tasks(n, seed=0):
    """Return traffic of two tasks, told apart by their prompts."""
    rows = []
    for i, row in enumerate(tickets(n, seed=seed)):
        system = "Sort the ticket." if i % 2 else "Name the department that answers this mail."
        messages = [
            {"role": "system", "content": system},
            {"role": "user", "content": row["input"]},
            {"role": "assistant", "content": row["output"]},
        ]
        rows.append({"messages": messages})
    return rows


def test_a_turn_that_ends_leaves_nothing_noted(store, fill):
    fill(tickets(300))
    turn(store, SETTINGS)
    assert failures.notice(store, alone=True) == []


def test_a_turn_that_died_is_noticed_by_the_next_learner_with_its_task(store, die):
    die()
    die("t1")
    assert [failure.task for failure in failures.read(store)] == [None, "t1"]
    waits = failures.waits(failures.read(store), 0.0)
    assert waits["t1"].failures == 1
    assert "killed or crashed" in waits["t1"].message


def test_one_that_was_stopped_did_not_die(store, leave_held):
    mine = LeasesAlone(store)
    with contextlib.suppress(KeyboardInterrupt), mine.held(of_task("t1")):
        raise KeyboardInterrupt
    assert failures.notice(store, alone=True) == []
    leave_held(of_task("t1"))
    mine.release_all()
    assert failures.notice(store, alone=True) == []


def test_one_that_was_stopped_while_it_trained_did_not_die(store, fill, monkeypatch):
    """It is then in no step of the task's part, which waits for a computation."""

    def stop(_):
        raise KeyboardInterrupt

    fill(tickets(400))
    monkeypatch.setattr(Training, "here", stop)
    with pytest.raises(KeyboardInterrupt):
        turn(store, SETTINGS)
    assert failures.notice(store, alone=True) == []


def test_a_wait_doubles_and_no_clock_makes_it_longer(store, die):
    for _ in range(5):
        die("t1")
    failed = failures.read(store)
    noticed = failed[-1].noticed
    assert failures.waits(failed, noticed)["t1"].seconds == 16
    assert failures.waits(failed, noticed + 10)["t1"].seconds == 6
    assert failures.waits(failed, noticed + 1e9)["t1"].seconds == 0
    assert failures.waits(failed, noticed - 1e9)["t1"].seconds == 0


@pytest.mark.evidence
def test_a_task_at_which_turns_died_waits_and_the_others_go_on(store, registry, fill, die):
    fill(two_tasks(2_000))
    turn(store, SETTINGS)
    first, second = (record.task for record in registry.tasks())
    for _ in range(6):
        die(first.id)
    fill(two_tasks(2_000, seed=1))
    before = {record.task.id: record.trained_on for record in registry.tasks()}
    done = turn(store, SETTINGS, after=2_000, by_hand=False)
    (event,) = [event for event in done.events if event.kind == "trouble"]
    assert event.task == first.name
    assert "6 turns in a row failed here" in event.reason
    after = {record.task.id: record.trained_on for record in registry.tasks()}
    assert after[first.id] == before[first.id]
    assert after[second.id] > before[second.id]

    put_back(store, 60)
    done = turn(store, SETTINGS, after=4_000, by_hand=False)
    assert not [event for event in done.events if event.kind == "trouble"]
    assert failures.read(store) == []


def test_a_learner_waits_after_turns_that_died_at_no_task(store, registry, fill, die, caplog):
    fill(tickets(1_000))
    for _ in range(8):
        die()
    looks = iter(range(2))
    run_learner(store, SETTINGS, tell=print, stop=lambda: next(looks, None) is None)
    assert registry.turns() == []
    assert "All tasks: 8 turns in a row failed here" in caplog.text
    put_back(store, 200)
    looks = iter(range(2))
    run_learner(store, SETTINGS, tell=print, stop=lambda: next(looks, None) is None)
    assert len(registry.turns()) == 1


def test_a_timetable_goes_by_evidence_and_by_time():
    table = Timetable(every=100.0).after_turn(1_000, now=50.0)
    assert not table.is_due(1_199, 149.0)
    assert table.is_due(1_200, 51.0)
    assert table.is_due(1_001, 150.0)
    assert not table.is_due(1_000, 1e9)  # nothing new
    assert not Timetable().after_turn(1_000, now=50.0).is_due(1_001, 1e9)
    held = msgspec.structs.replace(table, not_before=1e6)
    assert not held.is_due(10_000, 151.0)
    again = msgspec.structs.replace(table, retry_at=60.0)
    assert [again.may_retry(now) for now in (59.0, 60.0)] == [False, True]
    assert not msgspec.structs.replace(again, not_before=70.0).may_retry(60.0)


@pytest.mark.parametrize(("clock", "due"), [(1_100.0, 900.0), (0.0, 1_000.0), (1e9, 0.0)])
def test_the_time_since_the_last_turn_survives_a_restart(clock, due):
    """And a clock that was set back or ahead meanwhile costs one wait, or one turn."""
    table = timetable(1_000.0, last=(50, 1_000.0), clock=clock, now=5e6)
    assert not table.is_due(51, 5e6 + due - 1)
    assert table.is_due(51, 5e6 + due)
    assert not table.after_turn(51, 5e6 + due).is_due(52, 5e6 + due + 1)


def test_a_learner_takes_a_turn_when_it_is_time(store, registry, fill):
    fill(tickets(40))
    looks = iter(range(2))
    settings = msgspec.structs.replace(SETTINGS, turn_every=0.2)
    run_learner(store, settings, tell=print, stop=lambda: next(looks, None) is None)
    assert len(registry.turns()) == 1  # not again, as nothing came
