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
    """Return the gauges of tasks that have a student, or had one before their teacher changed.

    None if the store cannot be read.
    """
    try:
        tasks = status()
    except StoreError as error:
        logger.error("How the audits stand could not be read: %s", error)
        return []
    served = [task for task in tasks if task.student is not None]
    found = [sample for task in served[:MOST_TASKS] for sample in _samples(task)]
    # That a student was taken off is to be seen after it is gone.
    told = [task for task in tasks if task.student is not None or task.teacher.changes]
    return found + [sample for task in told[:MOST_TASKS] for sample in _of_teacher(task)]


def _of_teacher(task: "TaskAudit") -> list[Sample]:
    name, teacher = ("task", label(task.task)), task.teacher
    found = [
        Sample("openwheel_teacher_changes", (name,), len(teacher.changes)),
        Sample("openwheel_teacher_asked_twice", (name,), teacher.asked_twice),
        Sample("openwheel_teacher_asked_twice_failed", (name,), teacher.failed),
    ]
    if teacher.rate is not None:
        found.append(Sample("openwheel_teacher_self_disagreement_rate", (name,), teacher.rate))
        for end, value in zip(("low", "high"), teacher.interval, strict=True):
            labels = (name, ("end", end))
            found.append(Sample("openwheel_teacher_self_disagreement_bound", labels, value))
    return found


def _samples(task: "TaskAudit") -> list[Sample]:
    name = ("task", label(task.task))
    values = (
        ("openwheel_audit_probability", task.asked),
        ("openwheel_audit_canary_share", task.canary),
        ("openwheel_audit_answers", task.audits),
        ("openwheel_audit_disagreement_rate", task.rate),
        ("openwheel_audit_coverage", task.coverage),
        ("openwheel_audit_cost_dollars", task.cost),
        ("openwheel_audit_against_evidence", float(task.against_evidence)),
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
