"""Keeps all data in a SQLite file or a Postgres database; every SQL statement is here.

Each subject (`tasks`, `students`, `promotions`, ...) has a module of functions, which work inside a
caller's `Transaction`, so that related rows change together. Knows nothing of what the numbers
mean: structs of later stages are kept as JSON and not read. What the databases do not share is in
`sqlite`, `postgres` and `sql`.
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
