"""A certificate is about a stream: when its task takes other prompts than were certified, it ends.

A task that takes part of another's prompts, a task that is gone, another template, another way to
match: all of them change the fingerprint of what the matcher sends to a task.
"""

from openwheel.loop.records import Event
from openwheel.loop.registry import Registry, begin_anew
from openwheel.store.exchanges import newest_seq
from openwheel.tasks import TaskMatcher


def certify_anew(registry: Registry) -> list[Event]:
    """Have each student judged anew whose task takes other prompts than it was trained for.

    The promoted one, or else the one that shadows: it shadows as a new attempt, judged on what
    comes from now on. To be called whenever tasks may have changed, before anybody is judged.
    """
    tasks = [record.task for record in registry.tasks()]
    matcher = TaskMatcher(tasks)
    promotions = registry.promotions()
    shadows = {found.task_id: found for found, _, _ in registry.candidates(state="shadow")}
    events = []
    for task in tasks:
        promotion, candidate = promotions.get(task.id), shadows.get(task.id)
        row = None
        if promotion is not None and promotion.certificate is not None:
            row, candidate = promotion.id, registry.candidate(promotion.certificate.student)
        if candidate is None:
            continue
        now = matcher.fingerprint(task)
        if candidate.matcher == now:
            continue
        if not candidate.matcher:  # of an earlier version: known from now on
            registry.set_matcher(candidate, now)
            continue
        takers = ", ".join(repr(other.name) for other in matcher.takers(task)) or "none"
        reason = (
            "the task takes other prompts than its student was certified for (tasks that take part "
            f"of them now: {takers}); it has to be certified anew"
        )
        with registry.store.write() as transaction:
            anew = begin_anew(
                transaction,
                candidate,
                after_seq=newest_seq(transaction),
                promotion=row,
                by="traffic",
                reason=reason,
                matcher=now,
            )
        if anew is not None:
            events.append(Event(task.name, "shadowing" if row is None else "demoted", reason))
    return events
