"""Runs a supervisor, the gateway's workers, engines and the learner, each its own process.

They share only the store, the listening sockets and a folder that lives as long as the supervisor.
Knows nothing of how requests are answered or students are trained.
"""

from openwheel.processes.order import Order
from openwheel.processes.supervisor import supervise

__all__ = ["Order", "supervise"]
