"""Plays through what `arithmetic` computes: writers at one lock, a day's traffic, retention."""

import heapq
import math
from collections import deque

import msgspec
import numpy as np

from scale_bench.arithmetic import DAY_S, MOST_IN_BATCH, Append, Traffic


class Played(msgspec.Struct, frozen=True):
    """What writers did.

    Attributes:
        rate: Exchanges a second that were committed.
        batch: Exchanges of a batch, in the mean.
        busy: The share of the time in which some writer appended.
        delay: From an answer to its commit, in the mean.
        latest: The same, that 99 of 100 were within.
        waiting: Exchanges that were left at the end.
    """

    rate: float
    batch: float
    busy: float
    delay: float
    latest: float
    waiting: int


def play_writers(
    rate: float, writers: int, append: Append, linger: float, *, seconds: float, seed: int = 0
) -> Played:
    """Play writers that append in batches, one at a time, event by event.

    Each gets its own stream of exchanges, at random (Poisson). It waits for one, gathers for
    ``linger``, takes at most a thousand, waits for those that asked before it, and appends.
    """
    rng = np.random.default_rng(seed)
    arrivals = [
        np.sort(rng.uniform(0.0, seconds, rng.poisson(rate / writers * seconds)))
        for _ in range(writers)
    ]
    taken = [0] * writers
    events = [
        (float(came[0]) + linger, writer) for writer, came in enumerate(arrivals) if came.size
    ]
    heapq.heapify(events)
    free_at = held = committed_at = 0.0
    batches, delays = 0, []
    while events:
        at, writer = heapq.heappop(events)
        if at > seconds:
            break
        came = arrivals[writer]
        first = taken[writer]
        last = min(int(np.searchsorted(came, at, side="right")), first + MOST_IN_BATCH)
        hold = append.hold(last - first)
        free_at = max(at, free_at) + hold
        held += hold
        batches += 1
        committed_at = max(committed_at, free_at)
        delays.append(free_at - came[first:last])
        taken[writer] = last
        if last < came.size:
            heapq.heappush(events, (max(free_at, float(came[last])) + linger, writer))
    every = np.concatenate(delays) if delays else np.zeros(1)
    total = sum(taken)
    over = max(seconds, committed_at)
    return Played(
        rate=total / over,
        batch=total / max(1, batches),
        busy=held / over,
        delay=float(every.mean()),
        latest=float(np.quantile(every, 0.99)),
        waiting=sum(came.size for came in arrivals) - total,
    )


def rate_at(traffic: Traffic, second: float) -> float:
    """Return the exchanges a second at a time of the day."""
    mean = traffic.exchanges / DAY_S
    return mean * (1 + (traffic.peak - 1) * math.sin(2 * math.pi * second / DAY_S))


def play_backlog(traffic: Traffic, capacity: float, *, step: float = 60.0) -> float:
    """Play a day of a store that takes only so many a second; return how many wait at most."""
    waiting = most = 0.0
    for number in range(int(DAY_S / step)):
        came = rate_at(traffic, (number + 0.5) * step) * step
        waiting = max(0.0, waiting + came - capacity * step)
        most = max(most, waiting)
    return most


def play_retention(traffic: Traffic, stored: float, *, days: int, step: float = 3_600.0) -> float:
    """Play days of a store that drops whole days; return the most bytes that it keeps.

    Args:
        stored: Bytes of an exchange.
        days: How many, more than are kept.
    """
    parts: deque[tuple[int, float]] = deque()
    most = 0.0
    for number in range(int(days * DAY_S / step)):
        start = number * step
        day = int(start // DAY_S)
        if not parts or parts[-1][0] != day:
            parts.append((day, 0.0))
        grown = parts[-1][1] + rate_at(traffic, start + step / 2) * step * stored
        parts[-1] = (day, grown)
        # Its last exchange came at its end.
        while parts and (parts[0][0] + 1) * DAY_S + traffic.keep_days * DAY_S < start + step:
            parts.popleft()
        most = max(most, sum(size for _, size in parts))
    return most
