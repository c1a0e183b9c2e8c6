"""Takes one look at the audits of every promoted student; the learner repeats it."""

import time

import msgspec

from openwheel.errors import SettingError, TeacherError
from openwheel.gate import Certificate
from openwheel.loop.audit import shares
from openwheel.loop.audit.query import (
    AT_ONCE,
    JUDGED_AT_ONCE,
    losses_of,
    news_of,
    read_audits,
    read_free,
    read_traffic,
    to_audits,
)
from openwheel.loop.audit.records import latest_state, read_state, write_step
from openwheel.loop.audit.shares import (
    Budget,
    audit_probability,
    canary_share,
    first_canary,
    has_moved,
    usual_share,
)
from openwheel.loop.audit.state import Alarm, AuditState, Spending, new_state, observe, with_news
from openwheel.loop.drift.check import check_teachers
from openwheel.loop.drift.self_disagreement import day_of, second_answers_cost
from openwheel.loop.judging import TeacherJudge
from openwheel.loop.leases import JUDGING, Leases, LeasesAlone
from openwheel.loop.records import AuditPlan, Candidate, Event, Promotion
from openwheel.loop.registry import Registry
from openwheel.loop.resources import NO_RESOURCES, Resources
from openwheel.loop.settings import LoopSettings
from openwheel.loop.subject import Subject, subject_of
from openwheel.store import Store

WORTH_WRITING = 1_000
"""Up to this many new exchanges without an audit are counted later, to save a write."""


class _Case(msgspec.Struct, frozen=True):
    """A promotion that is looked at."""

    promotion: Promotion
    certificate: Certificate
    candidate: Candidate
    subject: Subject
    plan: AuditPlan
    until: int


def audit(
    store: Store,
    registry: Registry,
    settings: LoopSettings,
    resources: Resources = NO_RESOURCES,
    *,
    leases: Leases | None = None,
    until: int | None = None,
) -> list[Event]:
    """Test the new audits of every promoted student, and act on the results.

    Each student's teacher is checked first: it must still be the one of the certificate.

    A student, or a slice of it, is taken off when they show disagreement evidently above epsilon.
    The tests may be repeated at any time. For a student that keeps its promise, the chance of
    ever being taken off by the rate since its promotion is at most delta, and the detector of
    changes errs less than once in `LoopSettings.audit_run_length` audits. Each look reads the
    new audits, and writes its results and their consequences in one transaction.

    Several learners may look at once: the first to write a look's results is the one that counts.
    Where a judge is paid for each answer, one looks at a time.

    Args:
        leases: Shares the work with other learners; None where there are no others.
        until: Nothing after this exchange: the newest that was assigned to its task; by default
            the newest there is.
    """
    rights = LeasesAlone(store) if leases is None else leases
    until = store.last_seq() if until is None else until
    # A student whose teacher changed has just been taken off: its audits no longer matter.
    events = check_teachers(store, registry, settings, until=until)
    plans, promotions = registry.plans(), registry.promotions()
    # Last: another learner may have added a task, and promoted its student, just now.
    records = {record.task.id: record for record in registry.tasks()}
    for task_id, promotion in promotions.items():
        if promotion.certificate is None:
            continue
        candidate = registry.candidate(promotion.certificate.student)
        record = candidate.as_certified(records[task_id])
        try:
            subject = subject_of(registry, record, settings, resources)
        except SettingError as error:  # the audits of other tasks go on
            reason = f"its audits are not looked at: {error}"
            events.append(Event(record.task.name, "trouble", reason))
            continue
        case = _Case(
            promotion,
            promotion.certificate,
            candidate,
            subject,
            plans.get(promotion.since, AuditPlan(audit=promotion.audit)),
            until,
        )
        if not isinstance(subject.comparison, TeacherJudge):
            events += _look(store, case)
            continue
        with rights.held(JUDGING) as lease:
            if lease is not None:
                events += _look(lease.store, case)
    return events


