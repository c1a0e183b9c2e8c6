"""What a promoted student covers of the latest requests: its certificate knows only of earlier."""

import msgspec

from openwheel.loop.audit.records import read_alarms
from openwheel.loop.promotions import Promotion
from openwheel.loop.registry import Registry
from openwheel.store import Store, audits

LATEST = 1_000
"""Requests that a task's coverage is counted on, the latest it had."""

FEWEST = 200
"""With fewer since the promotion the certificate's coverage stands in: a share of so many has a
standard error of 3.5 points at most."""


class Latest(msgspec.Struct, frozen=True):
    """The latest requests of a task since its promotion, or since a slice was taken off.

    Attributes:
        requests: How many.
        answered: How many of them the student answered; best effort is none of it.
        held_back: How many it could have answered, had the canary not held them back.
    """

    requests: int
    answered: int
    held_back: int


def latest_requests(store: Store, promotion: Promotion) -> Latest:
    """Count the latest requests of a promoted task; an audit's second answer is none."""
    off = [
        row.alarm.seq
        for row in read_alarms(store, promotion.task_id)
        if row.promotion == promotion.since
    ]
    after = max([promotion.after_seq, *off])
    with store.read() as transaction:
        found = audits.count_latest(transaction, promotion.task_id, after=after, limit=LATEST)
    return Latest(*found)


def coverage_now(registry: Registry, promotion: Promotion | None) -> float:
    """Return the share of its task's requests that the promoted student could answer; 0 for none.

    Counted on the latest requests. While there are few, that of the certificate, without the
    slices that audits took off.
    """
    certificate = promotion.certificate if promotion is not None else None
    if promotion is None or certificate is None:
        return 0.0
    latest = latest_requests(registry.store, promotion)
    if latest.requests >= FEWEST:
        return (latest.answered + latest.held_back) / latest.requests
    plan = registry.plans().get(promotion.since)
    answered = sum(part.answered for part in certificate.slices)
    if plan is None or not plan.deferred or not answered:
        return certificate.coverage
    off = sum(part.answered for part in certificate.slices if part.name in plan.deferred)
    return certificate.coverage * (1 - off / answered)
