"""Ends the standing of students: other prompts, folds, critical answers or policy.

A certificate is about a stream: when its task takes other prompts than were certified, it ends. The
matcher's fingerprint of a task changes with another task that takes part of its prompts, a task
that is gone, another template, or another way to match.

When the user has a task's answers compared otherwise, its students end. One that was certified by a
stricter comparison stays, and is audited as it was certified.
"""

from openwheel.loop.records import Event, TaskRecord
from openwheel.loop.registry import Registry, begin_anew
from openwheel.loop.settings import LoopSettings
from openwheel.loop.subject import Subject
from openwheel.store.exchanges import newest_seq
from openwheel.tasks import Task, TaskMatcher
from openwheel.tasks.compare import FieldSettings
from openwheel.trust import Policy


def certify_anew(registry: Registry) -> list[Event]:
    """Judge each student again whose task takes other prompts than it was trained for.

    Call this, or `certify_task_anew` for a task, whenever tasks may have changed, before any
    student is judged.
    """
    tasks = [record.task for record in registry.tasks()]
    matcher = TaskMatcher(tasks)
    return [event for task in tasks for event in certify_task_anew(registry, matcher, task)]


def certify_task_anew(registry: Registry, matcher: TaskMatcher, task: Task) -> list[Event]:
    """Judge a task's student again if the task takes other prompts than it was trained for.

    The promoted student, or else the shadow, shadows as a new attempt, judged on the exchanges from
    now on.

    Args:
        matcher: Of all tasks.
    """
    promotion, row, candidate = registry.promotion(task.id), None, None
    if promotion is not None and promotion.certificate is not None:
        row, candidate = promotion.id, registry.candidate(promotion.certificate.student)
    elif shadows := registry.candidates(task_id=task.id, state="shadow"):
        candidate = shadows[-1][0]
    now = matcher.fingerprint(task)
    if candidate is None or candidate.matcher == now:
        return []
    if not candidate.matcher:  # of an earlier version: known from now on
        registry.set_matcher(candidate, now)
        return []
    takers = ", ".join(repr(other.name) for other in matcher.takers(task)) or "none"
    reason = (
        "the task takes other prompts than its student was certified for (tasks that take part "
        f"of them now: {takers}); it has to be certified again"
    )
    with registry.store.write() as transaction:
        restarted = begin_anew(
            transaction,
            candidate,
            after_seq=newest_seq(transaction),
            promotion=row,
            by="traffic",
            reason=reason,
            matcher=now,
        )
    if restarted is None:
        return []
    return [Event(task.name, "shadowing" if row is None else "demoted", reason)]


def compared_otherwise(
    registry: Registry, record: TaskRecord, settings: LoopSettings
) -> list[Event]:
    """Give up students whose answers were compared otherwise than the task's are now.

    A shadow is replaced: another comparison is another attempt. A promoted student is taken
    off if an answer may have a larger loss now than as it was certified: if it was certified with a
    fold that the task has no more, with other rules for fields, or by the share of wrong fields
    where any wrong field counts in full. The task may train again.
    """
    task_id, name = record.task.id, record.task.name
    by_field = settings.by_field(name)
    events = []
    for shadow, _, _ in registry.candidates(task_id=task_id, state="shadow"):
        if shadow.compares(record, by_field):
            continue
        registry.set_state(shadow.id, "replaced")
        registry.set_trained_on(task_id, 0)
        reason = (
            f"answers are compared {_how(record.folds, by_field)} now: who shadowed is given up"
        )
        events.append(Event(name, "waiting", reason))
    promotion = registry.promotion(task_id)
    if promotion is None or promotion.certificate is None:
        return events
    candidate = registry.candidate(promotion.certificate.student)
    if not (set(candidate.folds) <= set(record.folds) and by_field.covers(candidate.by_field)):
        reason = (
            f"answers are compared {_how(record.folds, by_field)} now, and its student was "
            f"certified for answers compared {_how(candidate.folds, candidate.by_field)}; it has "
            "to be certified again"
        )
        registry.set_trained_on(task_id, 0)
        registry.demote(task_id, by="turn", reason=reason)
        events.append(Event(name, "demoted", reason))
    return events


def _how(folds: tuple[str, ...], by_field: FieldSettings) -> str:
    how = f"after {', '.join(folds)}" if folds else "as they are"
    return how if by_field.plain else f"{how}, by the loss {by_field}"


def critical_named_anew(registry: Registry, subject: Subject) -> list[Event]:
    """Give up students that answer what the user has since named as critical."""
    task_id, name = subject.record.task.id, subject.record.task.name
    promotion = registry.promotion(task_id)
    current = promotion.certificate if promotion else None
    shadows = [shadow for shadow, _, _ in registry.candidates(task_id=task_id, state="shadow")]
    events = []
    promoted = [registry.candidate(current.student)] if current is not None else []
    for candidate in promoted + shadows:
        named = subject.as_certified(candidate).critical
        missing = [repr(text) for text in named if text not in candidate.critical]
        if not missing:
            continue
        reason = (
            f"tasks.{name}.critical names {', '.join(missing)}, of which the student does not "
            "know; one that leaves those to the teacher is trained"
        )
        registry.set_state(candidate.id, "replaced")
        registry.set_trained_on(task_id, 0)
        if current is not None and candidate.id == current.student:
            registry.demote(task_id, by="turn", reason=reason)
            events.append(Event(name, "demoted", reason))
        else:
            events.append(Event(name, "waiting", reason))
    return events


def veto(registry: Registry, policy: Policy) -> list[Event]:
    """Take off every promoted student that the policy, as it is now, would not let be promoted."""
    names = {record.task.id: record.task.name for record in registry.tasks()}
    events = []
    for task_id, promotion in registry.promotions().items():
        if promotion.certificate is None:
            continue
        made_of = registry.candidate(promotion.certificate.student).made_of()
        decision = policy.may_promote(made_of)
        if not decision.allowed:
            reason = str(decision)
            if registry.demote(
                task_id, by="policy", reason=reason, expected_promotion=promotion.id
            ):
                events.append(Event(names.get(task_id, task_id), "demoted", reason))
    return events
