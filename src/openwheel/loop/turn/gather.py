"""Gathers a task's changes, promoted student and shadow before any student is judged."""

import numpy as np

from openwheel.gate.arrival_order import OrderEvidence, order_evidence
from openwheel.loop.audit.records import changed_after, slice_changes, slices_off
from openwheel.loop.data import TaskData
from openwheel.loop.drift.check import check_teachers
from openwheel.loop.drift.records import changed_since
from openwheel.loop.turn import explain
from openwheel.loop.turn.shadow import find_shadow
from openwheel.loop.turn.standing import compared_otherwise, critical_named_anew
from openwheel.loop.turn.state import Changes, TaskState


def gather(state: TaskState) -> None:
    """Find the promoted student, the shadow and the changes, and give up students that changes end.

    The task's turn is over if imported exchanges are in no order of arrival.
    """
    registry, store, task_id = state.registry, state.registry.store, state.task_id
    for text in explain.left_out(state.data.left_out):
        state.tell("vetoed", text)
    # Changes of the teacher come first, so that evidence on one teacher is never used for
    # another.
    settings = state.subject.settings
    state.events += check_teachers(store, registry, settings, until=state.newest, task_id=task_id)
    # A student that now shadows again may be one whose answers were compared otherwise.
    state.events += compared_otherwise(registry, state.subject.record, settings)
    given_up = critical_named_anew(registry, state.subject)
    state.events += given_up
    state.trained_on = 0 if given_up else state.subject.record.trained_on
    state.promotion = registry.promotion(task_id)
    if state.promotion is None:
        order = _order(state.data)
        if not order.in_order:
            state.end("waiting", order.reason)
            return
    after = max(changed_after(store, task_id), changed_since(store, task_id))
    slices = tuple(slice_changes(registry, task_id, after=after))
    still = slices_off(registry, task_id)
    off = tuple(change for change in slices if change.slice in still)
    state.changes = Changes(after, slices, off)
    find_shadow(state)


def _order(data: TaskData) -> OrderEvidence:
    """Judge the order of imported exchanges; a gateway's are kept as they came."""
    logged = data.take(
        np.flatnonzero(data.trains & [not origin.teacher for origin in data.origins])
    )
    times = logged.time if (logged.time > 0).all() else None
    return order_evidence(logged.answers, times)
