"""What to train on after the traffic changed: all there is, or only what came since."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from openwheel.loop.audit.records import SliceChange
from openwheel.loop.data import TaskData
from openwheel.loop.subject import Subject
from openwheel.students import train
from openwheel.students.variables import choose_variables

BoolArray = npt.NDArray[np.bool_]

RUNG = "linear"
"""What both are tried with: the cheapest that generalises."""


def worth_training_on(
    subject: Subject, data: TaskData, after_seq: int, slices: Sequence[SliceChange] = ()
) -> TaskData:
    """Return a task's exchanges without those from before a change, where these mislead.

    Two quick students are compared on exchanges since the change that neither has seen (out of
    fold): one trained on all, one without what came before. Only labels are tried; records and
    texts keep everything.

    Args:
        subject: The task.
        data: Exchanges to train on.
        after_seq: The change came after this exchange, as far as can be told; 0 for none.
        slices: Changes of one slice each, later than that; of the other slices all is kept.
    """
    if subject.record.form != "label":
        return data
    if after_seq:
        data = _without(data, data.seq <= after_seq, data.seq > after_seq)
    for change in slices:
        inside = np.array([change.is_in(values) for values in data.inputs], np.bool_)
        before = data.seq <= change.after_seq
        data = _without(data, inside & before, inside & ~before)
    return data


def _without(data: TaskData, stale: BoolArray, recent: BoolArray) -> TaskData:
    """Leave out what is stale if a student trained without it agrees more on what is recent."""
    if not stale.any() or not recent.any():
        return data
    kept = data.take(np.flatnonzero(~stale))
    return kept if _agreement(kept, recent[~stale]) > _agreement(data, recent) else data


def _agreement(data: TaskData, recent: BoolArray) -> float:
    """Return the out-of-fold agreement of a quick student on recent exchanges."""
    variables = choose_variables(data.inputs, data.answers)
    try:
        fitted = train(RUNG, data.inputs, data.answers, variables=variables)
    except ValueError:
        return 0.0  # nothing to learn from
    seen = fitted.agrees[recent[fitted.rows]]
    return float(seen.mean()) if len(seen) else 0.0
