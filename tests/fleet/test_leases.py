"""Learners that share a store in Postgres: dead, frozen and cut off ones spend and promote nothing.

A learner is halted at a write, and another one, in this process, takes over.
"""

import itertools
import signal
import threading

import pytest

from fleet.checks import is_well, of_tasks
from fleet.halting import Halting
from made_up import write_log
from openwheel.importing import LogProblems, read_log
from openwheel.loop.leases import FINDING, Found, SharedLeases, latest_found, of_task, settled
from openwheel.loop.registry import Registry
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn import failures
from openwheel.loop.turn.turn import turn
from openwheel.store import Store

SETTINGS = LoopSettings(rungs=("linear",))
SECONDS = 1.0
"""How long a lease lasts that is not renewed."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def halting(cache):
    made = Halting(cache)
    yield made
    made.close()


@pytest.fixture
def store(postgres_url, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    with Store.open(postgres_url) as opened:
        log = write_log(tmp_path / "log.jsonl", of_tasks(1, 400))
        opened.append(list(read_log(log, in_order=True, problems=LogProblems())))
        yield opened


def kept(store):
    """Return all that turns write, but who has which lease."""
    tables = ("tasks", "judged", "students", "certificates", "promotions", "audit_plans")
    with store.read() as transaction:
        rows = {
            name: transaction.exec_driver_sql(f"SELECT * FROM {name} ORDER BY 1").all()
            for name in tables
        }
        assigned = "SELECT seq, task_id FROM exchanges ORDER BY seq"
        return rows, transaction.exec_driver_sql(assigned).all()


def take_over(store):
    """Take a turn once the leases of the one that was halted have ended."""
    leases = SharedLeases(store, seconds=SECONDS)
    while True:
        failures.notice(store, alone=False)
        with store.read() as transaction:
            held = "SELECT count(*) FROM leases WHERE holder <> ''"
            if not transaction.exec_driver_sql(held).scalar_one():
                return turn(store, SETTINGS, leases=leases)


YEAR = 365 * 86_400.0


def evidence(*values):
    """Return parameters of the long form."""
    each = (value if isinstance(value, tuple) else (value,) for value in values)
    return [pytest.param(*value, marks=pytest.mark.evidence) for value in each]


@pytest.mark.parametrize(
    ("number", "ahead"),
    [
        (1, 0.0),
        (5, YEAR),
        (7, -YEAR),
        (9, 0.0),
        *evidence(*((n, 0.0) for n in (2, 3, 4, 6, 8))),
    ],
)
def test_a_frozen_learner_that_wakes_after_its_lease_writes_nothing(halting, store, number, ahead):
    """Whatever its clock on the wall says."""
    url = str(store)
    assert halting.take(url, number=number, seconds=SECONDS, ahead=ahead) == "stopped"
    take_over(store)
    registry = is_well(store)
    assert len(registry.certificates()) + len(registry.candidates(state="shadow")) == 1
    before = kept(store)
    assert halting.go_on().startswith("ended")
    assert kept(store) == before


@pytest.mark.parametrize("ahead", [YEAR, *evidence(-YEAR)])
def test_a_learner_whose_clock_is_wrong_keeps_its_lease(halting, store, ahead):
    assert halting.take(str(store), number=6, seconds=60.0, ahead=ahead) == "stopped"
    (name,) = tasks_held(store)
    with SharedLeases(store, seconds=60.0).held(name) as lease:
        assert lease is None
    assert failures.notice(store, alone=False) == []
    assert halting.go_on() == "ended 0"
    assert is_well(store).certificates()


def tasks_held(store):
    with store.read() as transaction:
        query = "SELECT name FROM leases WHERE holder <> '' AND name LIKE 'task %%'"
        return list(transaction.exec_driver_sql(query).scalars())


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (1, "before"),
        (5, "after"),
        (7, "within"),
        (8, "before"),
        *evidence(*itertools.product(range(1, 10), ("before", "within", "after"))),
    ],
)
def test_a_killed_learners_task_is_taken_by_another(halting, store, number, moment):
    by, url = signal.SIGKILL, str(store)
    assert halting.take(url, number=number, moment=moment, seconds=SECONDS, by=by) == "killed"
    before = Registry(store).tasks()
    at = [name.removeprefix("task ") for name in tasks_held(store)]
    take_over(store)
    registry = is_well(store)
    assert sum(record.attempts for record in registry.tasks()) >= max(
        1, sum(record.attempts for record in before)
    )
    # It passed, so that nothing more is held against the task.
    assert failures.read(store) == []
    if number > 4:
        assert at == [record.task.id for record in registry.tasks()]


@pytest.mark.parametrize("number", evidence(2, 6, 9))
def test_one_that_is_frozen_in_the_middle_of_a_write_holds_nobody_up_for_long(
    halting, store, number
):
    """The server ends its transaction after ten seconds, of which nothing is kept."""
    url = str(store)
    assert halting.take(url, number=number, moment="within", seconds=SECONDS) == "stopped"
    take_over(store)
    is_well(store)
    before = kept(store)
    halting.go_on()
    assert kept(store) == before


def test_a_turn_that_one_began_is_taken_part_in_by_others(store, tmp_path):
    """Two at once: each task is learned once, by one of them, and both have some."""
    log = write_log(tmp_path / "more.jsonl", of_tasks(8, 260))
    store.append(list(read_log(log, in_order=True, problems=LogProblems())))
    began = threading.Event()
    done = {}

    def learn(name, found=None):
        with Store.open(str(store)) as own:
            leases = SharedLeases(own, seconds=30.0, holder=name)
            done[name] = turn(
                own,
                SETTINGS,
                found=found,
                leases=leases,
                progress=lambda *about: "training" in str(about) and began.set(),
            )

    first = threading.Thread(target=learn, args=("first",))
    first.start()
    assert began.wait(60)
    learn("second", latest_found(store))
    first.join()
    registry = is_well(store)
    assert done["first"].number == done["second"].number == 1
    taken = [
        {event.task for event in done[name].events if event.kind != "left"}
        for name in ("first", "second")
    ]
    names = {record.task.name for record in registry.tasks()}
    assert len(names) == 8
    assert taken[0] | taken[1] == names
    both = taken[0] & taken[1]
    assert not both, [e for d in done.values() for e in d.events if e.task in both]
    assert all(taken)
    assert all(record.attempts <= 1 and record.trained_on for record in registry.tasks())
    assert settled(store, Found(1)) == {FINDING, *(of_task(r.task.id) for r in registry.tasks())}
