"""Judges shadows on the exchanges since their training, and promotes them.

The tests are anytime-valid: each turn may look again, and goes on after the promotion.
"""

import msgspec
import numpy as np

from openwheel.errors import (
    PolicyError,
    StudentFileError,
)
from openwheel.gate import Certificate, Judgement, clopper_pearson
from openwheel.gate.judge import Method
from openwheel.loop.audit.records import LATEST
from openwheel.loop.audit.shares import first_plan
from openwheel.loop.data import TaskData, inputs_of
from openwheel.loop.drift.check import of_this_teacher
from openwheel.loop.feedback.corrections import corrected_inputs
from openwheel.loop.records import Candidate
from openwheel.loop.turn import explain
from openwheel.loop.turn.certify import Calibrated, calibrate, write_certificate
from openwheel.loop.turn.state import TaskState
from openwheel.students import rungs

BETTER = 0.03
"""A new student must be predicted to cover this much more than the promoted one to be tried."""

MUCH_BETTER = 0.1
"""And this much more than one that is shadowing, whose evidence would be lost and delta spent."""

NEAR = 0.5
"""A shadow that has this share of the evidence it needs is not replaced: a better one comes sooner
after it, with more labels."""

STALLED = 1.25
"""A shadow that had this much more evidence than it was predicted to need is given up."""

WIDER = 0.02
"""A promoted student is certified for more if that adds this share of the latest requests."""

MOST_DEFERRED = 5_000
"""Deferred requests that are evidence on a student, the first that came after its training: it
answers them all again at each look. One that writes its answers would take hours, and has none."""

EVIDENT = 0.99
"""Level of the interval by which a student is given up that an earlier teacher taught."""


def find_shadow(state: TaskState) -> None:
    """Find the shadow; one that learned a slice before the slice changed is dropped.

    Promoted for the rest of the traffic, it would answer a slice that audits have just taken off.
    """
    shadows = state.registry.candidates(task_id=state.task_id, state="shadow")
    if not shadows:
        return
    shadow, _, _ = shadows[-1]
    for change in state.changes.off:
        if shadow.trained_until <= change.after_seq and change.slice not in shadow.slicer.deferred:
            state.registry.set_state(shadow.id, "replaced")
            return
    state.shadow = shadow


def widen(state: TaskState) -> None:
    """Judge the promoted student again on all evidence so far, for a certificate to answer more.

    Only for a student that shadowed: its tests may be repeated, those of an offline gate may not.
    Only while no student shadows and no slice is off: a certificate on all slices would count
    answers that the student does not give. Evidence from before evidence took it off does not
    count.
    """
    current, promotion = state.certificate, state.promotion
    if current is None or promotion is None or state.shadow is not None or state.changes.off:
        return
    candidate = state.registry.candidate(current.student)
    compares = candidate.compares(state.subject.record, state.subject.by_field)
    can_widen = candidate.method == "anytime" and compares
    if promotion.against_evidence or not can_widen:
        return
    try:
        calibrated, certificate = _certify(state, candidate)
    except StudentFileError:
        return  # every gateway that serves it logs this
    if certificate is None:
        return
    # What it would answer, and what it may, of the same latest requests.
    latest = calibrated.confidence[-LATEST:]
    more = (latest >= certificate.threshold).mean() - (latest >= current.threshold).mean()
    if more < WIDER:
        return
    reason = explain.passed(calibrated.judgement, candidate)
    if _promote(state, certificate, reason):
        state.tell("promoted", f"more of the traffic. {reason}")
    else:
        state.registry.certify(certificate)


def judge_shadow(state: TaskState) -> None:
    """Judge the shadow, and give it up if more evidence is unlikely to help.

    Sets the coverage that a new student has to beat.
    """
    if state.shadow is None:
        return
    shadow = _of_this_teacher(state, state.shadow)
    evidence, hopeless = _judge(state, shadow)
    if state.over:
        return
    if evidence < STALLED * shadow.enough and not hopeless:
        near = evidence >= NEAR * shadow.enough
        state.to_beat = 1.0 if near else shadow.coverage + MUCH_BETTER - BETTER
        return
    reason = (
        "it evidently disagrees with the teacher that there is now"
        if hopeless
        else f"it had not passed after {evidence:,} votes; {shadow.enough:,} should have done"
    )
    state.registry.refuse(shadow, reason)


def judge_new(state: TaskState) -> None:
    """Judge the student that was just trained at one look, on held-out exchanges if any.

    That look is allowed once, for a share of delta like that of its anytime tests.
    """
    assert state.shadow is not None
    _judge(state, _of_this_teacher(state, state.shadow), one_look=state.one_look)


