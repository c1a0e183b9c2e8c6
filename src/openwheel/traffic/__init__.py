"""The traffic log: reading logs as exchanges, storing exchanges, and judging a log's order.

Knows nothing of tasks and students, except that it keeps columns for them that it never reads.
"""

from openwheel.traffic.exchange import BY_STUDENTS, Exchange, Source
from openwheel.traffic.log_problems import BadLine, LogProblems
from openwheel.traffic.logs import read_log
from openwheel.traffic.order import OrderEvidence, order_evidence
from openwheel.traffic.retention import retention
from openwheel.traffic.rows import TaskRow
from openwheel.traffic.schema import metadata
from openwheel.traffic.store import Store

__all__ = [
    "BY_STUDENTS",
    "BadLine",
    "Exchange",
    "LogProblems",
    "OrderEvidence",
    "Source",
    "Store",
    "TaskRow",
    "metadata",
    "order_evidence",
    "read_log",
    "retention",
]
