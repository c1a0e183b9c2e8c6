"""The store: every SQL statement of the product, and the file they are about.

A module of functions for each subject (`tasks`, `students`, `promotions`, ...), which work inside a
caller's `Transaction`, so that what belongs together changes together. Knows nothing of what the
numbers mean: structs of later stages are handed in and out, kept as JSON and never looked into.
What is SQLite's own is in `sqlite`.
"""

from openwheel.store.exchange import AUDIT_SUFFIX, BY_STUDENTS, Exchange, Source
from openwheel.store.exchanges import TaskRow
from openwheel.store.retention import retention
from openwheel.store.store import Store, Transaction

__all__ = [
    "AUDIT_SUFFIX",
    "BY_STUDENTS",
    "Exchange",
    "Source",
    "Store",
    "TaskRow",
    "Transaction",
    "retention",
]
