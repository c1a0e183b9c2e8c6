"""Takes one turn of the live loop: curates, audits, judges shadows, trains again where it pays.

In live traffic a student trains on every label so far and then shadows: it is judged, by tests that
may be looked at again and again, on the exchanges that arrive afterwards. The first attempt on a
task holds out its latest quarter, so that its student can be judged at once.
"""

import contextlib
import gc
import logging
import time
from collections.abc import Callable, Iterator

import msgspec

from openwheel.errors import EngineError, ModelError, SettingError, TeacherError
from openwheel.executors import Computing, after_earlier, in_order, session_of
from openwheel.loop.audit.step import audit
from openwheel.loop.data import load_answers
from openwheel.loop.leases import (
    FINDING,
    Found,
    LeaseLostError,
    Leases,
    LeasesAlone,
    OtherLearnerError,
    of_task,
    settled,
)
from openwheel.loop.records import Event, TaskRecord, Turn
from openwheel.loop.registry import Registry
from openwheel.loop.resources import NO_RESOURCES, Resources
from openwheel.loop.settings import LoopSettings
from openwheel.loop.subject import Subject, subject_of, why_left
from openwheel.loop.turn import failures
from openwheel.loop.turn.curate import curate
from openwheel.loop.turn.gather import gather
from openwheel.loop.turn.inherit import inherit, may_inherit
from openwheel.loop.turn.limits import some_more_memory, too_much
from openwheel.loop.turn.room import shortage_messages
from openwheel.loop.turn.shadow import judge_new, judge_shadow, widen
from openwheel.loop.turn.standing import certify_task_anew, compared_otherwise, veto
from openwheel.loop.turn.state import TaskState
from openwheel.loop.turn.train import FEWEST_TO_TRAIN, train
from openwheel.progress import Progress, each, silent
from openwheel.store import Store
from openwheel.tasks import MIN_SUPPORT, Task, TaskMatcher

logger = logging.getLogger(__name__)

ALL_TASKS = "all tasks"
"""The task of an event that is about no single task."""

FINDING_PATIENCE_S = 600.0
"""Seconds that a turn by hand waits for another learner that is finding tasks."""

STEPS: tuple[Callable[[TaskState], Computing[None] | None], ...] = (
    gather,  # find the changes, the promoted student and the shadow
    inherit,  # have the student of a question that is nearly the same shadow
    widen,  # certify the promoted student for more of the traffic
    judge_shadow,  # certify and promote the shadow, or give it up
    train,  # if there are enough new labels: a new student shadows
    judge_new,  # certify and promote it, the first one at once
)
"""A task's part of a turn. Each step may say that it is over; one has a heavy computation."""


class _Work(msgspec.Struct, frozen=True, kw_only=True):
    """What the parts of a turn are taken with."""

    store: Store
    leases: Leases
    settings: LoopSettings
    resources: Resources
    by_hand: bool
    progress: Progress


def turn(
    store: Store,
    settings: LoopSettings,
    *,
    after: int = 0,
    found: Found | None = None,
    leases: Leases | None = None,
    resources: Resources = NO_RESOURCES,
    by_hand: bool = True,
    progress: Progress = silent,
) -> Turn:
    """Take one turn, or the parts of one that no learner has taken.

    Args:
        store: The traffic, which may grow meanwhile.
        after: :attr:`Turn.looked_at` of the last turn, 0 at first.
        found: The turn to take parts of, whose tasks were found; None begins one.
        leases: Shares the work with other learners; None where there are no others.
        by_hand: Whether a person asked for it; otherwise tasks at which turns failed wait.

    Raises:
        OtherLearnerError: Another learner is finding the tasks of a turn.
        LeaseLostError: Another learner has begun to find them meanwhile.
    """
    started = time.monotonic()
    leases = LeasesAlone(store) if leases is None else leases
    work = _Work(
        store=store,
        leases=leases,
        settings=settings,
        resources=resources,
        by_hand=by_hand,
        progress=progress,
    )
    failures.notice(store, alone=leases.alone)
    begins, events = found is None, list[Event]()
    short = False
    try:
        found = _find(work, after, events) if found is None else found
        if found is not None:
            events += _learn(work, found, begins=begins)
    except MemoryError:
        short = True
    if short:
        return Turn(after, (_failed(store, None, ALL_TASKS),))
    if found is None:
        return Turn(after, tuple(events))
    done = Turn(found.looked_at, tuple(events), found.number)
    if begins or events:
        Registry(store).add_turn(done, time.monotonic() - started)
    return done


def _find(work: _Work, after: int, events: list[Event]) -> Found | None:
    """Find the tasks of a turn, and see to the students in front of traffic.

    Returns:
        None if memory was short, which is then the only event.
    """
    work.progress("finding tasks")
    patience = FINDING_PATIENCE_S if work.by_hand else 0.0
    with work.leases.held(FINDING, patience=patience) as lease:
        if lease is None:
            raise OtherLearnerError(f"Another learner is finding tasks in {work.store}")
        store, settings = lease.store, work.settings

        def find() -> list[Event]:
            registry = Registry(store)
            looked_at = curate(store, registry, settings, after=after, progress=work.progress)
            told = audit(
                store, registry, settings, work.resources, leases=work.leases, until=looked_at
            )
            told += veto(registry, settings.policy)
            lease.done = Found(lease.token, looked_at)
            return told

        short = False
        try:
            events += find()
        except MemoryError:
            short = True
        if short:  # only here is all of its memory free again
            events.append(_failed(store, None, ALL_TASKS))
    return lease.done


