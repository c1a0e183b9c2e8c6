"""Reports the audit of each task to the command line, the dashboard and the metrics."""

import math
import time

import msgspec

from openwheel.loop.audit.records import latest_requests, read_alarms, read_state
from openwheel.loop.audit.shares import SAID
from openwheel.loop.audit.state import Alarm, AuditState, Stream, new_state
from openwheel.loop.drift.status import TeacherStatus, teacher_status
from openwheel.loop.records import AuditPlan, Promotion
from openwheel.loop.registry import Registry
from openwheel.store import Store
from openwheel.store.audits import AlarmRow


class SliceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The audit of one slice; figures as in `TaskAudit`."""

    slice: str
    off: bool
    audits: int
    loss: float
    e_value: float
    change_e_value: float


class SignalStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One signal, which asks for more audits and never takes a student off.

    Attributes:
        signal: Its name.
        said: What it means, in words.
        up: Whether it asks for more audits now.
        until: It is up until there are so many audited answers.
        raised: How often it was raised.
        seen: Exchanges since the promotion, or since it was raised last.
        rate: Their mean loss, None if there are none.
        usual: Up to where that is usual; None until there are enough to tell.
        e_value: Evidence of more than is usual.
        e_value_limit: What of it raises the signal.
    """

    signal: str
    said: str
    up: bool
    until: int
    raised: int
    seen: int
    rate: float | None
    usual: float | None
    e_value: float
    e_value_limit: float


