"""Shares the work among learners: finding tasks, and each task's part of a turn, is done by one.

What is to be done by one learner at a time has a lease, which is taken before and given back after.
The leases are in the store. A lease that was not given back tells that its holder died at it.

A learner on another machine may be frozen, or cut off, for longer than its leases last, and then go
on. So each write under a lease asks first, in its own transaction, whether the lease is still this
learner's: by its token, which grows each time that it is taken.
"""

from openwheel.loop.leases.alone import LeasesAlone
from openwheel.loop.leases.file import FileLeases
from openwheel.loop.leases.lease import (
    ASKING,
    AWAY,
    FINDING,
    JUDGING,
    RETENTION,
    Found,
    Lease,
    LeaseLostError,
    Leases,
    OtherLearnerError,
    claim_unfinished,
    free_dead,
    latest_found,
    of_task,
    settled,
)
from openwheel.loop.leases.shared import SharedLeases
from openwheel.store import Store

__all__ = [
    "ASKING",
    "AWAY",
    "FINDING",
    "JUDGING",
    "RETENTION",
    "FileLeases",
    "Found",
    "Lease",
    "LeaseLostError",
    "Leases",
    "LeasesAlone",
    "OtherLearnerError",
    "SharedLeases",
    "claim_unfinished",
    "free_dead",
    "latest_found",
    "leases_of",
    "of_task",
    "settled",
]


def leases_of(store: Store, *, seconds: float, holder: str = "") -> Leases:
    """Return the leases of a store.

    Args:
        store: The store.
        seconds: How long a lease lasts that is not renewed, where machines share the store.
        holder: Who takes them; by default somebody new.
    """
    if store.shared:
        return SharedLeases(store, seconds=seconds, holder=holder)
    return FileLeases(store, holder=holder)
