"""Whoever sends requests can make up tasks: that crowds out nobody, and costs turns little."""

import json
import random

import pytest
import sqlalchemy as sa

from made_up import QUEUES, ticket
from openwheel.loop.registry import Registry
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.curate import curate
from openwheel.loop.turn.turn import ALL_TASKS, turn
from openwheel.store import Exchange, Store
from openwheel.wire import Answer

HONEST, FLOOD = "desk", "flood"
IMAGE = {"type": "image_url", "image_url": {"url": "data:,"}}


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "openwheel.db") as store:
        yield store


@pytest.fixture
def send(store):
    """Store requests of a key, with the task that it names."""

    def send(key: str, task: str, number: int, *, image: bool = False) -> None:
        rng = random.Random(f"{key}{task}{store.count()}")
        exchanges = []
        for _ in range(number):
            queue = rng.choice(list(QUEUES))
            text = f"Name the queue: {ticket(rng, queue)}"
            content = [{"type": "text", "text": text}, IMAGE] if image else text
            messages = [{"role": "user", "content": content}]
            exchanges.append(
                Exchange(
                    id=f"{rng.getrandbits(64):x}",
                    time=1.7e9 + store.last_seq() + len(exchanges),
                    request=json.dumps({"model": "m", "messages": messages}).encode(),
                    answer=Answer(queue),
                    source="teacher",
                    model="m",
                    teacher="big",
                    task=task,
                    key=key,
                )
            )
        store.append(exchanges)

    return send


def names(store: Store) -> list[str]:
    return [record.task.name for record in Registry(store).tasks()]


def test_names_made_up_by_the_thousand_make_no_tasks_and_are_counted(store, send):
    send(HONEST, "", 240)
    send(HONEST, "queues", 40)
    for i in range(1_000):
        send(FLOOD, f"task {i}", 1)
    done = turn(store, LoopSettings())
    assert len(names(store)) == 2
    assert store.task_counts() == {None: 1_000} | {
        record.task.id: 40 if record.task.explicit else 240 for record in Registry(store).tasks()
    }
    found = Registry(store).beyond()
    assert (found.names, found.named) == (1_000, 1_000)
    (event,) = [event for event in done.events if event.task == ALL_TASKS]
    assert "1,000 names of tasks have fewer than 20 exchanges each" in event.reason


def test_a_key_that_makes_up_tasks_displaces_its_own(store, send):
    settings = LoopSettings(most_tasks=6)
    for i in range(8):
        send(FLOOD, f"flood {i}", 60 + i)
    curate(store, Registry(store), settings)
    assert names(store) == [f"flood-{i}" for i in (7, 6, 5, 4, 3, 2)]
    newest = store.last_seq()
    for i in range(3):  # those come later, and are smaller
        send(HONEST, f"desk {i}", 25)
    for i in range(8, 16):
        send(FLOOD, f"flood {i}", 70)
    curate(store, Registry(store), settings, after=newest)
    honest = [f"desk-{i}" for i in range(3)]
    assert sorted(names(store)) == [*honest, "flood-5", "flood-6", "flood-7"]
    found = Registry(store).beyond()
    assert (found.tasks, found.displaced, found.keys) == (10, 3, ((FLOOD, 10),))
    # Nothing is lost: what belongs to no task any more is found again where there is room.
    assert sum(store.task_counts().values()) == store.count()
    curate(store, Registry(store), LoopSettings(), after=store.last_seq())
    assert len(names(store)) == 19
    assert Registry(store).beyond().tasks == 0


def test_a_task_with_a_student_is_displaced_by_nobody(store, send):
    settings = LoopSettings(most_tasks=2)
    send(HONEST, "small", 40)
    send(HONEST, "judged", 30)
    curate(store, Registry(store), settings)
    judged = Registry(store).find_task("judged")
    Registry(store).attempt(judged.task.id)
    newest = store.last_seq()
    for i in range(4):
        send(HONEST, f"large {i}", 500)
    curate(store, Registry(store), settings, after=newest)
    assert names(store)[0] == "judged"
    assert len(names(store)) == 2
    assert "small" not in names(store)


def test_small_tasks_cost_a_turn_nothing_each(store, send):
    def statements(after: int) -> int:
        run = 0

        def count(*_):
            nonlocal run
            run += 1

        sa.event.listen(store.engine, "before_cursor_execute", count)
        try:
            turn(store, LoopSettings(), after=after)
        finally:
            sa.event.remove(store.engine, "before_cursor_execute", count)
        return run

    for i in range(5):
        send(FLOOD, f"few {i}", 20)
    after = turn(store, LoopSettings()).looked_at
    few = statements(after)
    for i in range(60):
        send(FLOOD, f"many {i}", 20)
    after = turn(store, LoopSettings(), after=after).looked_at
    assert len(names(store)) == 65
    assert statements(after) == few


def test_what_is_no_task_of_one_key_does_not_hide_the_tasks_of_another(store, send, monkeypatch):
    monkeypatch.setattr("openwheel.loop.turn.curate.SAMPLE", 400)
    send(FLOOD, "", 1_500, image=True)
    send(HONEST, "", 60)
    curate(store, Registry(store), LoopSettings())
    (found,) = Registry(store).tasks()
    assert store.task_counts() == {None: 1_500, found.task.id: 60}
