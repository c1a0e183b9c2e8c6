"""Writes exchanges to the store in batches, on a thread beside the requests."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from openwheel.errors import StoreError, UnstorableError
from openwheel.settings import CaptureSection
from openwheel.store.exchange import Exchange

logger = logging.getLogger(__name__)

_DEFAULTS: Final = CaptureSection()
_FIRST_BACKOFF_S = 0.05
_LONGEST_BACKOFF_S = 5.0
_LOG_DROPS_EVERY_S = 10.0
_SDK_TRIES_WITHIN_S = 900.0  # their timeouts are ten minutes


class ExchangeStore(Protocol):
    """Keeps exchanges."""

    def append(self, exchanges: Sequence[Exchange], /) -> int:
        """Commit all of ``exchanges`` or none; return how many were new.

        Raises:
            UnstorableError: One of them cannot be written, whatever is tried.
            StoreError: They could not be written.
        """

    def has_same(self, exchange: Exchange, /, *, within: float) -> bool:
        """Return whether the same request by the same key was answered shortly before.

        Raises:
            StoreError: The store cannot be read.
        """


class CaptureStats(msgspec.Struct, frozen=True):
    """The state of capture.

    Attributes:
        queued: Exchanges waiting, the batch being written included.
        written: Exchanges committed.
        dropped: Exchanges lost, because the queue was full, the writer gave up, or the store
            cannot hold them.
        repeated: Exchanges left out, since the client's SDK had only asked again.
        failed: Attempts to write a batch that failed; each was tried again.
        lag_ms: From taking the oldest exchange of the last batch to its commit.
        error: The store's last error, ``""`` once a batch was written again.
        alive: Whether the writer runs.
    """

    queued: int = 0
    written: int = 0
    dropped: int = 0
    repeated: int = 0
    failed: int = 0
    lag_ms: float = 0.0
    error: str = ""
    alive: bool = True


class Capture(Protocol):
    """Takes an exchange from the gateway when its response is complete."""

    def put(
        self, exchange: Exchange, done: Callable[[], None] | None = None, *, is_retry: bool = False
    ) -> None:
        """Take an exchange; never blocks and never raises.

        Args:
            exchange: What to keep.
            done: Called, from another thread, once it is committed or lost.
            is_retry: Whether the client marks the request as sent before.
        """

    def flush(self, timeout: float) -> bool:
        """Wait until all exchanges taken so far are committed; return whether they are."""

    def stats(self) -> CaptureStats:
        """Return how capture stands."""


# An exchange, its time, a callback for when it is settled, and whether it may be a repetition.
_Waiting = tuple[Exchange, float, Callable[[], None] | None, bool]


class CaptureWriter:
    """Writes exchanges to a store from a thread, every few milliseconds, in batches.

    A batch that the store refuses is kept and tried again, ever more slowly. Meanwhile the queue
    fills. When it is full, new exchanges are dropped, counted and logged, so memory stays bounded
    and no request waits.

    Args:
        store: Where to write.
        settings: The most to hold.
        linger: Seconds to gather a batch; with it a commit comes well within 50 ms.
        max_batch: The most exchanges to write at once.
    """

    def __init__(
        self,
        store: ExchangeStore,
        *,
        settings: CaptureSection = _DEFAULTS,
        linger: float = 0.02,
        max_batch: int = 1_000,
    ) -> None:
        self._store = store
        self._linger = linger
        self._max_queued = settings.max_queued
        self._max_bytes = settings.max_bytes
        self._max_batch = max_batch
        self._lock = threading.Lock()
        self._settled = threading.Condition(self._lock)
        self._filled = threading.Event()
        self._closing = threading.Event()
        self._give_up_at = float("inf")
        self._queue: deque[_Waiting] = deque()
        self._bytes = 0
        self._held = 0  # in the queue or in the batch being written
        self._accepted = self._settled_count = self._given_up = 0
        self._written = self._dropped = self._repeated = self._failed = 0
        self._lag = 0.0
        self._error = ""
        self._drops_logged_at = float("-inf")
        # A daemon, so that a process that never closes it can still end.
        self._thread = threading.Thread(target=self._run, name="openwheel-capture", daemon=True)
        self._thread.start()

    def put(
        self, exchange: Exchange, done: Callable[[], None] | None = None, *, is_retry: bool = False
    ) -> None:
        """Take an exchange, or drop it when there is no room; see `Capture.put`."""
        size = _size(exchange)
        with self._lock:
            if (
                self._held < self._max_queued
                and self._bytes + size <= self._max_bytes
                and not self._closing.is_set()
            ):
                self._queue.append((exchange, time.monotonic(), done, is_retry))
                self._held += 1
                self._accepted += 1
                self._bytes += size
                dropped = 0
            else:
                self._dropped += 1
                dropped = self._dropped
        if dropped:
            self._log_drop(dropped)
            if done is not None:
                done()
        elif not self._filled.is_set():
            self._filled.set()

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until all exchanges taken so far are committed; return whether they are."""
        deadline = time.monotonic() + timeout
        with self._settled:
            given_up, target = self._given_up, self._accepted
            # Short waits, since a writer that died notifies no waiter.
            while self._settled_count < target and self._thread.is_alive():
                if (seconds_left := deadline - time.monotonic()) <= 0:
                    return False
                self._settled.wait(min(seconds_left, 0.1))
            return self._settled_count >= target and self._given_up == given_up

    def close(self, timeout: float = 10.0) -> bool:
        """Write the remaining exchanges and stop; return whether none is lost.

        What the store refuses for ``timeout`` seconds is counted as dropped and logged.
        """
        self._give_up_at = time.monotonic() + timeout
        with self._lock:  # so that no put comes between the writer's last look and its end
            self._closing.set()
        self._filled.set()
        self._thread.join(timeout + 1.0)
        return not self._thread.is_alive() and self._held == 0 and self._given_up == 0

    def stats(self) -> CaptureStats:
        """Return how capture stands."""
        with self._lock:
            return CaptureStats(
                queued=self._held,
                written=self._written,
                dropped=self._dropped,
                repeated=self._repeated,
                failed=self._failed,
                lag_ms=self._lag * 1000,
                error=self._error,
                alive=self._thread.is_alive(),
            )

    def _run(self) -> None:
        while True:
            self._filled.wait()
            self._closing.wait(self._linger)
            self._filled.clear()
            batch = self._take()
            if batch:
                self._settle(batch)
            with self._lock:
                if self._queue:
                    # Exchanges that came while a batch was written linger too, since a commit costs
                    # as much for one exchange as for fifty.
                    self._filled.set()
                elif self._closing.is_set():
                    return

    def _take(self) -> list[_Waiting]:
        with self._lock:
            return [self._queue.popleft() for _ in range(min(len(self._queue), self._max_batch))]

    def _settle(self, batch: list[_Waiting]) -> None:
        """Write a batch, or give it up, and notify the requests that wait for it."""
        new: list[Exchange] = []
        for exchange, _, _, is_retry in batch:
            # The earlier try may be in this very batch, where the store is slow.
            if not (
                is_retry
                and (any(_same(exchange, earlier) for earlier in new) or self._has(exchange))
            ):
                new.append(exchange)
        written = self._write(new)
        lost = len(new) - written
        with self._settled:
            self._held -= len(batch)
            self._bytes -= sum(_size(exchange) for exchange, _, _, _ in batch)
            self._written += written
            self._repeated += len(batch) - len(new)
            self._dropped += lost
            self._given_up += lost
            self._settled_count += len(batch)
            self._lag = time.monotonic() - batch[0][1]
            self._settled.notify_all()
        for _, _, done, _ in batch:
            if done is not None:
                done()

    def _has(self, exchange: Exchange) -> bool:
        """Whether the answer to an earlier try of this request is kept already."""
        try:
            return self._store.has_same(exchange, within=_SDK_TRIES_WITHIN_S)
        except StoreError:
            return False  # writing, which comes next, will report the error

    def _write(self, batch: list[Exchange]) -> int:
        """Write a batch, trying until it is written or closing takes too long.

        Returns:
            How many were written.
        """
        backoff = _FIRST_BACKOFF_S
        while batch:
            try:
                self._store.append(batch)
            except UnstorableError as error:
                if len(batch) > 1:  # the other exchanges are kept
                    return sum(self._write([exchange]) for exchange in batch)
                logger.error("Capture: an exchange cannot be stored and is lost: %s", error)
                return 0
            except StoreError as error:
                with self._lock:
                    self._failed += 1
                    self._error = str(error)
                logger.error("Capture: %d exchanges not written yet: %s", len(batch), error)
            else:
                self._error = ""
                return len(batch)
            seconds_left = self._give_up_at - time.monotonic()
            if seconds_left <= 0:
                logger.error("Capture: gave up on %d exchanges; they are lost", len(batch))
                return 0
            if self._closing.is_set():
                time.sleep(min(_FIRST_BACKOFF_S, seconds_left))
            else:
                self._closing.wait(backoff)
                backoff = min(2 * backoff, _LONGEST_BACKOFF_S)
        return 0

    def _log_drop(self, dropped: int) -> None:
        now = time.monotonic()
        if now - self._drops_logged_at > _LOG_DROPS_EVERY_S:
            self._drops_logged_at = now
            logger.error("Capture: the queue is full; %d exchanges dropped so far", dropped)


def _same(first: Exchange, other: Exchange) -> bool:
    return (first.api, first.key, first.request) == (other.api, other.key, other.request)


def _size(exchange: Exchange) -> int:
    return len(exchange.request) + len(exchange.answer.text) + 512
