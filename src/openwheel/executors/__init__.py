"""Carries out heavy computations: in this process, in a child process, or on a Ray cluster.

Knows nothing of what is computed. A computation that goes elsewhere is files in and files out.
"""

from openwheel.executors.computation import Computation, Computing, Executor, away, here, in_order
from openwheel.executors.needs import Needs

__all__ = ["Computation", "Computing", "Executor", "Needs", "away", "here", "in_order"]
