"""Runs the learner: audits, and turns when they are due."""

import contextlib
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping

import msgspec

from openwheel.errors import EngineError, StoreError, StudentFileError
from openwheel.loop.adapters import adapter_name
from openwheel.loop.audit.records import labels_since, untrained_changes
from openwheel.loop.audit.step import audit
from openwheel.loop.drift.reask import asking_in_background
from openwheel.loop.learner.background import in_background
from openwheel.loop.learner.schedule import FEWEST_NEW, Timetable, timetable
from openwheel.loop.leases import (
    Found,
    LeaseLostError,
    Leases,
    LeasesAlone,
    OtherLearnerError,
    claim_unfinished,
    latest_found,
)
from openwheel.loop.records import Event, Turn
from openwheel.loop.registry import Registry
from openwheel.loop.resources import NO_RESOURCES, Resources
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn import failures
from openwheel.loop.turn.curate import assign_new
from openwheel.loop.turn.train import FEWEST_TO_TRAIN
from openwheel.loop.turn.turn import turn
from openwheel.progress import Progress, silent
from openwheel.store import Store
from openwheel.students.lm.student import ADAPTER

logger = logging.getLogger(__name__)

LOOK_EVERY = 0.5
"""Seconds between looks at the traffic, during a turn too: workers look for promotions every
second, and an alarm must reach all of them within two."""

RETRY_EVERY = 5.0
"""Seconds from the end of a turn to the next try of tasks at which turns failed."""


def run_learner(
    store: Store,
    settings: LoopSettings,
    *,
    tell: Callable[[Event], None],
    leases: Leases | None = None,
    resources: Resources = NO_RESOURCES,
    turns: bool = True,
    stop: Callable[[], bool] = lambda: False,
    housekeeping: Callable[[], object] = lambda: None,
    progress: Progress = silent,
) -> None:
    """Audit promoted students, and take a turn when it is due, until told to stop.

    After an alarm a turn is due as soon as there are enough labels to train on what changed. A
    store that was not empty gets its first turn at once. After a turn that failed the next one
    waits, longer each time; audits do not. Teachers are asked twice beside all this. Of a turn that
    another learner began, the parts are taken that nobody has taken.

    Args:
        tell: Called with an event of a task, unless it is the same as the last one.
        leases: Shares the work with other learners; None where there are no others.
        turns: Whether to take turns, for which the caller has `Leases.learning`; else it only
            audits.
        stop: Returns whether to end; called between looks.
        housekeeping: Called between looks.
    """
    registry = Registry(store)
    leases = LeasesAlone(store) if leases is None else leases
    looked_at, assigned, alarmed = 0, 0, turns
    changed: dict[str, int] = {}
    table = _first(store, registry, settings, leases) if turns else Timetable(due=sys.maxsize)
    seen = latest_found(store).number
    reported: dict[tuple[str, str], Event] = {}

    def report(events: list[Event]) -> None:
        nonlocal alarmed
        for event in events:
            alarmed = alarmed or (turns and event.kind in {"demoted", "deferred"})
            # Tasks left out stay so, whatever else happens to the task.
            slot = event.task, event.kind if event.kind in {"vetoed", "trouble"} else ""
            if reported.get(slot) != event:
                reported[slot] = event
                tell(event)

    def take(found: Found | None) -> Turn | None:
        """Take a turn, or what is left of one; None if another learner has just begun one."""
        with auditing_in_background(
            store,
            settings,
            tell=report,
            leases=leases,
            resources=resources,
            after=newest if found is None else assigned,
            every=LOOK_EVERY,
        ):
            try:
                return turn(
                    store,
                    settings,
                    after=looked_at,
                    found=found,
                    leases=leases,
                    resources=resources,
                    by_hand=False,
                    progress=progress,
                )
            except (OtherLearnerError, LeaseLostError) as error:
                logger.debug("%s", error)
                return None

    with asking_in_background(store, settings, tell=report, leases=leases, resources=resources):
        while not stop():
            housekeeping()
            newest = store.last_seq()
            if alarmed:
                changed, alarmed = untrained_changes(registry), False
                soon = min(table.due, newest + FEWEST_NEW)
                table = msgspec.structs.replace(table, due=soon)
            left = False
            if turns and not leases.alone:
                table, left = _with_waits(store, table, leases), claim_unfinished(store)
            found, now = latest_found(store), time.monotonic()
            due = table.is_due(newest, now, ready=_ready(store, changed, table, newest))
            left = turns and not due and (left or table.may_retry(now))
            goes_on = left or (turns and found.number > seen)
            done = take(found if goes_on else None) if goes_on or due else None
            if done is not None:
                seen = max(seen, done.number)
                looked_at, assigned = max(looked_at, done.looked_at), done.looked_at
                table = table.after_turn(
                    found.looked_at if goes_on else newest,
                    time.monotonic(),
                    shadowing=bool(registry.candidates(state="shadow")),
                )
                table = _with_waits(store, table, leases)
                changed = untrained_changes(registry) if changed else changed
                report(list(done.events))
                _sweep(registry, resources)
            elif newest > assigned:
                # An audit counts once its exchange is assigned to its task.
                assigned = assign_new(store, registry, after=assigned)
                report(audit(store, registry, settings, resources, leases=leases, until=assigned))
            time.sleep(LOOK_EVERY)