class AlarmStatus(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm that was raised.

    Attributes:
        time: Seconds since 1970.
        student, slice: The student or slice taken off; a slice of ``""`` is the whole task.
        reason: In a sentence.
        e_value, limit: The evidence, and what is an alarm.
        after_seq: The change came after about this exchange.
        disagreed: Ids of the latest disagreements.
    """

    time: float
    student: str
    slice: str
    reason: str
    e_value: float
    limit: float
    after_seq: int
    disagreed: tuple[str, ...]


class TaskAudit(msgspec.Struct, frozen=True, kw_only=True):
    """The audit of one task. Fields are None without a student, or before the first look.

    Attributes:
        task, id: Name and id.
        student: The promoted student; None if the teacher answers.
        since: When it was promoted, in seconds since 1970.
        epsilon, delta: The most disagreement allowed, and the risk.
        audit: Share of the requests it may answer that are audited now.
        canary: Share of requests that it may answer now.
        asked: Share of requests sent to the teacher whatever the student answers.
        plan: Why these shares.
        deferred: Slices that audits took off.
        requests, answered: Requests since the promotion, and how many students answered.
        best_effort: Requests that a student answered below its threshold, since no teacher could
            be reached.
        coverage: Share of its latest requests (`coverage.LATEST` at most) that the student
            answered, without best effort.
        audits: Audited answers, with those that the canary held back.
        loss: The sum of their losses: where answers agree or not, the number of disagreements.
        rate: Live disagreement: the mean loss.
        by_fields: Whether losses are shares of wrong fields.
        interval: Of the live rate, at all times at once (`level`).
        level: Of confidence.
        e_value: Evidence that the rate since the promotion is above epsilon, and what of it is
            an alarm.
        e_value_limit: What of it is an alarm.
        change_e_value: Evidence of a later change.
        change_limit: What of it is an alarm.
        cost: Dollars that audits of the task cost, ever, with asking the teacher twice; requests
            that the canary holds back cost nothing.
        cost_today: The same today, by UTC.
        slices: Each slice the student may answer.
        signals: What asks for more audits, or would.
        disagreed: Ids of the latest disagreements: exchanges with the teacher's answer.
        against_evidence: Whether a person put it back although evidence had taken it off.
        alarms: All alarms of the task, oldest first.
        teacher: Its disagreement with itself, and its changes.
    """

    task: str
    id: str
    student: str | None = None
    since: float | None = None
    epsilon: float | None = None
    delta: float | None = None
    audit: float | None = None
    canary: float | None = None
    asked: float | None = None
    plan: str = ""
    deferred: tuple[str, ...] = ()
    requests: int = 0
    answered: int = 0
    best_effort: int = 0
    coverage: float | None = None
    audits: int = 0
    loss: float = 0.0
    by_fields: bool = False
    rate: float | None = None
    interval: tuple[float, float] = (0.0, 1.0)
    level: float | None = None
    e_value: float | None = None
    e_value_limit: float | None = None
    change_e_value: float | None = None
    change_limit: float | None = None
    cost: float = 0.0
    cost_today: float = 0.0
    slices: tuple[SliceStatus, ...] = ()
    signals: tuple[SignalStatus, ...] = ()
    disagreed: tuple[str, ...] = ()
    against_evidence: bool = False
    alarms: tuple[AlarmStatus, ...] = ()
    teacher: TeacherStatus = TeacherStatus()


def audit_status(store: Store) -> list[TaskAudit]:
    """Return the audit of each task, in the order of the tasks."""
    registry = Registry(store)
    promotions, plans = registry.promotions(), registry.plans()
    teachers = teacher_status(store)
    alarms: dict[str, list[AlarmRow[Alarm]]] = {}
    for row in read_alarms(store):
        alarms.setdefault(row.task_id, []).append(row)
    statuses = []
    for record in registry.tasks():
        teacher = teachers.get(record.task.id, TeacherStatus())
        status = TaskAudit(
            task=record.task.name,
            id=record.task.id,
            cost=teacher.cost,
            cost_today=teacher.cost_today,
            teacher=teacher,
            alarms=tuple(_alarm(row) for row in alarms.get(record.task.id, ())),
        )
        promotion = promotions.get(record.task.id)
        if promotion is not None and promotion.certificate is not None:
            plan = plans.get(promotion.since, AuditPlan(audit=promotion.audit))
            status = _with_student(store, status, promotion, plan)
        statuses.append(status)
    return statuses


def _with_student(
    store: Store, status: TaskAudit, promotion: Promotion, plan: AuditPlan
) -> TaskAudit:
    certificate = promotion.certificate
    assert certificate is not None
    state = read_state(store, promotion.since) or new_state(
        promotion=promotion.since,
        task=promotion.task_id,
        student=certificate.student,
        epsilon=certificate.epsilon,
        delta=certificate.delta,
        run_length=math.e,  # of a detector that has seen nothing, and is not kept
        cursor=promotion.after_seq,
    )
    seen, whole, spending = state.live.seen, state.whole, state.spending
    latest = latest_requests(store, promotion)
    return msgspec.structs.replace(
        status,
        student=certificate.student,
        since=promotion.time,
        epsilon=state.epsilon,
        delta=state.delta,
        audit=plan.audit,
        canary=plan.canary,
        asked=plan.asked,
        plan=plan.reason,
        deferred=plan.deferred,
        requests=state.requests,
        answered=state.answered,
        best_effort=state.best_effort,
        coverage=latest.answered / latest.requests if latest.requests else None,
        audits=seen.answers,
        loss=seen.loss,
        by_fields=certificate.by_fields,
        rate=seen.rate,
        interval=state.live.interval,
        level=state.live.level,
        e_value=math.exp(whole.since.evidence),
        e_value_limit=math.exp(whole.since.limit),
        change_e_value=math.exp(whole.change.evidence),
        change_limit=math.exp(whole.change.limit),
        cost=status.cost + spending.total,
        cost_today=status.cost_today + spending.today(time.time()),
        slices=tuple(_slice(state, name, stream) for name, stream in state.slices.items()),
        signals=tuple(_signal(state, name) for name in state.signals),
        disagreed=state.disagreed,
        against_evidence=promotion.against_evidence,
    )


def _signal(state: AuditState, name: str) -> SignalStatus:
    signal = state.signals[name]
    detector = signal.detector
    return SignalStatus(
        signal=name,
        said=SAID[name],
        up=name in state.up,
        until=signal.until,
        raised=signal.raised,
        seen=detector.seen.answers,
        rate=detector.seen.rate,
        usual=detector.range[1] if detector.above is not None else None,
        e_value=math.exp(detector.evidence),
        e_value_limit=math.exp(detector.limit),
    )


def _slice(state: AuditState, name: str, stream: Stream) -> SliceStatus:
    return SliceStatus(
        slice=name,
        off=name in state.deferred,
        audits=stream.since.seen.answers,
        loss=stream.since.seen.loss,
        e_value=math.exp(stream.since.evidence),
        change_e_value=math.exp(stream.change.evidence),
    )


def _alarm(row: AlarmRow[Alarm]) -> AlarmStatus:
    alarm = row.alarm
    return AlarmStatus(
        time=row.time,
        student=alarm.student,
        slice=alarm.slice,
        reason=alarm.reason,
        e_value=alarm.e_value,
        limit=alarm.limit,
        after_seq=alarm.after_seq,
        disagreed=alarm.disagreed,
    )
