"""What to train on after the traffic changed: all there is, or only what came since."""

import numpy as np

from openwheel.loop.data import TaskData
from openwheel.loop.subject import Subject
from openwheel.students import train
from openwheel.students.variables import choose_variables

RUNG = "linear"
"""What both are tried with: the cheapest that generalises."""


def worth_training_on(subject: Subject, data: TaskData, after_seq: int) -> TaskData:
    """Return a task's exchanges without those from before a change, where these mislead.

    Two quick students are compared on exchanges since the change that neither has seen (out of
    fold): one trained on all, one on those since the change alone. Only labels are tried; records
    and texts keep everything.

    Args:
        subject: The task.
        data: Exchanges to train on.
        after_seq: The change came after this exchange, as far as can be told; 0 for none.
    """
    recent = np.flatnonzero(data.seq > after_seq)
    if not after_seq or subject.record.form != "label" or not 0 < len(recent) < len(data):
        return data
    alone, together = _agreement(data.take(recent), 0), _agreement(data, after_seq)
    return data.take(recent) if alone > together else data


def _agreement(data: TaskData, after_seq: int) -> float:
    """Return the out-of-fold agreement of a quick student on what came after an exchange."""
    variables = choose_variables(data.inputs, data.answers)
    try:
        fitted = train(RUNG, data.inputs, data.answers, variables=variables)
    except ValueError:
        return 0.0  # nothing to learn from
    seen = fitted.agrees[data.seq[fitted.rows] > after_seq]
    return float(seen.mean()) if len(seen) else 0.0
