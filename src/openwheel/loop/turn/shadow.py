"""Who shadows: judged on what came since its training, promoted the moment that suffices.

Its tests may be looked at again and again, and those of a promoted student that shadowed go on.
"""

from collections.abc import Sequence

import msgspec
import numpy as np

from openwheel.errors import (
    PolicyError,
    StudentFileError,
)
from openwheel.gate import Certificate, Judgement, clopper_pearson
from openwheel.gate.judge import Method
from openwheel.loop.audit.policy import first_plan
from openwheel.loop.audit.records import LATEST, SliceChange
from openwheel.loop.data import TaskData
from openwheel.loop.drift.check import judged_anew
from openwheel.loop.feedback.corrections import corrected_inputs
from openwheel.loop.records import Candidate, Event
from openwheel.loop.registry import Registry
from openwheel.loop.subject import Subject
from openwheel.loop.turn import explain
from openwheel.loop.turn.certify import Calibrated, calibrate, write_certificate
from openwheel.students import rungs

BETTER = 0.03
"""A new student must be predicted to cover this much more than the promoted one to be tried."""

MUCH_BETTER = 0.1
"""And this much more than one that is shadowing: its evidence would be lost, and delta spent."""

NEAR = 0.5
"""A shadow that has this share of the evidence it needs is not replaced: a better one comes sooner
after it, with more labels."""

STALLED = 1.25
"""A shadow that had this much more evidence than it was predicted to need is given up."""

WIDER = 0.02
"""A promoted student is certified for more when that is this much more of the latest requests."""

MOST_DEFERRED = 5_000
"""Deferred requests that are evidence on a student, the first that came after its training: it
answers them all again at each look. One that writes its answers would take hours, and has none."""

EVIDENT = 0.99
"""Level of the interval by which a student is given up that an earlier teacher taught."""


def who_shadows(registry: Registry, task_id: str, off: Sequence[SliceChange]) -> Candidate | None:
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


def judge_shadow(
    registry: Registry, subject: Subject, shadow: Candidate, data: TaskData, seen: int
) -> tuple[list[Event], float]:
    """Judge who has been shadowing, and give it up if that is in vain.

    Returns:
        What came of it, that of the judging last, and the coverage that a new student would have
        to beat.
    """
    shadow, events = judged_anew(registry.store, subject.settings, subject.record.task.name, shadow)
    event, evidence, hopeless = judge(registry, subject, shadow, data, seen)
    events.append(event)
    if event.kind == "promoted":
        return events, 0.0
    if evidence < STALLED * shadow.enough and not hopeless:
        near = evidence >= NEAR * shadow.enough
        return events, 1.0 if near else shadow.coverage + MUCH_BETTER - BETTER
    registry.set_state(shadow.id, "refused")
    return events, 0.0


def widen(
    registry: Registry, subject: Subject, current: Certificate, data: TaskData, seen: int
) -> list[Event]:
    """Judge the promoted student again on all evidence so far: it may be allowed to answer more.

    Only one that shadowed: its tests may be looked at again, those of an offline gate may not.
    """
    candidate = registry.candidate(current.student)
    if candidate.method != "anytime" or not candidate.compares(subject.record):
        return []
    try:
        calibrated, certificate = _certify(registry, subject, candidate, data)
    except StudentFileError:
        return []  # said by every gateway that serves it
    if certificate is None:
        return []
    # What it would answer, and what it may, of the same latest requests.
    latest = calibrated.confidence[-LATEST:]
    more = (latest >= certificate.threshold).mean() - (latest >= current.threshold).mean()
    if more < WIDER:
        return []
    reason = explain.passed(calibrated.judgement, candidate)
    if not _promote(registry, subject, certificate, reason, seen):
        registry.certify(certificate)
        return []
    return [Event(subject.record.task.name, "promoted", f"more of the traffic. {reason}")]


