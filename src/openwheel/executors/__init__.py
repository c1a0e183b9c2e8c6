"""Carries out heavy computations: in this process, in a child process, or on a Ray cluster.

Knows nothing of what is computed. A computation that goes elsewhere is files in and files out.
"""

from openwheel.executors.child import RESULTS
from openwheel.executors.computation import (
    Computation,
    Computing,
    Executor,
    Session,
    after_earlier,
    away,
    in_order,
    session_of,
)
from openwheel.executors.needs import Needs

__all__ = [
    "RESULTS",
    "Computation",
    "Computing",
    "Executor",
    "Needs",
    "Session",
    "after_earlier",
    "away",
    "in_order",
    "session_of",
]
