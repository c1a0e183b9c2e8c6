"""Slices of a task's traffic: which variable names them, and which to leave to the teacher."""

from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import scipy

from openwheel.loop.records import Slicer
from openwheel.students.student import Inputs

MOST_SLICES = 20
FEWEST_SHARE = 0.005
"""A slice rarer than this in training is deferred like one never seen: nothing is known of it."""

EVIDENT = 0.01
"""A slice is left to the teacher when chance alone, with disagreement at epsilon, would show what
training showed less often than this."""


class SliceChange(msgspec.Struct, frozen=True):
    """A change for the worse in one slice, at which audits took it off.

    Attributes:
        slice: Its name.
        slicer: What told it from others then.
        after_seq: The change came after this exchange, as far as can be told.
    """

    slice: str
    slicer: Slicer
    after_seq: int

    def is_in(self, inputs: Inputs) -> bool:
        """Return whether an exchange with these inputs is in the slice."""
        return self.slicer.slice_of(inputs) == self.slice


def find_slicer(inputs: Sequence[Inputs]) -> Slicer:
    """Choose the variable whose values name the slices, from training inputs in time order.

    It takes few values, none of them rare, and none that came up only lately: a date takes few
    values in a log of a few days, but tomorrow's is new, which would defer everything.
    """
    width = min((len(values) for values in inputs), default=0)
    best = Slicer()
    lately = 3 * len(inputs) // 4
    for variable in range(width if width > 1 else 0):
        counts = Counter(values[variable] for values in inputs)
        if not 2 <= len(counts) <= MOST_SLICES or len(counts) <= len(best.known):
            continue
        before = {values[variable] for values in inputs[:lately]}
        after = {values[variable] for values in inputs[lately:]}
        if not after <= before or len(after) < len(before) / 2:
            continue
        fewest = FEWEST_SHARE * len(inputs)
        known = tuple(sorted(value for value, number in counts.items() if number >= fewest))
        if len(known) >= 2:
            best = Slicer(variable, known)
    return best


def evidently_bad(
    names: Sequence[str],
    answered: npt.NDArray[np.bool_],
    losses: npt.NDArray[np.float64],
    epsilon: float,
) -> tuple[str, ...]:
    """Return the slices whose disagreement among answered training inputs is evidently too high.

    Args:
        names: Slice of each training input, shape (n,).
        answered: Whether it would be answered, out of fold, shape (n,).
        losses: How far the out-of-fold answer was from the teacher's, from 0 to 1, shape (n,).
        epsilon: The most disagreement allowed.
    """
    slices = np.array(names)
    bad = []
    for name in np.unique(slices[answered]):
        inside = answered & (slices == name)
        # Losses between 0 and 1 vary less than as many of 0 and 1: no slice is left too lightly.
        wrong, total = np.floor(losses[inside].sum()), int(inside.sum())
        if scipy.special.bdtrc(wrong - 1, total, epsilon) < EVIDENT:
            bad.append(str(name))
    return tuple(bad)
