"""Watches, plans and alarms in the registry: what an audit showed and what follows is one write."""

import time
from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from openwheel.loop import schema
from openwheel.loop.audit.state import Alarm, Watch
from openwheel.loop.promotions import AuditPlan, Promotion, add_plan, add_promotion, latest_row
from openwheel.loop.registry import Registry
from openwheel.loop.turn.slices import SliceChange
from openwheel.store import BY_STUDENTS, Store
from openwheel.store.schema import exchanges


class AlarmRow(msgspec.Struct, frozen=True):
    """An alarm that was raised.

    Attributes:
        task_id: The task.
        promotion: The promotion it was raised on (`Promotion.since`).
        demotion: The row that took the student off, None where only a slice was.
        alarm: The evidence.
        time: Seconds since 1970.
    """

    task_id: str
    promotion: int
    demotion: int | None
    alarm: Alarm
    time: float


def read_watch(store: Store, promotion: int) -> Watch | None:
    """Return what the audits of a promotion have shown, None if it was never looked at."""
    table = schema.audit_watches
    query = sa.select(table.c.watch).where(table.c.promotion_id == promotion)
    with store.read() as connection:
        body = connection.execute(query).scalar_one_or_none()
    return None if body is None else msgspec.json.decode(body, type=Watch)


def latest_watch(store: Store, task_id: str) -> Watch | None:
    """Return the watch of a task's latest promotion that was looked at."""
    table = schema.audit_watches
    query = (
        sa.select(table.c.watch)
        .where(table.c.task_id == task_id)
        .order_by(table.c.promotion_id.desc())
        .limit(1)
    )
    with store.read() as connection:
        body = connection.execute(query).scalar_one_or_none()
    return None if body is None else msgspec.json.decode(body, type=Watch)


def read_alarms(store: Store, task_id: str | None = None) -> list[AlarmRow]:
    """Return the alarms that were raised, oldest first."""
    table = schema.alarms
    query = sa.select(table).order_by(table.c.id)
    if task_id is not None:
        query = query.where(table.c.task_id == task_id)
    with store.read() as connection:
        rows = connection.execute(query).all()
    return [
        AlarmRow(
            row.task_id,
            row.promotion_id,
            row.demotion_id,
            msgspec.json.decode(row.alarm, type=Alarm),
            row.time,
        )
        for row in rows
    ]


def changed_after(store: Store, task_id: str) -> int:
    """Return the exchange after which a task's traffic changed, as the latest demotion had it.

    0 if no audit ever took a student of it off.
    """
    table = schema.alarms
    query = (
        sa.select(table.c.alarm)
        .where(table.c.task_id == task_id, table.c.demotion_id.is_not(None))
        .order_by(table.c.id.desc())
        .limit(1)
    )
    with store.read() as connection:
        body = connection.execute(query).scalar_one_or_none()
    return 0 if body is None else msgspec.json.decode(body, type=Alarm).after_seq


def slice_changes(registry: Registry, task_id: str, *, after: int) -> list[SliceChange]:
    """Return the changes at which audits took off slices of a task, the latest of each slice.

    Args:
        registry: Of the store.
        task_id: The task.
        after: Only those that came after this exchange.
    """
    found: dict[str, SliceChange] = {}
    for row in read_alarms(registry.store, task_id):
        alarm = row.alarm
        if alarm.slice and alarm.after_seq >= after:
            slicer = registry.candidate(alarm.student).slicer
            found[alarm.slice] = SliceChange(alarm.slice, slicer, alarm.after_seq)
    return list(found.values())


def untrained_changes(registry: Registry) -> dict[str, int]:
    """Return the tasks that wait to be trained anew after an alarm, each with its change.

    An alarm on the whole task, or in a slice that is still off; the change is the exchange after
    which it came.
    """
    latest: dict[str, AlarmRow] = {}
    for row in read_alarms(registry.store):
        latest[row.task_id] = row
    found = {}
    for record in registry.tasks():
        last = latest.get(record.task.id)
        if last is None:
            continue
        after = last.alarm.after_seq
        if last.alarm.slice and last.alarm.slice not in slices_off(registry, record.task.id):
            continue
        if record.trained_on <= labels_since(registry.store, record.task.id, 0, until=after):
            found[record.task.id] = after
    return found


def labels_since(store: Store, task_id: str, after: int, *, until: int | None = None) -> int:
    """Return how many exchanges of a task a teacher answered after one, and up to another."""
    table = exchanges.c
    query = sa.select(sa.func.count()).where(
        table.task_id == task_id, table.seq > after, table.source.not_in(BY_STUDENTS)
    )
    if until is not None:
        query = query.where(table.seq <= until)
    with store.read() as connection:
        return connection.execute(query).scalar_one()


def slices_off(registry: Registry, task_id: str) -> tuple[str, ...]:
    """Return the slices of a task that audits took off its student, and that still are."""
    promotion = registry.promotions().get(task_id)
    if promotion is None or promotion.certificate is None:
        return ()
    plan = registry.plans().get(promotion.since)
    return plan.deferred if plan is not None else ()


def write_look(
    store: Store,
    promotion: Promotion,
    watch: Watch,
    *,
    before: int | None,
    plan: AuditPlan | None,
    alarms: Sequence[Alarm],
) -> bool:
    """Keep what a look found, in one transaction with what follows from it.

    Whoever is killed has either done all of it or nothing: no audit is lost or counted twice.

    Args:
        store: The store.
        promotion: What was looked at.
        watch: What its audits have shown.
        before: The cursor that the look began at, None for the first.
        plan: For the audits to come; None leaves it.
        alarms: What was raised; one on the whole task takes the student off.

    Returns:
        False, with nothing written, if the promotion is no longer the task's, or another look
        was quicker.
    """
    with store.write() as connection:
        if latest_row(connection, promotion.task_id) != promotion.id:
            return False
        if not _moved(connection, promotion, watch, before):
            return False
        if plan is not None:
            add_plan(connection, promotion.since, plan)
        for alarm in alarms:
            demotion = None
            if not alarm.slice:
                demotion = add_promotion(
                    connection, promotion.task_id, None, by="audit", reason=alarm.reason
                )
                _begin_anew(connection, promotion.task_id)
            connection.execute(
                sa.insert(schema.alarms).values(
                    task_id=promotion.task_id,
                    promotion_id=promotion.since,
                    demotion_id=demotion,
                    alarm=msgspec.json.encode(alarm),
                    time=time.time(),
                )
            )
    return True


def _moved(
    connection: sa.Connection, promotion: Promotion, watch: Watch, before: int | None
) -> bool:
    """Write the watch if nobody else moved it; return whether."""
    table = schema.audit_watches
    values = {"cursor": watch.cursor, "watch": msgspec.json.encode(watch), "time": time.time()}
    row = table.c.promotion_id == promotion.since
    if before is not None:
        change = sa.update(table).where(row, table.c.cursor == before).values(**values)
        return connection.execute(change).rowcount == 1
    if connection.execute(sa.select(table.c.cursor).where(row)).first() is not None:
        return False
    connection.execute(
        sa.insert(table).values(promotion_id=promotion.since, task_id=promotion.task_id, **values)
    )
    return True


def _begin_anew(connection: sa.Connection, task_id: str) -> None:
    """Let a task train without waiting, and drop who shadows: its evidence is of other traffic."""
    tasks, students = schema.tasks, schema.students
    connection.execute(sa.update(tasks).where(tasks.c.id == task_id).values(trained_on=0))
    connection.execute(
        sa.update(students)
        .where(students.c.task_id == task_id, students.c.state == "shadow")
        .values(state="replaced")
    )
