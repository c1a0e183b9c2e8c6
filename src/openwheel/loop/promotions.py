"""Who is in front of a task's traffic, and how it is audited: rows that are only ever added.

The functions work inside a caller's transaction, so that a promotion, the plan of its audits and
the evidence against it change together.
"""

import time
from collections.abc import Mapping
from typing import Literal

import msgspec
import sqlalchemy as sa

from openwheel.gate import Certificate
from openwheel.loop import schema
from openwheel.store.schema import exchanges

By = Literal["turn", "audit", "user", "override", "policy", "teacher", "traffic"]
"""``override``: a person, against evidence that is newer than the certificate."""

AUDIT_SUFFIX = "-audit"
"""What is added to the id of a student's exchange for that of the teacher's answer beside it."""


class AuditPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How a promotion is audited for the time being.

    It depends on the past alone, so that whether a request is audited tells nothing of it.

    Attributes:
        audit: The share of the requests it may answer that are audited, in (0, 1].
        canary: The share of its task's requests that it may answer, in (0, 1]; the rest is held
            back for the teacher, by a coin.
        deferred: Slices that audits took off; the rest of the task goes on.
        reason: Why so, in a few words.
    """

    audit: float
    canary: float = 1.0
    deferred: tuple[str, ...] = ()
    reason: str = ""

    @property
    def asked(self) -> float:
        """The probability that the teacher is asked, whatever the student would answer."""
        return asked(self.audit, self.canary)


def asked(audit: float, canary: float) -> float:
    """Return the probability that the teacher is asked, whatever the student would answer.

    Examples:
        >>> round(asked(0.05, 1.0), 12), round(asked(0.05, 0.2), 12)
        (0.05, 0.81)
    """
    return audit + (1.0 - canary) * (1.0 - audit)


class Promotion(msgspec.Struct, frozen=True):
    """A task's latest promotion or demotion.

    Attributes:
        task_id: The task.
        certificate: Of the student that was promoted; None if one was taken off.
        by, reason: Who did it, and why.
        after_seq: The newest exchange when this student was first promoted: its audits come after.
        audit: The share of requests to audit, at first.
        time: Seconds since 1970.
        id: Its row.
        since: The row that first put this student there, without a demotion in between.
    """

    task_id: str
    certificate: Certificate | None
    by: str
    reason: str
    after_seq: int
    audit: float
    time: float
    id: int = 0
    since: int = 0

    @property
    def by_hand(self) -> bool:
        """Whether a person did it."""
        return self.by in {"user", "override"}

    @property
    def against_evidence(self) -> bool:
        """Whether a person did it although evidence had taken the student off."""
        return self.by == "override"


def add_promotion(
    connection: sa.Connection,
    task_id: str,
    certificate_id: str | None,
    *,
    by: By,
    reason: str,
    audit: float = 1.0,
) -> int:
    """Add a promotion, or with no certificate a demotion, and return its row."""
    newest = connection.execute(sa.select(sa.func.max(exchanges.c.seq))).scalar_one() or 0
    added = connection.execute(
        sa.insert(schema.promotions)
        .values(
            task_id=task_id,
            certificate_id=certificate_id,
            by=by,
            reason=reason,
            after_seq=newest,
            audit=audit,
            time=time.time(),
        )
        .returning(schema.promotions.c.id)
    )
    return int(added.scalar_one())


def add_plan(connection: sa.Connection, promotion_id: int, plan: AuditPlan) -> None:
    """Add a plan for the promotion that began with a row."""
    connection.execute(
        sa.insert(schema.audit_plans).values(
            promotion_id=promotion_id, plan=msgspec.json.encode(plan), time=time.time()
        )
    )


def latest_row(connection: sa.Connection, task_id: str) -> int:
    """Return a task's latest promotion or demotion, 0 if it never had one."""
    table = schema.promotions
    query = sa.select(sa.func.max(table.c.id)).where(table.c.task_id == task_id)
    return connection.execute(query).scalar_one() or 0


def is_in_front(connection: sa.Connection, task_id: str, student: str) -> bool:
    """Return whether a student is what the task's latest promotion put in front of its traffic."""
    promotions, bodies = schema.promotions, schema.certificates
    query = (
        sa.select(bodies.c.student_id)
        .select_from(promotions.outerjoin(bodies, promotions.c.certificate_id == bodies.c.id))
        .where(promotions.c.id == latest_row(connection, task_id))
    )
    return bool(connection.execute(query).scalar_one_or_none() == student)


def read_promotions(
    connection: sa.Connection, certificates: Mapping[str, Certificate]
) -> dict[str, Promotion]:
    """Return the latest promotion or demotion of each task that ever had one, by task id.

    A student promoted again for more of the traffic keeps the audits it has had.
    """
    table, bodies = schema.promotions, schema.certificates
    query = (
        sa.select(table, bodies.c.student_id)
        .select_from(table.outerjoin(bodies, table.c.certificate_id == bodies.c.id))
        .order_by(table.c.id)
    )
    latest: dict[str, Promotion] = {}
    for row in connection.execute(query):
        before = latest.get(row.task_id)
        kept = before.certificate if before is not None else None
        again = before is not None and kept is not None and kept.student == row.student_id
        latest[row.task_id] = Promotion(
            row.task_id,
            certificates[row.certificate_id] if row.certificate_id else None,
            row.by,
            row.reason,
            before.after_seq if before is not None and again else row.after_seq,
            row.audit,
            row.time,
            row.id,
            before.since if before is not None and again else row.id,
        )
    return latest


def read_plans(connection: sa.Connection) -> dict[int, AuditPlan]:
    """Return the latest plan of each promotion, by the row it began with."""
    table = schema.audit_plans
    newest = sa.select(sa.func.max(table.c.id)).group_by(table.c.promotion_id)
    query = sa.select(table.c.promotion_id, table.c.plan).where(table.c.id.in_(newest))
    return {
        row.promotion_id: msgspec.json.decode(row.plan, type=AuditPlan)
        for row in connection.execute(query)
    }