def _ready(store: Store, changed: Mapping[str, int], table: Timetable, newest: int) -> bool:
    """Return whether a task may be trained again on what came since a change for the worse."""
    if newest < table.newest + FEWEST_NEW:
        return False  # the last turn would most likely have done it
    return any(labels_since(store, task, seq) >= FEWEST_TO_TRAIN for task, seq in changed.items())


def _first(store: Store, registry: Registry, settings: LoopSettings, leases: Leases) -> Timetable:
    """Return when the first turn of this learner is due, and report turns that failed before."""
    failures.notice(store, alone=leases.alone)
    last = registry.last_turn()
    now, clock = time.monotonic(), store.clock()
    table = timetable(settings.turn_every, last=last, clock=clock, now=now)
    names = {record.task.id: record.task.name for record in registry.tasks()}
    for task, wait in failures.waits(failures.read(store), clock).items():
        subject = f"Task {names.get(task, task)}" if task is not None else "All tasks"
        logger.error("%s: %s", subject, wait.message)
    return _with_waits(store, table, leases)


def _with_waits(store: Store, table: Timetable, leases: Leases) -> Timetable:
    """Return a timetable that keeps to the waits of turns that failed."""
    now = time.monotonic()
    waits = failures.waits(failures.notice(store, alone=leases.alone), store.clock())
    shared_wait = waits.pop(None, None)
    retry_at = min((now + wait.seconds for wait in waits.values()), default=math.inf)
    return msgspec.structs.replace(
        table,
        not_before=now + shared_wait.seconds if shared_wait is not None else 0.0,
        # Its wait may be over while another learner tries it, or while it is left to the teacher.
        retry_at=max(retry_at, table.last + RETRY_EVERY),
    )


def _sweep(registry: Registry, resources: Resources) -> None:
    """Unload the adapters, and delete the files, of students that nobody needs."""
    used = registry.in_use()
    registry.files.sweep(used)
    try:
        registry.files.collect()
    except StoreError as error:
        logger.warning("Files that no student needs are kept until the next turn: %s", error)
    if resources.adapters is None:
        return
    try:
        names = set()
        for student in used:
            files = registry.candidate(student).files
            adapter = {name: sha256 for name, sha256 in files.items() if _is_adapter(name)}
            if adapter:
                names.add(adapter_name(registry.files.fetch(student, adapter) / ADAPTER))
        resources.adapters.sweep(names)
    except (EngineError, OSError, StoreError, StudentFileError) as error:
        logger.warning("adapters that nobody needs stay loaded: %s", error)


def _is_adapter(name: str) -> bool:
    return name.startswith(f"{ADAPTER}/")


@contextlib.contextmanager
def auditing_in_background(
    store: Store,
    settings: LoopSettings,
    *,
    tell: Callable[[list[Event]], None],
    leases: Leases | None = None,
    resources: Resources = NO_RESOURCES,
    after: int = 0,
    every: float = 0.5,
) -> Iterator[None]:
    """Look at new audits in a thread until the block ends.

    Exchanges up to ``after`` are assigned to their tasks. If a look and one of the turn's have the
    same results to write, the first one writes them. ``tell`` is called from the thread.
    """
    registry, assigned = Registry(store), after

    def look(_: Callable[[], bool]) -> None:
        nonlocal assigned
        if store.last_seq() > assigned:
            assigned = assign_new(store, registry, after=assigned)
            tell(audit(store, registry, settings, resources, leases=leases, until=assigned))

    failed = "Audits could not be looked at during a turn"
    with in_background(look, name="openwheel-audit", every=every, failed=failed):
        yield
