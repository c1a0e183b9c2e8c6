"""The guard: leaves inputs with unknown answers to the teacher."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from openwheel.students.agreement import Agreement
from openwheel.students.evidence import Evidence

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


class Guard(NamedTuple):
    """A logistic model of novelty, and the limit above which a student defers.

    Attributes:
        model: Predicts whether an input's answer is unknown, from features and strangeness.
        limit: The highest probability of that at which a student answers.
    """

    model: Agreement
    limit: float

    def novelty(self, evidence: Evidence) -> FloatArray:
        """Return the probability that the answer is unknown, if half of all answers were, (n,)."""
        features = np.concatenate((evidence.features, evidence.strangeness), axis=1)
        return self.model.confidence(features)

    def defers(self, evidence: Evidence) -> BoolArray:
        """Return which inputs are left to the teacher, shape (n,)."""
        return evidence.blank | (self.novelty(evidence) > self.limit)
