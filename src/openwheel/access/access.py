"""Decides whether a request may pass: a valid key, in scope, within limits and budget."""

import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from openwheel.access.budget import Ledger, dollars
from openwheel.access.keys import SECRET_LENGTH, Key, KeyStore, digest
from openwheel.access.once import PREFIX, OnceKeyed
from openwheel.access.rate_limits import Allowances, Limits
from openwheel.access.refused import RefusedError
from openwheel.access.shared_counters import SharedCounters
from openwheel.store import Store
from openwheel.store.limits import Used, exchange

logger = logging.getLogger(__name__)

_SHOWN = 100


class _Known(msgspec.Struct, frozen=True):
    """The keys at one moment; replaced whole, so no request sees half a change."""

    version: tuple[int, ...]
    by_hash: dict[bytes, Key]


class Access:
    """Admits requests and counts what they use. One for each worker process.

    A request goes through `identify` and `admit` before it is read, then through `check_model` and,
    once its task is known, `check_task`. `charge` counts its tokens afterwards. None of these waits
    for the store: `refresh`, called about every second on another thread, reads and writes it.

    """

    def __init__(
        self,
        store: Store,
        limits_path: Path | str,
        *,
        required: bool | None = None,
        clock: Callable[[], float] | None = None,
        ticks: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Load the keys and what they have spent.

        Args:
            store: The store of keys and spending.
            limits_path: A file that the workers share, for rate limits. On a local disk.
            required: Whether requests need a key. By default they do once a first key was made,
                also if the store that held the keys is gone.
            clock: Seconds since 1970. By default this machine's clock, or that of a database that
                machines share.
            ticks: Monotonic nanoseconds.

        Raises:
            StoreError: The store or the limits file cannot be used.
        """
        self._store = store
        self._required = required
        self._ahead = 0.0
        self._clock = clock or self._time
        self._keys = KeyStore(store, clock=self._clock)
        self._ledger = Ledger(store, clock=self._clock)
        self._known = _Known((), {})
        self._once = OnceKeyed(
            store.beside(prefix=PREFIX), Path(limits_path), in_store=self._keys.were()
        )
        self._load()
        if required is None and self._once.keyed and not self._known.by_hash:
            logger.error(
                "There were keys, and the store %s has none: every request is refused until one is "
                "made. %s",
                store,
                self._once.way_out,
            )
        self._limits = Limits(SharedCounters(limits_path), clock=ticks, shared=store.shared)
        self._share_limits()  # it sets the clock too
        self._ledger.flush()

    @property
    def in_force(self) -> bool:
        """Whether requests need a key: without a setting, from the first key on, for good.

        Were it only while a key is live, revoking the last would open the gateway to everybody.
        """
        if self._required is not None:
            return self._required
        return self._once.keyed

    def refresh(self) -> None:
        """Load new and revoked keys, write this process's spending, and read that of others.

        What cannot be read or written stays as it is, and raises `StoreError`.
        """
        with contextlib.ExitStack() as stack:  # each of them, whether or not another fails
            stack.callback(self._limits.check)
            stack.callback(self._ledger.flush)
            stack.callback(self._share_limits)
            self._load()

    def close(self) -> None:
        """Write the spending (`StoreError` if it cannot be), and close the limits file."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._limits.close)
            stack.callback(self._ledger.flush)
            self._share_limits()

    def identify(self, credential: str | None) -> Key | None:
        """Return the key of a client's credential, without ``Bearer``; None if none is needed.

        Raises:
            RefusedError: It is missing, unknown, revoked or expired (401).
        """
        if not self.in_force:
            return None
        if not credential:
            raise _unauthorized("No API key was sent; this gateway needs one of its own.")
        # The time to look up a hash does not reveal how near a guess was.
        key = (
            self._known.by_hash.get(digest(credential))
            if len(credential) == SECRET_LENGTH
            else None
        )
        if key is None:
            raise _unauthorized("The API key is not one of this gateway's.")
        state = key.state(self._clock())
        if state != "live":
            done = "was revoked" if state == "revoked" else "has expired"
            raise _unauthorized(f"The API key {done}.")
        return key

    def admit(self, key: Key) -> Allowances:
        """Count a request of a key against its limits, before it is read; return what is left.

        Raises:
            RefusedError: The key has spent its budget or has used up a rate limit (429).
        """
        if key.budget is not None:
            self._check_budget(key, key.budget)
        return self.count(key)

    def check_model(self, key: Key, model: str) -> None:
        """Check the model that a request names, ``""`` if it names none.

        Raises:
            RefusedError: The key may not use the model (403).
        """
        if not key.allows_model(model):
            subject = f"the model {_short(model)}" if model else "what names no model"
            raise RefusedError(
                status=403,
                code="model_not_allowed",
                type="permission_error",
                message=f"The API key may not use {subject}.",
            )

    def count(self, key: Key) -> Allowances:
        """Count a request that costs nothing against its key's rate limits.

        Raises:
            RefusedError: A rate limit is used up (429).
        """
        allowances = self._limits.admit(
            key.id, requests=key.requests_per_minute, tokens=key.tokens_per_minute
        )
        # The longer of the two waits, so the client is not refused twice.
        waits = [
            (allowance.retry_after, name, allowance.limit)
            for name, allowance in (
                ("requests", allowances.requests),
                ("tokens", allowances.tokens),
            )
            if allowance is not None and allowance.retry_after
        ]
        if waits:
            wait, name, limit = max(waits)
            raise RefusedError(
                status=429,
                code="rate_limit_exceeded",
                type=name,
                message=f"The API key's limit of {limit:,} {name} a minute is used up; "
                f"try again in {wait:.3g} s.",
                retry_after=wait,
                allowances=allowances,
            )
        return allowances

    def check_task(self, key: Key, task: str) -> None:
        """Check the task of a request, ``""`` if it belongs to none.

        Raises:
            RefusedError: The key may not send requests of this task (403).
        """
        if not key.allows_task(task):
            subject = (
                f"requests of the task {_short(task)}" if task else "requests of no known task"
            )
            raise RefusedError(
                status=403,
                code="task_not_allowed",
                type="permission_error",
                message=f"The API key may not send {subject}.",
            )

    def charge(self, key: Key, tokens: int, micro_dollars: int) -> None:
        """Count the tokens of an answered request, and its cost in millionths of a dollar."""
        self._ledger.spend(key, tokens, micro_dollars)
        if key.tokens_per_minute is not None and tokens > 0:
            self._limits.charge(key.id, tokens, tokens=key.tokens_per_minute)

    def _time(self) -> float:
        return time.time() + self._ahead

    def _share_limits(self) -> None:
        """Share rate limits with other machines, and take the database's time, if there are any."""
        if self._store.shared:
            self._limits.share(self._exchange_limits)

    def _exchange_limits(self, used: Mapping[int, Used]) -> Mapping[int, tuple[int, int]]:
        now, ahead = exchange(self._store, used)
        self._ahead = now - time.time()
        return ahead

    def _load(self) -> None:
        # The version first: a key made in between is then loaded again, not missed.
        version = self._keys.version()
        if version != self._known.version:
            self._known = _Known(version, self._keys.by_hash())
        if self._known.by_hash:
            self._once.note()

    def _check_budget(self, key: Key, budget: float) -> None:
        if self._ledger.spent(key).micro_dollars < round(budget * 1_000_000):
            return
        raise RefusedError(
            status=429,
            code="insufficient_quota",
            type="insufficient_quota",
            message=f"The API key has spent its budget of {dollars(budget)} a "
            f"{key.budget_period}; the next {key.budget_period} begins on "
            f"{self._ledger.next_period(key.budget_period)} (UTC).",
        )


def _unauthorized(message: str) -> RefusedError:
    return RefusedError(
        status=401, code="invalid_api_key", type="invalid_request_error", message=message
    )


def _short(name: str) -> str:
    return repr(name if len(name) <= _SHOWN else f"{name[:_SHOWN]}...")