def judge(
    registry: Registry,
    subject: Subject,
    candidate: Candidate,
    data: TaskData,
    seen: int,
    *,
    one_look: bool = False,
) -> tuple[Event, int, bool]:
    """Judge who shadows on all evidence so far, and promote the moment it suffices.

    Args:
        registry: Of the store.
        subject: The task.
        candidate: Who shadows.
        data: The task's exchanges.
        seen: The promotion that is expected to be the task's still.
        one_look: Whether a share of delta like that of the anytime tests is for one look at the
            evidence there is now. That may be taken once.

    Returns:
        What came of it, how much independent evidence there was, and whether that speaks so much
        against it that waiting for more is in vain.
    """
    record = subject.record
    name = record.task.name
    try:
        certificate = None
        if one_look:
            method: Method = "betting" if subject.bounded else "binomial"
            calibrated, certificate = _certify(registry, subject, candidate, data, method)
        if certificate is None:
            calibrated, certificate = _certify(registry, subject, candidate, data)
    except StudentFileError as error:
        registry.set_state(candidate.id, "refused")
        registry.set_trained_on(record.task.id, 0)
        return Event(name, "waiting", f"the shadowing student was dropped: {error}"), 0, False
    judgement = calibrated.judgement
    if certificate is None:
        reason = f"{candidate.rung}: {judgement.n:,} exchanges seen so far, a burst counted once"
        if judgement.vetoed:
            reason += f"; {explain.vetoed(judgement, candidate)}"
        elif judgement.best is not None and judgement.best.p_value < 1:
            reason += (
                f"; the nearest threshold answered {judgement.best.answered:,} and disagreed on "
                f"{judgement.best.disagreements:,}"
            )
        return Event(name, "shadowing", reason), judgement.n, _hopeless(judgement, candidate)
    reason = " ".join([explain.passed(judgement, candidate), *explain.remarks(certificate)])
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


def _certify(
    registry: Registry,
    subject: Subject,
    candidate: Candidate,
    data: TaskData,
    method: Method | None = None,
) -> tuple[Calibrated, Certificate | None]:
    """Judge a candidate on what came after its training; write what it earned.

    Evidence are unbiased exchanges and, by their weight, requests that a student deferred. Those
    from before a change of the teacher are none.

    Raises:
        StudentFileError: Its files cannot be loaded.
    """
    registry.judges(candidate.task_id, int(data.seq.max(initial=0)))
    remote = rungs()[candidate.rung].asked == "remote"  # takes seconds for each
    before = data.seq <= candidate.trained_until
    since = data.take(np.flatnonzero(~before & (data.seq > candidate.judged_after)))
    seen = data.take(np.flatnonzero(before & data.trains)).inputs
    calibrated = calibrate(
        candidate,
        registry.load(candidate, subject.resources),
        [*seen, *corrected_inputs(registry, candidate)],
        evidence(since, 0 if remote else MOST_DEFERRED),
        comparison=subject.as_certified(candidate).comparison,
        request_of=subject.request_of,
        method=method,
    )
    if calibrated.judgement.chosen is None:
        return calibrated, None
    return calibrated, write_certificate(subject.record.task, candidate, calibrated)


def evidence(data: TaskData, most: int) -> TaskData:
    """Return what is evidence among exchanges: unbiased ones, and the first deferred requests.

    After ``most`` deferred requests they are evidence no more, and what the audit picked counts in
    full, deferred or not. Each request is then expected to count for as much as before, so the
    tests stay what they are.
    """
    deferred = np.flatnonzero(~data.unbiased & (data.weight > 0))
    end = len(data)
    if len(deferred) >= most:
        end = int(deferred[most - 1]) + 1 if most else 0
    weight = np.where(np.arange(len(data)) < end, data.weight, data.unbiased)
    rows = np.flatnonzero(data.unbiased | (weight > 0))
    return msgspec.structs.replace(data, weight=weight).take(rows)


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
        expected_promotion=seen,
    )
