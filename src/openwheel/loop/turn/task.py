"""One task's part of a turn: judge who shadows, and train anew where that pays."""

import numpy as np

from openwheel.gate.order import OrderEvidence, order_evidence
from openwheel.loop.audit.records import (
    SliceChange,
    changed_after,
    coverage_now,
    slice_changes,
    slices_off,
)
from openwheel.loop.data import TaskData, load_answers
from openwheel.loop.drift.check import judged_anew, notice
from openwheel.loop.drift.records import changed_since
from openwheel.loop.feedback.corrections import corrected
from openwheel.loop.offline.learn import FEWEST_LABELLED, split
from openwheel.loop.records import Event
from openwheel.loop.registry import Registry
from openwheel.loop.subject import Subject, believed_by
from openwheel.loop.turn import explain
from openwheel.loop.turn.choose import Trained, save_candidate, train_best
from openwheel.loop.turn.other_folds import compared_otherwise
from openwheel.loop.turn.recent import worth_training_on
from openwheel.loop.turn.shadow import BETTER, judge, judge_shadow, who_shadows, widen
from openwheel.progress import Progress
from openwheel.store import Store

FEWEST_TO_TRAIN = 200
"""Labelled exchanges before a first training: with fewer, half would be held out of very little."""

GROWTH = 1.25
"""A task is trained anew when its labelled exchanges have grown by this factor."""

FIRST_GROWTH, FEW_LABELS = 1.05, 5_000
"""The same before a first attempt, up to so many labels: training is quick, and nobody answers."""

AGAIN = 2.0
"""For a slice that audits took off it is trained again when the labels since have so grown."""

ONE_LOOK = 0.5
"""Share of a first attempt's delta for one look at the exchanges that were held out from it. One
look needs fewer than looks at any time do; the rest is for those."""

UNTRAINED = "no student could be trained; no share of delta was spent."
UNLIKELY = "training predicts that no threshold would pass soon; no share of delta was spent."

WORTH_A_FIRST, FEWEST_VOTES = 0.6, 250
"""A first attempt comes when its one look, at so many votes or more, is likely to pass at a
coverage that is this share of what the student gets right. With few labels students get better
quickly, and with few votes the outcome hangs on one or two disagreements: a student that was tried
too early spends delta, and stands in the way of those after it."""

PATIENCE = 2.0
"""A student shadows if it is predicted to pass before the traffic has grown by this factor. Were it
to take longer, one that is trained on twice the labels passes as soon, and covers more."""


def turn_task(
    store: Store,
    registry: Registry,
    subject: Subject,
    progress: Progress,
    *,
    until: int,
) -> list[Event]:
    """Take a task's part of a turn; return what came of it.

    Args:
        store: The traffic.
        registry: Of the same store.
        subject: The task, with what the user decides about it.
        progress: Told what is being done.
        until: Nothing after this exchange: up to it tasks were looked for. Of what came since, a
            learner that looks beside the turn may have assigned some, and would leave a gap.

    Raises:
        OpenwheelError: An engine, a teacher that judges or a setting cannot be used.
    """
    record, settings = subject.record, subject.settings
    task_id, name = record.task.id, record.task.name
    data = load_answers(
        store, task_id, record.form, record.folds, until=until, policy=settings.policy
    )
    events = [Event(name, "vetoed", text) for text in explain.left_out(data.left_out)]
    # Who answered what may judge and train is looked at first, so that no evidence on one teacher
    # speaks for another.
    newest = int(data.seq.max(initial=0))
    events += notice(store, registry, settings, until=newest, task_id=task_id)
    # Among those whom that had shadow anew may be one whose answers were compared otherwise.
    events += compared_otherwise(registry, record)
    given_up = _critical_anew(registry, subject)
    events += given_up
    trained_on = 0 if given_up else record.trained_on
    promotion = registry.promotions().get(task_id)
    seen = promotion.id if promotion else 0
    if promotion is None:
        order = _order(data)
        if not order.in_order:
            return [*events, Event(name, "waiting", order.reason)]
    current = promotion.certificate if promotion else None
    # After a change for the worse, what counts is what came since.
    changed = max(changed_after(store, task_id), changed_since(store, task_id))
    slices = slice_changes(registry, task_id, after=changed)
    off = [change for change in slices if change.slice in slices_off(registry, task_id)]
    shadow = who_shadows(registry, task_id, off)
    hoped = 0.0
    # With a slice off it waits for a successor: a certificate on all of its slices would speak of
    # answers that it does not give. Nor does what it did before evidence took it off earn anything.
    overridden = promotion is not None and promotion.against_evidence
    if current is not None and shadow is None and not off and not overridden:
        events += widen(registry, subject, current, data, seen)
    if shadow is not None:
        found, hoped = judge_shadow(registry, subject, shadow, data, seen)
        events += found
        if found[-1].kind == "promoted":
            return events
    stale = int((data.trains & (data.seq <= changed)).sum())
    labelled = int(data.trains.sum())
    growth = GROWTH if record.attempts or labelled > FEW_LABELS else FIRST_GROWTH
    needed = max(FEWEST_TO_TRAIN, FEWEST_LABELLED, growth * max(trained_on - stale, 0))
    anew = any(_enough_since(change, data, trained_on) for change in off)
    if labelled - stale < needed and not anew:
        if shadow is None and current is None:
            reason = (
                f"{labelled:,} labelled exchanges; the next training is at "
                f"{stale + int(np.ceil(needed)):,}"
            )
            events.append(Event(name, "waiting", reason))
        return events
    hoped = max(coverage_now(registry, promotion), hoped)
    training = worth_training_on(subject, data.to_train(), changed, slices)
    return [
        *events,
        *_train_anew(
            registry, subject, data, training, covered=hoped, seen=seen, progress=progress
        ),
    ]


