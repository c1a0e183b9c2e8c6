"""One turn of the live loop: curate, audit, judge who shadows, train anew where it pays.

In live traffic a student trains on every label so far and then shadows: it is judged, by tests that
may be looked at again and again, on the exchanges that arrive afterwards. The first attempt on a
task holds out its latest quarter, so that its student can be judged at once.
"""

import gc
import time
from collections.abc import Sequence

import numpy as np

from openwheel.errors import (
    EngineError,
    PolicyError,
    SettingError,
    StudentFileError,
    TeacherError,
)
from openwheel.gate import Certificate, Judgement, clopper_pearson
from openwheel.loop import explain, starts
from openwheel.loop.audit.book import changed_after, slice_changes, slices_off
from openwheel.loop.audit.look import audit, first_plan
from openwheel.loop.calibrate import Calibrated, calibrate, write_certificate
from openwheel.loop.candidate import Trained, save_candidate, train_best
from openwheel.loop.corrections import corrected, corrected_inputs
from openwheel.loop.curate import curate
from openwheel.loop.data import TaskData, load_answers
from openwheel.loop.learn import FEWEST_LABELLED, split
from openwheel.loop.limits import some_more_memory, too_much
from openwheel.loop.progress import Progress, silent
from openwheel.loop.promotions import Promotion
from openwheel.loop.recent import worth_training_on
from openwheel.loop.registry import Candidate, Event, Registry, Turn
from openwheel.loop.settings import LoopSettings
from openwheel.loop.slices import SliceChange
from openwheel.loop.subject import Subject, believed_by, subject_of, why_left
from openwheel.loop.teachers.book import changed_since
from openwheel.loop.teachers.notice import judged_anew, notice
from openwheel.loop.tools import NO_TOOLS, Tools
from openwheel.traffic import OrderEvidence, Store, order_evidence
from openwheel.trust import Policy

FEWEST_TO_TRAIN = 200
"""Labelled exchanges before a first training: with fewer, half would be held out of very little."""

GROWTH = 1.25
"""A task is trained anew when its labelled exchanges have grown by this factor."""

AGAIN = 2.0
"""For a slice that audits took off it is trained again when the labels since have so grown."""

BETTER = 0.03
"""A new student must be predicted to cover this much more than the promoted one to be tried."""

MUCH_BETTER = 0.1
"""And this much more than one that is shadowing: its evidence would be lost, and delta spent."""

STALLED = 1.25
"""A shadow that had this much more evidence than it was predicted to need is given up."""

WIDER = 0.02
"""A promoted student gets a new certificate when it is for this much more coverage."""

EVIDENT = 0.99
"""Level of the interval by which a student is given up that an earlier teacher taught."""

ALL_TASKS = "all tasks"
"""Whom an event is about that is about no task in particular."""

UNLIKELY = "training predicts that no threshold would pass soon; no share of delta was spent"

PATIENCE = 3.0
"""A student shadows if it is predicted to pass before the traffic has grown by this factor."""


def turn(
    store: Store,
    settings: LoopSettings,
    *,
    after: int = 0,
    tools: Tools = NO_TOOLS,
    by_hand: bool = True,
    progress: Progress = silent,
) -> Turn:
    """Run one turn.

    Args:
        store: The traffic, which may grow meanwhile.
        settings: What the user decides.
        after: What :attr:`Turn.looked_at` was the last time, 0 at first.
        tools: What rungs need from outside.
        by_hand: Whether a person wants it now; else tasks wait at which turns failed.
        progress: Told what is being done.
    """
    started = time.monotonic()
    registry = Registry(store)
    starts.begin(store)
    done: Turn | None = None
    try:
        done = _turn(
            store, registry, settings, after=after, tools=tools, by_hand=by_hand, progress=progress
        )
    except (KeyboardInterrupt, SystemExit):
        starts.forget(store)  # stopped, which is no failure
        raise
    except MemoryError:
        gc.collect()
    # Only here is everything free again that the turn had taken.
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
    tools: Tools,
    by_hand: bool,
    progress: Progress,
) -> Turn:
    progress("finding tasks")
    looked_at = curate(store, registry, after=after)
    events = audit(store, registry, settings, tools, until=looked_at)
    events += veto(registry, settings.policy)
    counts = store.task_counts()
    waits = starts.waits(starts.failures(store), time.time())
    for record in registry.tasks():
        if not counts.get(record.task.id):
            continue
        if reason := why_left(record, settings):
            events.append(Event(record.task.name, "left", reason))
            continue
        wait = waits.get(record.task.id)
        if wait is not None and wait.seconds > 0 and not by_hand:
            events.append(Event(record.task.name, "trouble", wait.said))
            continue
        progress(f"task {record.task.name}: {counts[record.task.id]:,} exchanges")
        starts.at_task(store, record.task.id)
        try:
            subject = subject_of(registry, record, settings, tools)
            events += _turn_task(store, registry, subject, progress)
            short = False
        except (EngineError, SettingError, TeacherError) as error:
            events.append(Event(record.task.name, "trouble", str(error)))  # others go on
            short = False
        except MemoryError:
            short = True
        if short:
            events.append(_short_of_memory(store, record.task.id, record.task.name))
        elif wait is not None:  # it failed before, and went well now
            starts.passed(store, record.task.id)
    return Turn(looked_at, tuple(events))


