"""The traffic log: storing exchanges, and judging a log's order.

Knows nothing of tasks and students, except that it keeps columns for them that it never reads.
"""

from openwheel.traffic.exchange import BY_STUDENTS, Exchange, Source
from openwheel.traffic.order import OrderEvidence, order_evidence
from openwheel.traffic.retention import retention
from openwheel.traffic.rows import TaskRow
from openwheel.traffic.schema import metadata
from openwheel.traffic.store import Store

__all__ = [
    "BY_STUDENTS",
    "Exchange",
    "OrderEvidence",
    "Source",
    "Store",
    "TaskRow",
    "metadata",
    "order_evidence",
    "retention",
]
