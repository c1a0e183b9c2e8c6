"""What runs: a supervisor, the gateway's workers and the learner, each a process of its own.

They share nothing but the store, the listening socket and a folder that lives as long as the
supervisor. Knows nothing of how requests are answered or students are trained.
"""

from openwheel.processes.order import Order
from openwheel.processes.supervisor import supervise

__all__ = ["Order", "supervise"]
