"""The learner: audits and turns by themselves, for as long as it runs."""

import time
from collections.abc import Callable

from openwheel.loop.audit.beside import auditing_beside
from openwheel.loop.audit.look import audit
from openwheel.loop.curate import assign_new
from openwheel.loop.lm import sweep_adapters
from openwheel.loop.registry import Event, Registry
from openwheel.loop.schedule import FEWEST_NEW, next_turn
from openwheel.loop.settings import LoopSettings
from openwheel.loop.tools import NO_TOOLS, Tools
from openwheel.loop.turn import turn
from openwheel.traffic import Store

LOOK_EVERY = 0.5
"""Seconds between looks at the traffic, during a turn too: workers look every second for what is
promoted, and an alarm is to reach all of them within two."""


def run_learner(
    store: Store,
    settings: LoopSettings,
    *,
    tell: Callable[[Event], None],
    tools: Tools = NO_TOOLS,
    stop: Callable[[], bool] = lambda: False,
    housekeeping: Callable[[], object] = lambda: None,
) -> None:
    """Look at the traffic again and again: audit what is promoted, and take a turn when it is due.

    After an alarm a turn is due as soon as there are enough exchanges to train on what changed. A
    store that was not empty gets its first turn at once.

    Args:
        store: The traffic.
        settings: What the user decides.
        tell: Told what happened to a task, when it is not what happened the time before.
        tools: What rungs need from outside.
        stop: Asked between looks whether to end.
        housekeeping: Called between looks.
    """
    registry = Registry(store)
    looked_at, assigned, due, alarmed = 0, 0, next_turn(0), False
    told: dict[tuple[str, str], Event] = {}

    def report(events: list[Event]) -> None:
        nonlocal alarmed
        for event in events:
            alarmed = alarmed or event.kind == "demoted"
            # What is left out stays so, whatever else happens to the task.
            slot = event.task, event.kind if event.kind in {"vetoed", "trouble"} else ""
            if told.get(slot) != event:
                told[slot] = event
                tell(event)

    while not stop():
        housekeeping()
        newest = store.last_seq()
        if newest >= due:
            alarmed = False
            with auditing_beside(
                store, settings, tell=report, tools=tools, after=newest, every=LOOK_EVERY
            ):
                done = turn(store, settings, after=looked_at, tools=tools)
            looked_at = assigned = done.looked_at
            due = next_turn(newest)
            report(list(done.events))
            sweep_adapters(registry, tools)
        elif newest > assigned:
            # An audit counts once its exchange is assigned to its task.
            assigned = assign_new(store, registry, after=assigned)
            report(audit(store, registry, settings, tools, until=assigned))
        if alarmed:
            due, alarmed = min(due, newest + FEWEST_NEW), False
        time.sleep(LOOK_EVERY)
