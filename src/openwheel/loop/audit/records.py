"""Keeps the results of audits in the registry: states, plans, alarms, slices off, coverage.

A look's results and their consequences are one write.
"""

from collections.abc import Sequence

import msgspec

from openwheel.loop.audit.state import Alarm, AuditState
from openwheel.loop.records import AuditPlan, Promotion, Slicer
from openwheel.loop.registry import Registry
from openwheel.store import Store, audits, promotions, students, tasks
from openwheel.store.audits import AlarmRow
from openwheel.tasks import Inputs

LATEST = 1_000
"""The latest requests of a task, on which its coverage is counted."""

FEWEST = 200
"""With fewer requests since the promotion the certificate's coverage is used: a share of so many
has a standard error of 3.5 points at most."""


class SliceChange(msgspec.Struct, frozen=True):
    """A change for the worse in one slice, for which audits took the slice off.

    Attributes:
        slice: Its name.
        slicer: How the traffic was cut into slices then.
        after_seq: The change came after about this exchange.
    """

    slice: str
    slicer: Slicer
    after_seq: int

    def is_in(self, inputs: Inputs) -> bool:
        """Return whether an exchange with these inputs is in the slice."""
        return self.slicer.slice_of(inputs) == self.slice


class Latest(msgspec.Struct, frozen=True):
    """The latest requests of a task since its promotion, or since a slice was taken off.

    Attributes:
        requests: How many.
        answered: How many of them the student answered, without best effort.
        held_back: How many it could have answered, had the canary not held them back.
    """

    requests: int
    answered: int
    held_back: int


def read_state(store: Store, promotion: int) -> AuditState | None:
    """Return the audit state of a promotion, None if there was no look at it."""
    with store.read() as transaction:
        return audits.find_state(transaction, AuditState, promotion)


def latest_state(store: Store, task_id: str) -> AuditState | None:
    """Return the audit state of a task's latest promotion that has one."""
    with store.read() as transaction:
        return audits.latest_state(transaction, AuditState, task_id)


def read_alarms(store: Store, task_id: str | None = None) -> list[AlarmRow[Alarm]]:
    """Return the alarms that were raised, oldest first."""
    with store.read() as transaction:
        return audits.read_alarms(transaction, Alarm, task_id)


def changed_after(store: Store, task_id: str) -> int:
    """Return the exchange of a task's latest demotion by an audit, 0 if there was none."""
    off = [row.alarm for row in read_alarms(store, task_id) if row.demotion is not None]
    return off[-1].after_seq if off else 0


def slice_changes(registry: Registry, task_id: str, *, after: int) -> list[SliceChange]:
    """Return the latest change after an exchange of each slice of a task that audits took off."""
    changes: dict[str, SliceChange] = {}
    for row in read_alarms(registry.store, task_id):
        alarm = row.alarm
        if alarm.slice and alarm.after_seq >= after:
            slicer = registry.candidate(alarm.student).slicer
            changes[alarm.slice] = SliceChange(alarm.slice, slicer, alarm.after_seq)
    return list(changes.values())


def untrained_changes(registry: Registry) -> dict[str, int]:
    """Return the tasks that wait to be trained again after an alarm, each with its change.

    An alarm on the whole task, or in a slice that is still off; the change is the exchange after
    which it came.
    """
    latest: dict[str, AlarmRow[Alarm]] = {}
    for row in read_alarms(registry.store):
        latest[row.task_id] = row
    after_by_task = {}
    for record in registry.tasks():
        last = latest.get(record.task.id)
        if last is None:
            continue
        after = last.alarm.after_seq
        if last.alarm.slice and last.alarm.slice not in slices_off(registry, record.task.id):
            continue
        if record.trained_on <= labels_since(registry.store, record.task.id, 0, until=after):
            after_by_task[record.task.id] = after
    return after_by_task


def labels_since(store: Store, task_id: str, after: int, *, until: int | None = None) -> int:
    """Return how many exchanges of a task a teacher answered after one, and up to another."""
    with store.read() as transaction:
        return audits.count_labels(transaction, task_id, after=after, until=until)


def slices_off(registry: Registry, task_id: str) -> tuple[str, ...]:
    """Return the slices of a task that audits took off its student, and that still are."""
    promotion = registry.promotions().get(task_id)
    if promotion is None or promotion.certificate is None:
        return ()
    plan = registry.plans().get(promotion.since)
    return plan.deferred if plan is not None else ()


def write_step(
    store: Store,
    promotion: Promotion,
    state: AuditState,
    *,
    before: int | None,
    plan: AuditPlan | None,
    alarms: Sequence[Alarm],
) -> bool:
    """Write a look's results, in one transaction with their consequences.

    So a process that is killed has done all of it or nothing: no audit is lost or counted twice.
    ``before`` is the cursor that the look began at, None for the first; a plan of None leaves the
    one there is; an alarm on the whole task takes the student off.

    Returns:
        False, with nothing written, if the promotion is no longer the task's, or if another
        look wrote first.
    """
    with store.write() as transaction:
        task_id = promotion.task_id
        if promotions.latest(transaction, task_id) != promotion.id:
            return False
        if not audits.move_state(
            transaction, promotion.since, task_id, state, cursor=state.cursor, before=before
        ):
            return False
        if plan is not None:
            promotions.add_plan(transaction, promotion.since, plan)
        for alarm in alarms:
            demotion = None
            if not alarm.slice:
                demotion = promotions.add(
                    transaction, task_id, None, by="audit", reason=alarm.reason
                )
                # It may train at once, and the shadow is dropped: its evidence is of other
                # traffic.
                tasks.set_trained_on(transaction, task_id, 0)
                students.move(transaction, task_id, "shadow", "replaced")
            audits.add_alarm(
                transaction, task_id, alarm, promotion=promotion.since, demotion=demotion
            )
    return True


def latest_requests(store: Store, promotion: Promotion) -> Latest:
    """Count the latest requests of a promoted task; an audit's second answer is none."""
    off = [
        row.alarm.seq
        for row in read_alarms(store, promotion.task_id)
        if row.promotion == promotion.since
    ]
    after = max([promotion.after_seq, *off])
    with store.read() as transaction:
        counts = audits.count_latest(transaction, promotion.task_id, after=after, limit=LATEST)
    return Latest(*counts)


def coverage_now(registry: Registry, promotion: Promotion | None) -> float:
    """Return the share of its task's requests that the promoted student could answer; 0 for none.

    Counted on the latest requests. While there are few, that of the certificate, without the
    slices that audits took off.
    """
    certificate = promotion.certificate if promotion is not None else None
    if promotion is None or certificate is None:
        return 0.0
    latest = latest_requests(registry.store, promotion)
    if latest.requests >= FEWEST:
        return (latest.answered + latest.held_back) / latest.requests
    plan = registry.plans().get(promotion.since)
    answered = sum(part.answered for part in certificate.slices)
    if plan is None or not plan.deferred or not answered:
        return certificate.coverage
    off = sum(part.answered for part in certificate.slices if part.name in plan.deferred)
    return certificate.coverage * (1 - off / answered)
