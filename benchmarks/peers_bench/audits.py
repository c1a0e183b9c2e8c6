"""Worlds of audits for the drift rules of all sides, and Openwheel's own rule in them.

An audit is a request that the teacher answers too. Openwheel and stuntd compare where the student
would have answered; Jevstiller counts the others as agreements, for its budget is of all requests.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from audit_bench import rules

IntArray = npt.NDArray[np.int64]

DELTA = 0.05


class World(NamedTuple):
    """A stream of audits, run many times.

    Attributes:
        epsilon: The most disagreement of answers that the sides allow; Jevstiller is given the same
            as a share of all requests.
        coverage: Share of audits where the student would have answered.
        rates: Disagreement of those, and for how many audits, in order.
    """

    epsilon: float
    coverage: float
    rates: Sequence[tuple[float, int]]

    @property
    def audits(self) -> int:
        """All audits of a run."""
        return sum(count for _, count in self.rates)

    def for_peers(self, runs: int) -> Mapping[str, Any]:
        """Return it as the peers' process reads it."""
        target = {
            "Jevstiller": 1 - self.epsilon * self.coverage,
            "stuntd": 1 - self.epsilon,
        }
        shape = {"coverage": self.coverage, "rates": self.rates, "audits": self.audits}
        return {"target": target, "runs": runs, **shape}


def alarms(world: World, runs: int, seed: int) -> IntArray:
    """Return the audit at which Openwheel takes a student off, 0 for never, shape (runs,)."""
    rng = np.random.default_rng([17, seed])
    watch = rules.product(world.epsilon, DELTA).start(runs)
    rates = np.repeat([rate for rate, _ in world.rates], [count for _, count in world.rates])
    place, found = np.zeros(runs, np.int64), np.zeros(runs, np.int64)
    going = np.ones(runs, bool)
    while going.any():
        place += rng.geometric(world.coverage, runs)
        going &= place <= world.audits
        at = rates[np.minimum(place, world.audits) - 1]
        alarmed = watch.step((rng.random(runs) < at).astype(np.float64), np.ones(runs)) & going
        found[alarmed] = place[alarmed]
        going &= ~alarmed
    return found
