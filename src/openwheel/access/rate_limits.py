"""Enforces rate limits that all worker processes of a machine share exactly.

This is the generic cell rate algorithm (ITU-T I.371, annex A). For each limit one number is kept,
the time at which the whole allowance will be there again. Use moves it into the future; its
distance from now is the part of the minute's allowance that is used up. It needs no timer, and no
allowance is lost or given away when a minute ends.

Machines tell each other about every second what they counted (`Limits.share`), so that no request
waits for the network. Until it is told, each counts alone: a key that had rested can use its whole
allowance once on each of G machines. That is a debt which it has to wait for. So in any T minutes
it gets at most (T + G) times its limit, and what G - 1 further machines admit between two tellings.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from openwheel.store.limits import Used

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


class _Untold(msgspec.Struct):
    """What this process counted for a key, and no other machine knows; as `Used`.

    Attributes:
        since: When it began, by the clock.
    """

    since: int
    requests: int = 0
    tokens: int = 0


class Limits:
    """Counts requests and tokens by key id, together with all other workers.

    It suits the event loop: it takes a few microseconds, and a worker that is killed while it
    counts blocks no other.
    """

    def __init__(
        self,
        counters: Counters,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        shared: bool = False,
    ) -> None:
        """Count with counters that workers share.

        Args:
            counters: The shared counters.
            clock: Returns nanoseconds, the same for all workers, and never set. If it goes back all
                the same, a key waits for a minute at most (an hour for tokens, and where machines
                share limits).
            shared: Whether other machines count too, so that `share` is called.
        """
        self._counters = counters
        self._clock = clock
        self._shared = shared
        self._longest = _LONGEST if shared else _MINUTE
        self._untold: dict[int, _Untold] = {}
        self._telling = threading.Lock()

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
            before = counted = _ahead(stored[0], now, self._longest)
            charged = _ahead(stored[1], now, _LONGEST)
            if tokens is not None:
                of_tokens = _of_tokens(charged, tokens)
            if requests is not None:
                refused = of_tokens is not None and of_tokens.retry_after > 0
                counted, of_requests = _of_requests(counted, requests, take=not refused)
            values = (now + counted, now + charged)
        finally:
            self._counters.give(key_id, values)
        self._note(key_id, now, requests=counted - before)
        return Allowances(of_requests, of_tokens)

    def charge(self, key_id: int, used: int, *, tokens: int) -> None:
        """Take used tokens from a key's allowance, a number a minute, which may leave a debt."""
        values = None
        stored = self._counters.take(key_id)
        try:
            now = self._clock()
            before = _ahead(stored[1], now, _LONGEST)
            charged = min(before + max(used, 0) * _MINUTE // tokens, _LONGEST)
            values = (stored[0], now + charged)
        finally:
            self._counters.give(key_id, values)
        self._note(key_id, now, tokens=charged - before)

    def _note(self, key_id: int, now: int, *, requests: int = 0, tokens: int = 0) -> None:
        """Note what other machines have to be told."""
        if not self._shared or not (requests or tokens):
            return
        with self._telling:
            untold = self._untold.setdefault(key_id, _Untold(now))
            untold.requests += requests
            untold.tokens += tokens

    def share(
        self, exchange: Callable[[Mapping[int, Used]], Mapping[int, tuple[int, int]]]
    ) -> None:
        """Tell other machines what this process counted since the last call, and take in theirs.

        Args:
            exchange: Adds what it is given to what all machines counted, by the key; returns for
                each key the nanoseconds until its two allowances are whole again. What it raises
                is raised; then all of it is told by the next call.
        """
        with self._telling:
            telling, self._untold = self._untold, {}
        # Before the exchange: a machine that is alone then counts on as if there were none.
        now = self._clock()
        try:
            ahead = exchange(
                {
                    key: Used(max(now - untold.since, 0), untold.requests, untold.tokens)
                    for key, untold in telling.items()
                }
            )
        except BaseException:
            with self._telling:
                for key, untold in telling.items():
                    later = self._untold.get(key, _Untold(untold.since))
                    untold.requests += later.requests
                    untold.tokens += later.tokens
                    self._untold[key] = untold
            raise
        for key, (requests, tokens) in ahead.items():
            values = None
            stored = self._counters.take(key)
            try:
                values = (
                    max(stored[0], now + min(requests, _LONGEST)),
                    max(stored[1], now + min(tokens, _LONGEST)),
                )
            finally:
                self._counters.give(key, values)

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
