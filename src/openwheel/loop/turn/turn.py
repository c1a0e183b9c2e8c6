"""Takes one turn of the live loop: curates, audits, judges shadows, trains again where it pays.

In live traffic a student trains on every label so far and then shadows: it is judged, by tests that
may be looked at again and again, on the exchanges that arrive afterwards. The first attempt on a
task holds out its latest quarter, so that its student can be judged at once.
"""

import gc
import time
from collections.abc import Callable

from openwheel.errors import (
    EngineError,
    SettingError,
    TeacherError,
)
from openwheel.loop.audit.step import audit
from openwheel.loop.data import load_answers
from openwheel.loop.records import Event, TaskRecord, Turn
from openwheel.loop.registry import Registry
from openwheel.loop.resources import NO_RESOURCES, Resources
from openwheel.loop.settings import LoopSettings
from openwheel.loop.subject import Subject, subject_of, why_left
from openwheel.loop.turn import failures
from openwheel.loop.turn.curate import curate
from openwheel.loop.turn.gather import gather
from openwheel.loop.turn.inherit import inherit
from openwheel.loop.turn.limits import some_more_memory, too_much
from openwheel.loop.turn.room import shortage_messages
from openwheel.loop.turn.shadow import judge_new, judge_shadow, widen
from openwheel.loop.turn.standing import certify_anew, compared_otherwise, veto
from openwheel.loop.turn.state import TaskState
from openwheel.loop.turn.train import FEWEST_TO_TRAIN, train
from openwheel.progress import Progress, each, silent
from openwheel.store import Store
from openwheel.tasks import MIN_SUPPORT

ALL_TASKS = "all tasks"
"""The task of an event that is about no single task."""

STEPS: tuple[Callable[[TaskState], None], ...] = (
    gather,  # find the changes, the promoted student and the shadow
    inherit,  # have the student of a question that is nearly the same shadow
    widen,  # certify the promoted student for more of the traffic
    judge_shadow,  # certify and promote the shadow, or give it up
    train,  # if there are enough new labels: a new student shadows
    judge_new,  # certify and promote it, the first one at once
)
"""A task's part of a turn. Each step may say that it is over."""


def turn(
    store: Store,
    settings: LoopSettings,
    *,
    after: int = 0,
    resources: Resources = NO_RESOURCES,
    by_hand: bool = True,
    progress: Progress = silent,
) -> Turn:
    """Take one turn.

    Args:
        store: The traffic, which may grow meanwhile.
        after: :attr:`Turn.looked_at` of the last turn, 0 at first.
        by_hand: Whether a person asked for it; otherwise tasks at which turns failed wait.
    """
    started = time.monotonic()
    registry = Registry(store)
    failures.begin(store)
    done: Turn | None = None
    try:
        done = _turn(
            store,
            registry,
            settings,
            after=after,
            resources=resources,
            by_hand=by_hand,
            progress=progress,
        )
    except (KeyboardInterrupt, SystemExit):
        failures.forget(store)  # stopped, which is no failure
        raise
    except MemoryError:
        gc.collect()
    # Only here is all of the turn's memory free again.
    if done is None:
        return Turn(after, (_short_of_memory(store, None, ALL_TASKS),))
    registry.add_turn(done, time.monotonic() - started)
    return done


def _turn(
    store: Store,
    registry: Registry,
    settings: LoopSettings,
    *,
    after: int,
    resources: Resources,
    by_hand: bool,
    progress: Progress,
) -> Turn:
    progress("finding tasks")
    looked_at = curate(store, registry, settings, after=after, progress=progress)
    events = certify_anew(registry)
    events += audit(store, registry, settings, resources, until=looked_at)
    events += veto(registry, settings.policy)
    events += [Event(ALL_TASKS, "left", text) for text in shortage_messages(registry.beyond())]
    counts = store.task_counts()
    waits = failures.waits(failures.read(store), time.time())
    records = [record for record in registry.tasks() if counts.get(record.task.id)]
    for record in each(
        progress,
        "learning",
        records,
        "exchanges",
        total=sum(counts[record.task.id] for record in records),
        size=lambda record: counts[record.task.id],
    ):
        if record.attempts:
            events += compared_otherwise(registry, record, settings)
        if reason := why_left(record, settings):
            events.append(Event(record.task.name, "left", reason))
            continue
        wait = waits.get(record.task.id)
        if wait is not None and wait.seconds > 0 and not by_hand:
            events.append(Event(record.task.name, "trouble", wait.message))
            continue
        tried = record.task.question is not None or settings.task(record.task.name).same_as
        least = MIN_SUPPORT if tried else FEWEST_TO_TRAIN
        if not record.attempts and counts[record.task.id] < least:
            events.append(_too_few(record, counts[record.task.id]))  # without reading them
            continue
        progress(f"task {record.task.name}: {counts[record.task.id]:,} exchanges")
        failures.at_task(store, record.task.id)
        try:
            subject = subject_of(registry, record, settings, resources)
            events += turn_task(registry, subject, progress, until=looked_at)
            short = False
        except (EngineError, SettingError, TeacherError) as error:
            events.append(Event(record.task.name, "trouble", str(error)))  # others go on
            short = False
        except MemoryError:
            short = True
        if short:
            events.append(_short_of_memory(store, record.task.id, record.task.name))
        elif wait is not None:  # it failed before, and went well now
            failures.passed(store, record.task.id)
    return Turn(looked_at, tuple(events))


def _too_few(record: TaskRecord, exchanges: int) -> Event:
    reason = f"{exchanges:,} exchanges; the first training is at {FEWEST_TO_TRAIN:,} labelled ones"
    return Event(record.task.name, "waiting", reason)


def turn_task(
    registry: Registry, subject: Subject, progress: Progress, *, until: int
) -> list[Event]:
    """Take a task's part of a turn; return its events.

    No exchange after ``until`` is read, up to which tasks were looked for: a learner beside the
    turn may have assigned later ones, which would leave a gap.

    Raises:
        OpenwheelError: An engine, a teacher that judges or a setting cannot be used.
    """
    record = subject.record
    data = load_answers(
        registry.store,
        record.task.id,
        record.form,
        record.folds,
        until=until,
        policy=subject.settings.policy,
    )
    state = TaskState(registry=registry, subject=subject, progress=progress, data=data, events=[])
    for step in STEPS:
        step(state)
        if state.over:
            break
    return state.events


def _short_of_memory(store: Store, task_id: str | None, name: str) -> Event:
    reason = too_much()
    with some_more_memory():  # to say so
        if task_id is None:
            failures.forget(store)
        failures.failed(store, task_id, reason)
        wait = failures.waits(failures.read(store), time.time())[task_id]
        return Event(name, "trouble", wait.message)
