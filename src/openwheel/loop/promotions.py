"""Who is in front of a task's traffic, and how it is audited."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from openwheel.gate import Certificate
from openwheel.store import Transaction, promotions

By = Literal["turn", "audit", "user", "override", "policy", "teacher", "traffic"]
"""``override``: a person, against evidence that is newer than the certificate."""


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


def read_promotions(
    transaction: Transaction, certificates: Mapping[str, Certificate]
) -> dict[str, Promotion]:
    """Return the latest promotion or demotion of each task that ever had one, by task id.

    A student promoted again for more of the traffic keeps the audits it has had.
    """
    latest: dict[str, Promotion] = {}
    for row in promotions.read(transaction):
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