def _of_this_teacher(state: TaskState, shadow: Candidate) -> Candidate:
    """Return the shadow, to be judged anew if its teacher changed while it was judged."""
    settings = state.subject.settings
    shadow, events = of_this_teacher(state.registry.store, settings, state.name, shadow)
    state.events += events
    return shadow


def _judge(state: TaskState, candidate: Candidate, *, one_look: bool = False) -> tuple[int, bool]:
    """Judge the shadow on all evidence so far, and promote it if that suffices.

    Returns:
        How much independent evidence there was, and whether it is so bad that waiting for more is
        unlikely to help.
    """
    registry = state.registry
    try:
        certificate = None
        if one_look:
            method: Method = "betting" if state.subject.bounded else "binomial"
            calibrated, certificate = _certify(state, candidate, method)
        if certificate is None:
            calibrated, certificate = _certify(state, candidate)
    except StudentFileError as error:
        registry.refuse(candidate, str(error))
        registry.set_trained_on(state.task_id, 0)
        state.tell("waiting", f"the shadowing student was dropped: {error}")
        return 0, False
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
        state.tell("shadowing", reason)
        return judgement.n, _hopeless(judgement, candidate)
    reason = " ".join([explain.passed(judgement, candidate), *explain.remarks(certificate)])
    latest = registry.promotion(state.task_id)
    if latest is not None and latest.certificate is None and latest.by == "user":
        registry.certify(certificate)
        state.tell("waiting", f"{reason} It was taken off by hand: promote it by hand.")
        return judgement.n, False
    try:
        if _promote(state, certificate, reason):
            state.end("promoted", reason)
            return judgement.n, False
        why_not = "audits changed who is promoted meanwhile"
    except PolicyError as error:
        why_not = str(error)
    registry.certify(certificate)
    state.tell("waiting", f"certified and not promoted: {why_not}")
    return judgement.n, False


def _promote(state: TaskState, certificate: Certificate, reason: str) -> bool:
    """Promote, unless an audit or a person changed the promotion since the decision.

    Raises:
        PolicyError: It may not be promoted.
    """
    settings = state.subject.settings
    plan = first_plan(settings, state.name, by_hand=False)
    return state.registry.promote(
        certificate,
        by="turn",
        reason=reason,
        audit=plan.audit,
        canary=plan.canary,
        policy=settings.policy,
        expected_promotion=state.expected_promotion,
    )


def _hopeless(judgement: Judgement, candidate: Candidate) -> bool:
    """Return whether a student of another teacher evidently disagrees with the present one.

    To give it up breaks no promise; to wait for it costs a teacher's call for each request.
    """
    best = judgement.best
    if not candidate.judged_after or best is None or not best.answered:
        return False
    low, _ = clopper_pearson(int(best.loss), best.answered, EVIDENT)
    return low > candidate.epsilon


def _certify(
    state: TaskState, candidate: Candidate, method: Method | None = None
) -> tuple[Calibrated, Certificate | None]:
    """Judge a candidate on the exchanges after its training; write its certificate if it passes.

    The evidence is unbiased exchanges and, by their weight, requests that a student deferred, all
    since the last change of the teacher.

    Raises:
        StudentFileError: Its files cannot be loaded.
    """
    registry, subject, data = state.registry, state.subject, state.data.without(candidate.outside)
    registry.judges(candidate.task_id, state.newest)
    remote = rungs()[candidate.rung].asked == "remote"  # takes seconds for each
    before = data.seq <= candidate.trained_until
    since = data.take(np.flatnonzero(~before & (data.seq > candidate.judged_after)))
    seen = data.take(np.flatnonzero(before & data.trains)).inputs
    if candidate.inherited:
        seen = inputs_of(registry.store, candidate.inherited, until=candidate.trained_until)
    calibrated = calibrate(
        candidate,
        registry.load(candidate, subject.resources),
        [*seen, *corrected_inputs(registry, candidate)],
        evidence(since, 0 if remote else MOST_DEFERRED),
        comparison=subject.as_certified(candidate).comparison,
        request_of=subject.request_of,
        possible=subject.possible,
        method=method,
    )
    if calibrated.judgement.chosen is None:
        return calibrated, None
    return calibrated, write_certificate(subject.record.task, candidate, calibrated)


def evidence(data: TaskData, most: int) -> TaskData:
    """Return the evidence among exchanges: unbiased ones, and the first ``most`` deferred requests.

    Requests that the audit picked count in full, deferred or not. Each request is then expected to
    count for as much as before, so the tests do not change.
    """
    deferred = np.flatnonzero(~data.unbiased & (data.weight > 0))
    end = len(data)
    if len(deferred) >= most:
        end = int(deferred[most - 1]) + 1 if most else 0
    weight = np.where(np.arange(len(data)) < end, data.weight, data.unbiased)
    rows = np.flatnonzero(data.unbiased | (weight > 0))
    return msgspec.structs.replace(data, weight=weight).take(rows)
