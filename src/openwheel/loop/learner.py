"""The learner: audits and turns by themselves, for as long as it runs."""

import os
import time
from collections.abc import Callable

from openwheel.loop.registry import Event, Registry
from openwheel.loop.schedule import next_turn
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn import audit, turn
from openwheel.students.encoder import TextEncoder
from openwheel.traffic import Store

LOOK_EVERY = 1.0
"""Seconds between looks at the traffic."""


def run_learner(
    store: Store,
    settings: LoopSettings,
    *,
    tell: Callable[[Event], None],
    encoder: TextEncoder | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Look at the traffic every second: audit what is promoted, and take a turn when it is due.

    A store that was not empty gets its first turn at once.

    Args:
        store: The traffic.
        settings: What the user decides.
        tell: Told what happened to a task, when it is not what happened the time before.
        encoder: For the rung ``encoder``.
        stop: Asked between looks whether to end.
    """
    # Students are worth training on what is left of the processor; requests come first.
    os.nice(10)
    registry = Registry(store)
    looked_at, due, audited_at = 0, next_turn(0), 0
    told: dict[str, Event] = {}

    def report(events: list[Event]) -> None:
        for event in events:
            if told.get(event.task) != event:
                told[event.task] = event
                tell(event)

    while not stop():
        newest = store.last_seq()
        if newest > audited_at:
            report(audit(store, registry))
            audited_at = newest
        if newest >= due:
            done = turn(store, settings, after=looked_at, encoder=encoder)
            looked_at, due = done.looked_at, next_turn(newest)
            report(list(done.events))
        time.sleep(LOOK_EVERY)
