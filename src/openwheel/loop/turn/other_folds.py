"""When the user wants a task's answers compared otherwise: its students were for other ones.

A student stays where it was held to more than is asked now, and is audited as it was certified.
"""

from openwheel.loop.records import Event, TaskRecord
from openwheel.loop.registry import Registry


def compared_otherwise(registry: Registry, record: TaskRecord) -> list[Event]:
    """Give up students whose answers were compared by other folds than the task's are now.

    Whoever shadows is replaced: another comparison is another attempt. Whoever is promoted is taken
    off if it was certified with a fold that the task has no more. The task may train anew.
    """
    task_id, name = record.task.id, record.task.name
    events = []
    for shadow, _, _ in registry.candidates(task_id=task_id, state="shadow"):
        if shadow.compares(record):
            continue
        registry.set_state(shadow.id, "replaced")
        registry.set_trained_on(task_id, 0)
        reason = f"answers are compared {_how(record.folds)} now: who shadowed is given up"
        events.append(Event(name, "waiting", reason))
    promotion = registry.promotions().get(task_id)
    if promotion is None or promotion.certificate is None:
        return events
    candidate = registry.candidate(promotion.certificate.student)
    if not set(candidate.folds) <= set(record.folds):
        reason = (
            f"answers are compared {_how(record.folds)} now, and its student was certified for "
            f"answers compared {_how(candidate.folds)}; it has to be certified anew"
        )
        registry.set_trained_on(task_id, 0)
        registry.demote(task_id, by="turn", reason=reason)
        events.append(Event(name, "demoted", reason))
    return events


def _how(folds: tuple[str, ...]) -> str:
    return f"after {', '.join(folds)}" if folds else "as they are"
