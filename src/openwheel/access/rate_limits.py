"""Enforces rate limits that all worker processes share exactly.

This is the generic cell rate algorithm (ITU-T I.371, annex A). For each limit one number is kept,
the time at which the whole allowance will be there again. Use moves it into the future; its
distance from now is the part of the minute's allowance that is used up. It needs no timer, and no
allowance is lost or given away when a minute ends.
"""

import time
from collections.abc import Callable
from typing import Protocol

import msgspec

_SECOND = 1_000_000_000
_MINUTE = 60 * _SECOND
_LONGEST = 60 * _MINUTE
"""No key waits longer for its token limit, however much one request used."""


class Allowance(msgspec.Struct, frozen=True):
    """The rest of one limit.

    Attributes:
        limit: Requests or tokens a minute, which is also how many can be used at once.
        remaining: How many of them are left.
        reset: Seconds until all are there again, if none are used.
        retry_after: Seconds until one more request is admitted; 0 if this one was.
    """

    limit: int
    remaining: int
    reset: float
    retry_after: float = 0.0


class Allowances(msgspec.Struct, frozen=True):
    """The rest of a key's limits; None where it has no such limit."""

    requests: Allowance | None = None
    tokens: Allowance | None = None


class Counters(Protocol):
    """Pairs of numbers by a key's id, at first zeros; one worker at a time changes a pair."""

    def take(self, slot: int) -> tuple[int, int]:
        """Return a pair and lock it for other processes until `give`."""

    def give(self, slot: int, values: tuple[int, int] | None = None) -> None:
        """Set a pair, or leave it with None, and unlock it."""

    def check(self) -> None:
        """Repair the counters; raise a StoreError if they could not be used since the last call."""

    def close(self) -> None:
        """Let go of them."""


class Limits:
    """Counts requests and tokens by key id, together with all other workers.

    It suits the event loop: it takes a few microseconds, and a worker that is killed while it
    counts blocks no other.
    """

    def __init__(self, counters: Counters, *, clock: Callable[[], int] = time.monotonic_ns) -> None:
        """Count with counters that workers share.

        Args:
            counters: The shared counters.
            clock: Returns nanoseconds, the same for all workers, and never set. If it goes back all
                the same, a key waits for a minute at most (an hour for tokens).
        """
        self._counters = counters
        self._clock = clock

    def admit(self, key_id: int, *, requests: int | None, tokens: int | None) -> Allowances:
        """Count a request, unless one of its key's limits is used up; then count nothing.

        The token limit admits a request while any of it is left, since the request's tokens are
        known only afterwards: see `charge`.

        Args:
            key_id: From 1.
            requests, tokens: The limits, a minute; None for none.

        Returns:
            The allowances left. The request is admitted if no ``retry_after`` is above 0.
        """
        if requests is None and tokens is None:
            return Allowances()
        values = None
        of_requests = of_tokens = None
        stored = self._counters.take(key_id)
        try:
            now = self._clock()
            counted, charged = _ahead(stored[0], now, _MINUTE), _ahead(stored[1], now, _LONGEST)
            if tokens is not None:
                of_tokens = _of_tokens(charged, tokens)
            if requests is not None:
                refused = of_tokens is not None and of_tokens.retry_after > 0
                counted, of_requests = _of_requests(counted, requests, take=not refused)
            values = (now + counted, now + charged)
        finally:
            self._counters.give(key_id, values)
        return Allowances(of_requests, of_tokens)

    def charge(self, key_id: int, used: int, *, tokens: int) -> None:
        """Take used tokens from a key's allowance, a number a minute, which may leave a debt."""
        values = None
        stored = self._counters.take(key_id)
        try:
            now = self._clock()
            charged = _ahead(stored[1], now, _LONGEST) + max(used, 0) * _MINUTE // tokens
            values = (stored[0], now + min(charged, _LONGEST))
        finally:
            self._counters.give(key_id, values)

    def check(self) -> None:
        """Repair the shared counters; raise `StoreError` if they failed since the last call."""
        self._counters.check()

    def close(self) -> None:
        """Close the shared counters."""
        self._counters.close()


def _ahead(stored: int, now: int, longest: int) -> int:
    """Return the time until the whole allowance is there again, from the time stored for it."""
    # This clock never stored a time further ahead: the clock went back, or the file is damaged. To
    # treat the minute's allowance as just used is neither a gift nor a long wait.
    if stored - now > longest:
        return _MINUTE
    return max(stored - now, 0)


def _of_requests(ahead: int, limit: int, *, take: bool) -> tuple[int, Allowance]:
    """Take a request if ``take`` and there is one; return how far ahead is then, what is left."""
    # Whole nanoseconds add up without rounding, so that exactly ``limit`` fit.
    each = _MINUTE // limit
    most = each * limit
    if ahead + each > most:
        return ahead, Allowance(limit, 0, ahead / _SECOND, (ahead + each - most) / _SECOND)
    if take:
        ahead += each
    return ahead, Allowance(limit, (most - ahead) // each, ahead / _SECOND)


def _of_tokens(ahead: int, limit: int) -> Allowance:
    if ahead >= _MINUTE:
        return Allowance(limit, 0, ahead / _SECOND, (ahead - _MINUTE + 1) / _SECOND)
    return Allowance(limit, (_MINUTE - ahead) * limit // _MINUTE, ahead / _SECOND)