def _learn(work: _Work, found: Found, *, begins: bool) -> list[Event]:
    """Take the tasks' parts of a turn; the learner that began it tells of tasks without one."""
    store, registry = work.store, Registry(work.store)
    untaken = [Event(ALL_TASKS, "left", text) for text in shortage_messages(registry.beyond())]
    taken: list[Event] = []
    others = settled(store, found)
    counts = store.task_counts()
    known = registry.tasks()
    matcher = TaskMatcher([record.task for record in known])
    records = [record for record in known if counts.get(record.task.id)]
    learning = each(
        work.progress,
        "learning",
        records,
        "exchanges",
        total=sum(counts[record.task.id] for record in records),
        size=lambda record: counts[record.task.id],
    )

    def parts() -> Iterator[Computing[list[Event]]]:
        for record in learning:
            count = counts[record.task.id]
            if (event := _not_begun(record, count, work.settings)) is not None:
                untaken.append(event)
            elif of_task(record.task.id) not in others:
                yield _take_part(work, found, record.task, matcher, count)

    with (
        session_of(work.resources.executor) as session,
        contextlib.closing(in_order(parts(), session)) as taking,
    ):
        for events in taking:
            taken += events
    return [*untaken, *taken] if begins else taken


def _not_begun(record: TaskRecord, exchanges: int, settings: LoopSettings) -> Event | None:
    """Return why a task has no part of a turn yet, without reading its exchanges."""
    if record.attempts:
        return None
    if reason := why_left(record, settings):
        return Event(record.task.name, "left", reason)
    tried = record.task.question is not None or settings.task(record.task.name).same_as
    if exchanges >= (MIN_SUPPORT if tried else FEWEST_TO_TRAIN):
        return None
    reason = f"{exchanges:,} exchanges; the first training is at {FEWEST_TO_TRAIN:,} labelled ones"
    return Event(record.task.name, "waiting", reason)


def _take_part(
    work: _Work, found: Found, task: Task, matcher: TaskMatcher, exchanges: int
) -> Computing[list[Event]]:
    """Take a task's part of a turn, unless another learner has it, takes it or has taken it."""
    try:
        return (yield from _take_leased(work, found, task, matcher, exchanges))
    except LeaseLostError as error:
        logger.warning("Task %s is left to another learner: %s", task.name, error)
        return []


def _take_leased(
    work: _Work, found: Found, task: Task, matcher: TaskMatcher, exchanges: int
) -> Computing[list[Event]]:
    with work.leases.held(of_task(task.id)) as lease:
        if lease is None or lease.before.number >= found.number:
            return []
        store, registry, settings = lease.store, Registry(lease.store), work.settings
        events = certify_task_anew(registry, matcher, task)
        record = registry.task(task.id)  # as it is now that no other learner changes it
        if record is None:
            return []  # it made room for others
        if record.attempts:
            events += compared_otherwise(registry, record, settings)
        if reason := why_left(record, settings):
            lease.done = found
            return [*events, Event(task.name, "left", reason)]
        wait = failures.waits(failures.read(store), store.clock()).get(task.id)
        if wait is not None and wait.seconds > 0 and not work.by_hand:
            return [*events, Event(task.name, "trouble", wait.message)]
        work.progress(f"task {task.name}: {exchanges:,} exchanges")

        def take() -> Computing[list[Event]]:
            try:
                subject = subject_of(registry, record, settings, work.resources)
                told = yield from turn_task(registry, subject, work.progress, until=found.looked_at)
            except (EngineError, SettingError, TeacherError) as error:
                told = [Event(task.name, "trouble", str(error))]  # others go on
            lease.done = found
            return told

        events += yield from _noting_failure(store, task.id, task.name, take())
        if lease.done and wait is not None:  # it failed before, and went well now
            failures.passed(store, task.id)
    return events


def turn_task(
    registry: Registry, subject: Subject, progress: Progress, *, until: int
) -> Computing[list[Event]]:
    """Take a task's part of a turn; return its events.

    No exchange after ``until`` is read, up to which tasks were looked for: a learner beside the
    turn may have assigned later ones, which would leave a gap.

    Raises:
        OpenwheelError: An engine, a teacher that judges or a setting cannot be used.
    """
    record = subject.record
    if may_inherit(subject):
        yield from after_earlier()  # whose students it may be given
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
        computing = step(state)
        if computing is not None:
            yield from computing
        if state.over:
            break
    return state.events


def _noting_failure(
    store: Store, task_id: str | None, name: str, part: Computing[list[Event]]
) -> Computing[list[Event]]:
    """Return the events of a part of a turn, or that its memory was short or its job failed."""
    reason = ""
    try:
        return (yield from part)
    except MemoryError:
        pass
    except ModelError as error:
        reason = str(error)
    # Only here is all of the part's memory free again.
    return [_failed(store, task_id, name, reason)]


def _failed(store: Store, task_id: str | None, name: str, reason: str = "") -> Event:
    """Note that a turn failed at a task or at none, by default since its memory was short."""
    gc.collect()
    reason = reason or too_much()
    with some_more_memory():  # to say so
        failures.failed(store, task_id, reason)
        wait = failures.waits(failures.read(store), store.clock())[task_id]
        return Event(name, "trouble", wait.message)
