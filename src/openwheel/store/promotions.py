"""Stores promotions, demotions and audit plans; rows are only added."""

import time
from typing import Any, NamedTuple, TypeVar

import msgspec
import sqlalchemy as sa

from openwheel.store.exchanges import newest_seq
from openwheel.store.schema import audit_plans, certificates, stops, students, tasks, turns
from openwheel.store.schema import promotions as table
from openwheel.store.store import Transaction

_Body = TypeVar("_Body")


class PromotionRow(NamedTuple):
    """A promotion; without a certificate, a demotion."""

    id: int
    task_id: str
    certificate_id: str | None
    student_id: str | None
    by: str
    reason: str
    after_seq: int
    audit: float
    time: float


def add(
    transaction: Transaction,
    task_id: str,
    certificate_id: str | None,
    *,
    by: str,
    reason: str,
    audit: float = 1.0,
) -> int:
    """Add a promotion, or without a certificate a demotion, and return its row."""
    added = transaction.execute(
        sa.insert(table)
        .values(
            task_id=task_id,
            certificate_id=certificate_id,
            by=by,
            reason=reason,
            after_seq=newest_seq(transaction),
            audit=audit,
            time=time.time(),
        )
        .returning(table.c.id)
    )
    return int(added.scalar_one())


def read(transaction: Transaction, task_id: str | None = None) -> list[PromotionRow]:
    """Return the promotions and demotions of a task, or all, oldest first."""
    query = (
        sa.select(*(table.c[name] for name in PromotionRow._fields if name != "student_id"))
        .add_columns(certificates.c.student_id)
        .select_from(table.outerjoin(certificates, table.c.certificate_id == certificates.c.id))
        .order_by(table.c.id)
    )
    if task_id is not None:
        query = query.where(table.c.task_id == task_id)
    return [PromotionRow(**row._mapping) for row in transaction.execute(query)]


def latest(transaction: Transaction, task_id: str) -> int:
    """Return the row of a task's latest promotion or demotion, 0 if it never had one."""
    query = sa.select(sa.func.max(table.c.id)).where(table.c.task_id == task_id)
    return transaction.execute(query).scalar_one() or 0


def student_of(transaction: Transaction, promotion: int) -> str | None:
    """Return the student that a row promoted, None for a demotion and for no row."""
    query = (
        sa.select(certificates.c.student_id)
        .join_from(table, certificates, table.c.certificate_id == certificates.c.id)
        .where(table.c.id == promotion)
    )
    return transaction.execute(query).scalar_one_or_none()


def add_plan(transaction: Transaction, promotion: int, plan: msgspec.Struct) -> None:
    """Add a plan for the audits of the promotion that began with a row."""
    body = msgspec.json.encode(plan)
    transaction.execute(
        sa.insert(audit_plans).values(promotion_id=promotion, plan=body, time=time.time())
    )


def read_plans(transaction: Transaction, kind: type[_Body]) -> dict[int, _Body]:
    """Return the latest plan of each promotion, by the row it began with."""
    newest = sa.select(sa.func.max(audit_plans.c.id)).group_by(audit_plans.c.promotion_id)
    query = sa.select(audit_plans.c.promotion_id, audit_plans.c.plan)
    return {
        row.promotion_id: msgspec.json.decode(row.plan, type=kind)
        for row in transaction.execute(query.where(audit_plans.c.id.in_(newest)))
    }


def version(transaction: Transaction) -> tuple[int, ...]:
    """Return a version that changes with tasks, students, promotions, plans, turns and stops."""

    def last(which: sa.Table) -> sa.ScalarSelect[int]:
        return sa.select(sa.func.coalesce(sa.func.max(which.c.id), 0)).scalar_subquery()

    def number(which: sa.Table) -> sa.Select[Any]:
        return sa.select(sa.func.count()).select_from(which)

    query = sa.select(
        last(table),
        number(tasks).scalar_subquery(),
        number(students).scalar_subquery(),
        number(students).where(students.c.state == "shadow").scalar_subquery(),
        last(audit_plans),
        last(turns),
        last(stops),
    )
    return tuple(transaction.execute(query).one())
