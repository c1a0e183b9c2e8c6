"""The guard: what a student was taught nothing of, it leaves to the teacher."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from openwheel.students.agreement import Agreement
from openwheel.students.evidence import Evidence

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


class Guard(NamedTuple):
    """A logistic model of novelty, and the most of it at which a student answers.

    Attributes:
        model: Of whether an input's answer is unknown, on features and strangeness.
        limit: The most probability of that.
    """

    model: Agreement
    limit: float

    def novelty(self, evidence: Evidence) -> FloatArray:
        """Return the probability that the answer is unknown, were half of the answers, (n,)."""
        features = np.concatenate((evidence.features, evidence.strangeness), axis=1)
        return self.model.confidence(features)

    def defers(self, evidence: Evidence) -> BoolArray:
        """Return which inputs are left to the teacher, shape (n,)."""
        return evidence.blank | (self.novelty(evidence) > self.limit)