def _look(store: Store, case: _Case) -> list[Event]:
    """Read on from where the last look ended, until there is nothing new."""
    name, events = case.subject.record.task.name, list[Event]()
    judged = isinstance(case.subject.comparison, TeacherJudge)
    limit = JUDGED_AT_ONCE if judged else AT_ONCE
    plan = case.plan
    while True:
        state = read_state(store, case.promotion.since)
        before = None if state is None else state.cursor
        state = state or _new_state(store, case)
        if before is not None and before >= case.until:
            return events
        rows = read_audits(store, state.student, after=state.cursor, until=case.until, limit=limit)
        try:
            losses = losses_of(rows, case.subject)
        except TeacherError as error:
            return [*events, Event(name, "trouble", f"audits wait for their judge: {error}")]
        seen = to_audits(
            rows[: len(losses)],
            losses,
            case.candidate.slicer,
            case.subject.settings.prices,
        )
        moved, alarms = observe(state, seen)
        more = len(rows) == limit or len(losses) < len(rows)
        if len(losses) < len(rows) and not moved.ended:
            alarms = (*alarms, _unjudged(moved))
            moved = msgspec.structs.replace(moved, ended=True)
        cursor = moved.cursor if more else case.until
        moved = _with_traffic(store, case, moved, after=state.cursor, until=cursor)
        changed = _next_plan(store, case, plan, moved)
        if not (rows or changed) and cursor - state.cursor < WORTH_WRITING:
            return events
        if not write_step(store, case.promotion, moved, before=before, plan=changed, alarms=alarms):
            return events
        plan = changed or plan
        events += [
            Event(name, "deferred" if alarm.slice else "demoted", alarm.reason) for alarm in alarms
        ]
        if not more or moved.ended:
            return events


def _new_state(store: Store, case: _Case) -> AuditState:
    slicer, certificate = case.candidate.slicer, case.certificate
    earlier = latest_state(store, case.promotion.task_id)
    slices = slicer.known if slicer.variable is not None else ()
    return new_state(
        promotion=case.promotion.since,
        task=case.promotion.task_id,
        student=certificate.student,
        epsilon=certificate.epsilon,
        delta=certificate.delta,
        run_length=case.subject.settings.audit_run_length,
        cursor=case.promotion.after_seq,
        slices=[name for name in slices if name not in slicer.deferred],
        # A day's money belongs to the task, whichever student is promoted.
        spending=earlier.spending if earlier is not None else None,
    )


def _with_traffic(
    store: Store, case: _Case, state: AuditState, *, after: int, until: int
) -> AuditState:
    traffic = read_traffic(store, state.task, after=after, until=until)
    free = read_free(store, state.task, after=after, until=until)
    labels = case.candidate.surfaces or None  # one that writes has no closed set
    state = with_news(state, news_of(free, case.subject, labels))
    return msgspec.structs.replace(
        state,
        cursor=until,
        requests=state.requests + traffic.requests,
        answered=state.answered + traffic.answered,
        best_effort=state.best_effort + traffic.best_effort,
    )


def _unjudged(state: AuditState) -> Alarm:
    return Alarm(student=state.student, by="judge", epsilon=state.epsilon, seq=state.cursor)


def _next_plan(store: Store, case: _Case, plan: AuditPlan, state: AuditState) -> AuditPlan | None:
    """Return another plan for the audits to come, None if the one there is will do."""
    settings, task = case.subject.settings, case.subject.record.task.name
    evidence, now = state.evidence, time.time()
    # Second answers of the teacher are paid from the same money.
    twice = (
        second_answers_cost(store, state.task, since=day_of(now)) if settings.dollars(task) else 0.0
    )
    share = audit_probability(evidence, _budget(settings, task, state.spending, now, twice))
    canary = canary_share(first_canary(settings, task), evidence, now=plan.canary)
    off = state.deferred != plan.deferred
    grown = canary != plan.canary and (canary == 1 or has_moved(plan.canary, canary))
    if not off and not grown and not has_moved(plan.audit, share):
        return None
    if evidence.doubt >= shares.DOUBT:
        reason = f"in doubt after {evidence.audits:,} audits"
    elif evidence.signal:
        reason = f"a signal after {evidence.audits:,} audits: {evidence.signal}"
    else:
        reason = f"{evidence.audits:,} audits without doubt"
    return AuditPlan(
        audit=share, canary=canary if grown else plan.canary, deferred=state.deferred, reason=reason
    )


def _budget(
    settings: LoopSettings, task: str, spending: Spending, now: float, twice: float = 0.0
) -> Budget:
    share, dollars = usual_share(settings, task), settings.dollars(task)
    if not dollars:
        return Budget(share, settings.audit_least)
    return Budget(
        share,
        settings.audit_least,
        dollars_left=dollars - spending.today(now) - twice,
        dollars_each=spending.each,
        requests_left=spending.requests_left(now),
    )
