"""What becomes of the loop when the clock is set."""

import random
import time

import sqlalchemy as sa

from made_up import QUEUES, ticket, tickets
from openwheel.loop.feedback.corrections import corrected_inputs
from openwheel.loop.registry import Registry
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.turn import turn
from openwheel.store import Exchange, schema
from openwheel.store.feedback import FeedbackStore
from openwheel.wire import Answer

SETTINGS = LoopSettings()
YEAR = 365 * 86_400.0


def bursts(n: int, *, live: bool) -> list[Exchange]:
    """Return tickets that come in bursts of one queue, at times of a clock that was set back."""
    rng = random.Random(3)
    found, queue = [], "billing"
    for i in range(n):
        if i % 25 == 0:
            queue = rng.choice([one for one in QUEUES if one != queue])
        request = b'{"messages":[{"role":"user","content":"%s"}]}' % ticket(rng, queue).encode()
        found.append(
            Exchange(
                id=str(i),
                time=YEAR + i - (2_000 if i > n // 2 else 0),
                request=request,
                answer=Answer(queue),
                source="teacher" if live else "log",
                teacher="big" if live else "",
            )
        )
    return found


def test_what_a_gateway_kept_is_in_order_whatever_its_clock_said(store, registry):
    store.append(bursts(1_000, live=True))
    (event,) = turn(store, SETTINGS).events
    assert event.kind != "waiting" or "order" not in event.reason
    assert registry.tasks()[0].attempts == 1


def test_a_log_in_blocks_without_times_in_order_is_not_believed(store, registry):
    store.append(bursts(1_000, live=False))
    (event,) = turn(store, SETTINGS).events
    assert (event.kind, registry.tasks()[0].attempts) == ("waiting", 0)
    assert "not in order" in event.reason


def test_the_latest_is_what_came_last_though_the_clock_was_set_back(store, registry, fill):
    fill(tickets(600))
    turn(store, SETTINGS)
    (first,) = registry.certificates()
    # What was made so far was made by a clock that was a year ahead.
    with store.write() as connection:
        for table in (schema.tasks, schema.students, schema.certificates):
            connection.execute(sa.update(table).values(created=table.c.created + YEAR))
    registry.demote(first.task, by="audit", reason="")
    with store.write() as connection:
        connection.execute(sa.update(schema.tasks).values(trained_on=0))
    fill(tickets(600, seed=1))
    turn(store, SETTINGS)
    fill(tickets(600, seed=2))
    turn(store, SETTINGS)
    assert [one.attempt for one in registry.certificates()] == [1, 2]
    assert [found.attempt for found, _, _ in registry.candidates()] == [1, 2]


def test_corrections_known_at_training_are_known_though_the_clock_was_set_back(
    store, registry: Registry, fill
):
    rows = bursts(1_000, live=True)
    by_student = Exchange(
        id="s", request=rows[0].request, answer=Answer("account"), source="student"
    )
    store.append([*rows[:500], by_student, *rows[500:]])
    turn(store, SETTINGS)
    (seq,) = (seq for seq, exchange in store.exchanges() if exchange.id == "s")
    FeedbackStore(store, clock=lambda: time.time() + YEAR).put(seq, 0, correction="billing")
    registry.demote(registry.tasks()[0].task.id, by="audit", reason="")
    with store.write() as connection:
        connection.execute(sa.update(schema.tasks).values(trained_on=0))
    store.append(bursts(2_000, live=True)[1_000:])
    turn(store, SETTINGS)
    first, second = (found for found, _, _ in registry.candidates())
    assert first.trained_until < seq or corrected_inputs(registry, first) == []
    assert len(corrected_inputs(registry, second)) == 1