def _short_of_memory(store: Store, task_id: str | None, name: str) -> Event:
    reason = too_much()
    with some_more_memory():  # to say so
        if task_id is None:
            starts.forget(store)
        starts.failed(store, task_id, reason)
        wait = starts.waits(starts.failures(store), time.time())[task_id]
        return Event(name, "trouble", wait.said)


def veto(registry: Registry, policy: Policy) -> list[Event]:
    """Take off every promoted student that the policy, as it is now, would not let be promoted."""
    names = {record.task.id: record.task.name for record in registry.tasks()}
    events = []
    for task_id, promotion in registry.promotions().items():
        if promotion.certificate is None:
            continue
        made_of = registry.candidate(promotion.certificate.student).made_of()
        decision = policy.may_promote(made_of)
        if not decision.allowed:
            registry.demote(task_id, by="policy", reason=str(decision))
            events.append(Event(names[task_id], "demoted", str(decision)))
    return events


def _turn_task(
    store: Store,
    registry: Registry,
    subject: Subject,
    progress: Progress,
) -> list[Event]:
    record, settings = subject.record, subject.settings
    task_id, name = record.task.id, record.task.name
    data = load_answers(store, task_id, record.form, policy=settings.policy)
    vetoed = [Event(name, "vetoed", text) for text in explain.left_out(data.left_out)]
    # Who answered what may judge and train is looked at first, so that no evidence on one teacher
    # speaks for another.
    until = int(data.seq.max(initial=0))
    vetoed += notice(store, registry, settings, until=until, task_id=task_id)
    promotion = registry.promotions().get(task_id)
    seen = promotion.id if promotion else 0
    if promotion is None:
        order = _order(data)
        if not order.in_order:
            return [*vetoed, Event(name, "waiting", order.reason)]
    current = promotion.certificate if promotion else None
    events = vetoed
    # After a change for the worse, what counts is what came since.
    changed = max(changed_after(store, task_id), changed_since(store, task_id))
    slices = slice_changes(registry, task_id, after=changed)
    off = [change for change in slices if change.slice in slices_off(registry, task_id)]
    shadow = _shadow(registry, task_id, off)
    hoped = 0.0
    # With a slice off it waits for a successor: a certificate on all of its slices would speak of
    # answers that it does not give.
    if current is not None and shadow is None and not off:
        events += _widen(registry, subject, current, data, seen)
    if shadow is not None:
        found, hoped = _judge_shadow(registry, subject, shadow, data, seen)
        events += found
        if found[-1].kind == "promoted":
            return events
    stale = int((data.seq <= changed).sum())
    needed = max(FEWEST_TO_TRAIN, FEWEST_LABELLED, GROWTH * max(record.trained_on - stale, 0))
    anew = any(_enough_since(change, data, record.trained_on) for change in off)
    if len(data) - stale < needed and not anew:
        if shadow is None and current is None:
            reason = (
                f"{len(data):,} labelled exchanges; the next training is at "
                f"{stale + int(np.ceil(needed)):,}"
            )
            events.append(Event(name, "waiting", reason))
        return events
    # Only a first attempt holds anything out. When a later one comes depends on what the shadow
    # before it was seen to do, on exchanges that must therefore not judge again: it trains on
    # every label, and shadows what comes.
    first = record.attempts == 0
    training, calibration = split(data) if first else (data, data.take(np.arange(0)))
    training = worth_training_on(subject, training, changed, slices)
    trained_until = int(training.seq.max())
    training = corrected(store, record, training)
    trained = train_best(
        subject,
        training,
        calibration.inputs,
        expected=len(data) // 2,
        anytime=True,
        progress=progress,
        trouble=lambda text: events.append(Event(name, "trouble", text)),
    )
    before = max(_coverage_left(registry, promotion), hoped)
    why_not = UNLIKELY if trained is None else _why_not_tried(trained, before)
    if trained is None or why_not:
        registry.set_trained_on(task_id, len(data))
        return [*events, Event(name, "waiting", why_not)]
    try:
        subject = believed_by(subject, training)
        candidate = save_candidate(
            registry,
            subject,
            trained,
            training,
            trained_until=trained_until,
            method="anytime",
        )
    finally:
        # Only now: a turn killed before has trained nobody, and its task need not grow first.
        registry.set_trained_on(task_id, len(data))
    candidate, told = judged_anew(store, settings, name, candidate)
    event, _, _ = _judge(registry, subject, candidate, data, seen)
    return [*events, *told, event]


