"""The store: the traffic log and all else that is kept, in one file.

Knows nothing of tasks and students, except that it keeps columns for them that it never reads.
"""

from openwheel.store.exchange import BY_STUDENTS, Exchange, Source
from openwheel.store.retention import retention
from openwheel.store.rows import TaskRow
from openwheel.store.schema import metadata
from openwheel.store.store import Store

__all__ = [
    "BY_STUDENTS",
    "Exchange",
    "Source",
    "Store",
    "TaskRow",
    "metadata",
    "retention",
]