def _critical_anew(registry: Registry, subject: Subject) -> list[Event]:
    """Give up students that do not leave to the teacher what the user named as critical since."""
    task_id, name = subject.record.task.id, subject.record.task.name
    promotion = registry.promotions().get(task_id)
    current = promotion.certificate if promotion else None
    shadows = [found for found, _, _ in registry.candidates(task_id=task_id, state="shadow")]
    events = []
    promoted = [registry.candidate(current.student)] if current is not None else []
    for candidate in promoted + shadows:
        named = subject.as_certified(candidate).critical
        missing = [repr(text) for text in named if text not in candidate.critical]
        if not missing:
            continue
        reason = (
            f"tasks.{name}.critical names {', '.join(missing)}, of which the student does not "
            "know; one that leaves those to the teacher is trained"
        )
        registry.set_state(candidate.id, "replaced")
        registry.set_trained_on(task_id, 0)
        if current is not None and candidate.id == current.student:
            registry.demote(task_id, by="turn", reason=reason)
            events.append(Event(name, "demoted", reason))
        else:
            events.append(Event(name, "waiting", reason))
    return events


def _train_anew(
    registry: Registry,
    subject: Subject,
    data: TaskData,
    kept: TaskData,
    *,
    covered: float,
    seen: int,
    progress: Progress,
) -> list[Event]:
    """Train a student and judge it at once; return what came of it.

    Only a first attempt holds anything out. When a later one comes depends on what the shadow
    before it was seen to do, on exchanges that must therefore not judge again: it trains on every
    label, and shadows what comes.

    Args:
        registry: Of the store.
        subject: The task.
        data: Its exchanges.
        kept: Those that are worth training on.
        covered: The share of requests that a new student has to beat.
        seen: The promotion that is expected to be the task's still.
        progress: Told what is being done.
    """
    record, settings, events = subject.record, subject.settings, list[Event]()
    task_id, name = record.task.id, record.task.name
    first, labelled = record.attempts == 0, int(data.trains.sum())
    share = ONE_LOOK if first else 1.0
    before, calibration = data, data.take(np.arange(0))
    if first:
        before, calibration = split(data)
        kept = kept.take(np.flatnonzero(kept.seq <= before.seq.max(initial=0)))
    if not len(kept):
        registry.set_trained_on(task_id, labelled)
        return [Event(name, "waiting", UNLIKELY + explain.in_the_way(subject, data))]
    trained_until = int(kept.seq.max())
    untrained = data.to_count()
    inside = (untrained.seq >= kept.seq.min()) & (untrained.seq <= trained_until)
    training = corrected(registry.store, record, kept)
    progress(f"task {name}: training on {len(training):,}")
    trained = train_best(
        subject,
        training,
        untrained.take(np.flatnonzero(inside)),
        calibration.inputs,
        expected=0 if first else len(data) // 2,
        anytime=True,
        share=share,
        progress=progress,
        trouble=lambda text: events.append(Event(name, "trouble", text)),
    )
    why_not = UNTRAINED if trained is None else _why_not_tried(trained, covered, first=first)
    if trained is None or why_not:
        registry.set_trained_on(task_id, labelled)
        in_the_way = explain.in_the_way(subject, before)
        return [*events, Event(name, "waiting", why_not + in_the_way)]
    try:
        subject = believed_by(subject, training)
        candidate = save_candidate(
            registry,
            subject,
            trained,
            training,
            trained_until=trained_until,
            method="anytime",
            share=share,
        )
    finally:
        # Only now: a turn killed before has trained nobody, and its task need not grow first.
        registry.set_trained_on(task_id, labelled)
    candidate, told = judged_anew(registry.store, settings, name, candidate)
    event, _, _ = judge(registry, subject, candidate, data, seen, one_look=first)
    return [*events, *told, event]


def _why_not_tried(trained: Trained, before: float, *, first: bool) -> str:
    """Say why a student is not tried, ``""`` if it is.

    Args:
        trained: The student.
        before: The share that is covered without it.
        first: Whether it would be judged by one look.
    """
    worth = trained.coverage >= WORTH_A_FIRST * trained.agreement > 0
    likely = first and worth and trained.evidence >= FEWEST_VOTES
    if not likely and (trained.growth is None or trained.growth > PATIENCE):
        return UNLIKELY
    if trained.coverage < before + BETTER:
        return (
            f"a new student is predicted to cover {trained.coverage:.1%}, too little more than "
            "the one before; no share of delta was spent."
        )
    return ""


def _enough_since(change: SliceChange, data: TaskData, trained_on: int) -> bool:
    """Return whether there are enough labels to train anew for a slice that audits took off.

    At first as many as for a first training, not all of other slices. After that twice as many
    each time: the rest of the task is well, and waits for its growth.
    """
    since = data.trains & (data.seq > change.after_seq)
    fresh, stale = int(since.sum()), int((data.trains & ~since).sum())
    if fresh < max(FEWEST_TO_TRAIN, AGAIN * max(trained_on - stale, 0)):
        return False
    inside = sum(change.is_in(data.inputs[row]) for row in np.flatnonzero(since))
    return inside >= FEWEST_LABELLED


def _order(data: TaskData) -> OrderEvidence:
    """Judge the order of what was imported; a gateway's exchanges are kept as they came.

    Their times do not show it: many are answered at once, and clocks are set.
    """
    logged = data.take(
        np.flatnonzero(data.trains & [not origin.teacher for origin in data.origins])
    )
    times = logged.time if (logged.time > 0).all() else None
    return order_evidence(logged.answers, times)