def _why_not_tried(trained: Trained, before: float) -> str:
    """Say why a student is not tried, ``""`` if it is.

    Args:
        trained: The student.
        before: The share that is covered without it.
    """
    if trained.growth is None or trained.growth > PATIENCE:
        return UNLIKELY
    if trained.coverage < before + BETTER:
        return (
            f"a new student is predicted to cover {trained.coverage:.1%}, too little more than "
            "the one before; no share of delta was spent"
        )
    return ""


def _shadow(registry: Registry, task_id: str, off: Sequence[SliceChange]) -> Candidate | None:
    """Return who shadows; one that learned a slice before it changed is dropped with its evidence.

    Promoted for the rest of the traffic, it would answer a slice that audits have just taken off.
    """
    shadows = [found for found, _, _ in registry.candidates(task_id=task_id, state="shadow")]
    if not shadows:
        return None
    shadow = shadows[-1]
    for change in off:
        if shadow.trained_until <= change.after_seq and change.slice not in shadow.slicer.deferred:
            registry.set_state(shadow.id, "replaced")
            return None
    return shadow


def _enough_since(change: SliceChange, data: TaskData, trained_on: int) -> bool:
    """Return whether there are enough labels to train anew for a slice that audits took off.

    At first as many as for a first training, not all of other slices. After that twice as many
    each time: the rest of the task is well, and waits for its growth.
    """
    since = data.seq > change.after_seq
    fresh, stale = int(since.sum()), int((~since).sum())
    if fresh < max(FEWEST_TO_TRAIN, AGAIN * max(trained_on - stale, 0)):
        return False
    inside = sum(change.is_in(data.inputs[row]) for row in np.flatnonzero(since))
    return inside >= FEWEST_LABELLED


def _order(data: TaskData) -> OrderEvidence:
    """Judge the order of what was imported; a gateway's exchanges are kept as they came.

    Their times do not show it: many are answered at once, and clocks are set.
    """
    logged = data.take(np.flatnonzero([not origin.teacher for origin in data.origins]))
    times = logged.time if (logged.time > 0).all() else None
    return order_evidence(logged.answers, times)


def _coverage_left(registry: Registry, promotion: Promotion | None) -> float:
    """Return what the promoted student covers, without the slices that audits took off."""
    if promotion is None or promotion.certificate is None:
        return 0.0
    certificate = promotion.certificate
    plan = registry.plans().get(promotion.since)
    answered = sum(part.answered for part in certificate.slices)
    if plan is None or not plan.deferred or not answered:
        return certificate.coverage
    off = sum(part.answered for part in certificate.slices if part.name in plan.deferred)
    return certificate.coverage * (1 - off / answered)


def _promote(
    registry: Registry, subject: Subject, certificate: Certificate, reason: str, seen: int
) -> bool:
    """Promote, unless an audit or a person changed who is promoted since it was decided.

    Raises:
        PolicyError: It may not be promoted.
    """
    plan = first_plan(subject.settings, subject.record.task.name, by_hand=False)
    return registry.promote(
        certificate,
        by="turn",
        reason=reason,
        audit=plan.audit,
        canary=plan.canary,
        policy=subject.settings.policy,
        seen=seen,
    )


