"""Reads gauges of tasks, their audits and teachers from the registry, once for all workers."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from openwheel.errors import StoreError
from openwheel.gateway.meter import MOST_TASKS, label
from openwheel.gateway.metric import Metric, Sample, Values

if TYPE_CHECKING:
    from openwheel.loop.audit.status import TaskAudit
    from openwheel.loop.records import Beyond

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
    samples = [sample for task in served[:MOST_TASKS] for sample in _read(AUDITED, task)]
    # A student that was taken off is still shown.
    changed = [task for task in tasks if task.student is not None or task.teacher.changes]
    return samples + [
        sample for task in changed[:MOST_TASKS] for sample in _read(TEACHER_CHANGES, task)
    ]


def left_out_samples(read: "Callable[[], Beyond | None]") -> list[Sample]:
    """Return the gauges of tasks that are left out; none if the store cannot be read."""
    try:
        beyond = read()
    except StoreError as error:
        logger.error("Which tasks are left out could not be read: %s", error)
        return []
    return [sample for metric in LEFT_OUT for sample in metric.samples(beyond)] if beyond else []


def _read(metrics: Iterable[Metric["TaskAudit"]], task: "TaskAudit") -> Iterator[Sample]:
    for metric in metrics:
        yield from metric.samples(task, (("task", label(task.task)),))


def _ends(interval: tuple[float, float]) -> Values:
    return zip((("low",), ("high",)), interval, strict=True)


def _evidence(task: "TaskAudit") -> Iterator[tuple[tuple[str, ...], float, float]]:
    """Yield each monitor's evidence and its limit."""
    for monitor, e_value, limit in (
        ("rate", task.e_value, task.e_value_limit),
        ("change", task.change_e_value, task.change_limit),
    ):
        if e_value is not None and limit is not None:
            yield (monitor,), e_value, limit


# fmt: off
AUDITED: Final[tuple[Metric["TaskAudit"], ...]] = (
    Metric("openwheel_audit_probability",
           "Share of requests for which the teacher is asked whatever the student answers.",
           lambda task: task.asked, ("task",)),
    Metric("openwheel_audit_canary_share",
           "Share of requests that the student may answer; a new one starts small.",
           lambda task: task.canary, ("task",)),
    Metric("openwheel_audit_answers", "Audited answers since the promotion.",
           lambda task: task.audits, ("task",)),
    Metric("openwheel_audit_disagreement_rate",
           "Disagreement of audited answers since the promotion.",
           lambda task: task.rate, ("task",)),
    Metric("openwheel_audit_disagreement_bound",
           "Ends of its confidence sequence, low and high, at 95% at all times at once.",
           lambda task: _ends(task.interval), ("task", "end")),
    Metric("openwheel_audit_e_value",
           "Evidence that disagreement is above the limit: of the rate since the promotion, of a "
           "later change.",
           lambda task: [(monitor, e_value) for monitor, e_value, _ in _evidence(task)],
           ("task", "monitor")),
    Metric("openwheel_audit_e_value_limit", "The evidence at which the student is taken off.",
           lambda task: [(monitor, limit) for monitor, _, limit in _evidence(task)],
           ("task", "monitor")),
    Metric("openwheel_audit_coverage",
           "Share of its latest requests (1,000 at most) that the student answered.",
           lambda task: task.coverage, ("task",)),
    Metric("openwheel_audit_against_evidence",
           "1 where a person put a student back that evidence had taken off, else 0.",
           lambda task: float(task.against_evidence), ("task",)),
    Metric("openwheel_audit_cost_dollars", "What audits of the task cost, ever.",
           lambda task: task.cost, ("task",)),
)

TEACHER_CHANGES: Final[tuple[Metric["TaskAudit"], ...]] = (
    Metric("openwheel_teacher_changes", "Changes of a task's teacher that were noticed.",
           lambda task: len(task.teacher.changes), ("task",)),
    Metric("openwheel_teacher_asked_twice",
           "Times a task's teacher was asked again, since it last changed.",
           lambda task: task.teacher.asked_twice, ("task",)),
    Metric("openwheel_teacher_asked_twice_failed", "Times it could not be asked again, since then.",
           lambda task: task.teacher.failed, ("task",)),
    Metric("openwheel_teacher_self_disagreement_rate",
           "Disagreement of its second answers with its first.",
           lambda task: task.teacher.rate, ("task",)),
    Metric("openwheel_teacher_self_disagreement_bound",
           "Ends of the confidence sequence of that, low and high, at 95% at all times at once.",
           lambda task: None if task.teacher.rate is None else _ends(task.teacher.interval),
           ("task", "end")),
)

LEFT_OUT: Final[tuple[Metric["Beyond"], ...]] = (
    Metric("openwheel_tasks_left_out",
           "Tasks that were found and left out, since there is no room for more (loop.most_tasks).",
           lambda beyond: beyond.tasks),
    Metric("openwheel_task_names_left_out",
           "Task names that too few exchanges have to make a task.",
           lambda beyond: beyond.names),
)
# fmt: on
