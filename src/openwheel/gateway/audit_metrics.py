"""How the audit of each task stands, as gauges: read from the registry, one for all workers."""

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from openwheel.errors import StoreError
from openwheel.gateway.meter import MOST_TASKS, Sample, label

if TYPE_CHECKING:
    from openwheel.loop.audit.status import TaskAudit

logger = logging.getLogger(__name__)

AuditStatus = Callable[[], Sequence["TaskAudit"]]


def audit_samples(status: AuditStatus) -> list[Sample]:
    """Return the gauges of every task that has a student; none if the store cannot be read."""
    try:
        tasks = [task for task in status() if task.student is not None]
    except StoreError as error:
        logger.error("How the audits stand could not be read: %s", error)
        return []
    return [sample for task in tasks[:MOST_TASKS] for sample in _samples(task)]


def _samples(task: "TaskAudit") -> list[Sample]:
    name = ("task", label(task.task))
    values = (
        ("openwheel_audit_probability", task.asked),
        ("openwheel_audit_canary_share", task.canary),
        ("openwheel_audit_answers", task.audits),
        ("openwheel_audit_disagreement_rate", task.rate),
        ("openwheel_audit_coverage", task.coverage),
        ("openwheel_audit_cost_dollars", task.cost),
    )
    found = [Sample(metric, (name,), value) for metric, value in values if value is not None]
    for end, value in zip(("low", "high"), task.interval, strict=True):
        found.append(Sample("openwheel_audit_disagreement_bound", (name, ("end", end)), value))
    evidence = (
        ("rate", task.e_value, task.e_value_limit),
        ("change", task.change_e_value, task.change_limit),
    )
    for monitor, e_value, limit in evidence:
        labels = (name, ("monitor", monitor))
        if e_value is not None and limit is not None:
            found.append(Sample("openwheel_audit_e_value", labels, e_value))
            found.append(Sample("openwheel_audit_e_value_limit", labels, limit))
    return found