def _widen(
    registry: Registry, subject: Subject, current: Certificate, data: TaskData, seen: int
) -> list[Event]:
    """Judge the promoted student again on all evidence so far: it may be allowed to answer more.

    Only one that shadowed: its tests may be looked at again, those of an offline gate may not.
    """
    candidate = registry.candidate(current.student)
    if candidate.method != "anytime":
        return []
    try:
        calibrated, certificate = _certify(registry, subject, candidate, data)
    except StudentFileError:
        return []  # said by every gateway that serves it
    if certificate is None or certificate.coverage < current.coverage + WIDER:
        return []
    reason = explain.passed(calibrated.judgement, candidate)
    if not _promote(registry, subject, certificate, reason, seen):
        registry.certify(certificate)
        return []
    return [Event(subject.record.task.name, "promoted", f"more of the traffic. {reason}")]


def _certify(
    registry: Registry, subject: Subject, candidate: Candidate, data: TaskData
) -> tuple[Calibrated, Certificate | None]:
    """Judge a candidate on the unbiased exchanges after its training; write what it earned.

    Those from before a change of the teacher are no evidence.

    Raises:
        StudentFileError: Its files cannot be loaded.
    """
    before = data.seq <= candidate.trained_until
    seen = data.take(np.flatnonzero(before)).inputs
    calibrated = calibrate(
        candidate,
        registry.load(candidate, subject.tools),
        [*seen, *corrected_inputs(registry, candidate)],
        data.take(np.flatnonzero(~before & (data.seq > candidate.judged_after) & data.unbiased)),
        comparison=subject.comparison,
        request_of=subject.request_of,
    )
    if calibrated.judgement.chosen is None:
        return calibrated, None
    return calibrated, write_certificate(subject.record.task, candidate, calibrated)


def _judge_shadow(
    registry: Registry, subject: Subject, shadow: Candidate, data: TaskData, seen: int
) -> tuple[list[Event], float]:
    """Judge who has been shadowing, and give it up if that is in vain.

    Returns:
        What came of it, that of the judging last, and the coverage that a new student would have
        to beat.
    """
    shadow, events = judged_anew(registry.store, subject.settings, subject.record.task.name, shadow)
    event, evidence, hopeless = _judge(registry, subject, shadow, data, seen)
    events.append(event)
    if event.kind == "promoted":
        return events, 0.0
    if evidence < STALLED * shadow.enough and not hopeless:
        return events, shadow.coverage + MUCH_BETTER - BETTER
    registry.set_state(shadow.id, "refused")
    return events, 0.0


def _judge(
    registry: Registry, subject: Subject, candidate: Candidate, data: TaskData, seen: int
) -> tuple[Event, int, bool]:
    """Judge who shadows on all evidence so far, and promote the moment it suffices.

    Returns:
        What came of it, how much independent evidence there was, and whether that speaks so much
        against it that waiting for more is in vain.
    """
    record = subject.record
    name = record.task.name
    try:
        calibrated, certificate = _certify(registry, subject, candidate, data)
    except StudentFileError as error:
        registry.set_state(candidate.id, "refused")
        registry.set_trained_on(record.task.id, 0)
        return Event(name, "waiting", f"the shadowing student was dropped: {error}"), 0, False
    judgement = calibrated.judgement
    if certificate is None:
        reason = f"{candidate.rung}: {judgement.n:,} independent exchanges seen so far"
        if judgement.best is not None and judgement.best.p_value < 1:
            reason += (
                f"; the nearest threshold answered {judgement.best.answered:,} and disagreed on "
                f"{judgement.best.disagreements:,}"
            )
        return Event(name, "shadowing", reason), judgement.n, _hopeless(judgement, candidate)
    reason = explain.passed(judgement, candidate)
    promotion = registry.promotions().get(record.task.id)
    if promotion is not None and promotion.certificate is None and promotion.by == "user":
        registry.certify(certificate)
        reason += " It was taken off by hand: promote it by hand."
        return Event(name, "waiting", reason), judgement.n, False
    try:
        if not _promote(registry, subject, certificate, reason, seen):
            registry.certify(certificate)
            reason = "certified and not promoted: audits changed who is promoted meanwhile"
            return Event(name, "waiting", reason), judgement.n, False
    except PolicyError as error:
        registry.certify(certificate)
        return Event(name, "waiting", f"certified and not promoted: {error}"), judgement.n, False
    return Event(name, "promoted", reason), judgement.n, False


def _hopeless(judgement: Judgement, candidate: Candidate) -> bool:
    """Whether a student that another teacher taught evidently disagrees with the one there is.

    To give one up that might have passed breaks no promise; to wait for it costs a teacher's call
    for each request.
    """
    best = judgement.best
    if not candidate.judged_after or best is None or not best.answered:
        return False
    low, _ = clopper_pearson(int(best.loss), best.answered, EVIDENT)
    return low > candidate.epsilon
