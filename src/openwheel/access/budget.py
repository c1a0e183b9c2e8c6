"""Counts the spending of each key in the current day or month, over all workers."""

import datetime
import threading
import time
from collections.abc import Callable

import msgspec

from openwheel.access.keys import Key, Period
from openwheel.store import Store, keys

_DAY = 86_400
# Of one request. Usage comes from a teacher and may be any number; sums must fit 64 bits.
_MOST = 1_000_000_000_000

_Slot = tuple[str, int]


class Spending(msgspec.Struct, frozen=True):
    """An amount of tokens and money.

    Attributes:
        tokens: Of prompts and answers.
        micro_dollars: Millionths of a dollar.
    """

    tokens: int = 0
    micro_dollars: int = 0

    def __add__(self, other: "Spending") -> "Spending":
        """Return the sum."""
        return Spending(self.tokens + other.tokens, self.micro_dollars + other.micro_dollars)


_NOTHING = Spending()


class Ledger:
    """Adds up the spending of keys: in memory at once, in the store at each flush.

    `spend` and `spent` never wait for the store. Use one ledger for each process; it knows the
    spending of other processes as of the last flush.
    """

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        """Make an empty ledger; `flush` reads earlier spending.

        Args:
            store: Where it is kept.
            clock: Seconds since 1970.
        """
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._pending: dict[_Slot, Spending] = {}
        self._writing: dict[_Slot, Spending] = {}
        self._stored: dict[_Slot, Spending] = {}
        self._today = (-1, "", "")

    def spend(self, key: Key, tokens: int, micro_dollars: int) -> None:
        """Add a request's tokens and cost to its key's current period."""
        now = Spending(min(max(tokens, 0), _MOST), min(max(micro_dollars, 0), _MOST))
        slot = (self.period(key.budget_period), key.id)
        with self._lock:
            self._pending[slot] = self._pending.get(slot, _NOTHING) + now

    def spent(self, key: Key) -> Spending:
        """Return the spending of a key in its current period, as known to this process."""
        slot = (self.period(key.budget_period), key.id)
        with self._lock:
            spending = self._stored.get(slot, _NOTHING)
            for more in (self._writing, self._pending):
                if slot in more:
                    spending += more[slot]
        return spending

    def flush(self) -> None:
        """Write the spending since the last flush, and read that of all processes.

        All of it is written in one transaction, or none; then it is kept for the next flush.

        Raises:
            StoreError: The store could not be read or written.
        """
        with self._flushing:
            with self._lock:
                self._writing, self._pending = self._pending, {}
            try:
                stored = self._exchange(self._writing)
            except BaseException:
                with self._lock:
                    for slot, spending in self._writing.items():
                        self._pending[slot] = self._pending.get(slot, _NOTHING) + spending
                    self._writing = {}
                raise
            with self._lock:
                self._stored, self._writing = stored, {}

    def period(self, period: Period) -> str:
        """Return the first day of the current period, in UTC, as an ISO date."""
        today = int(self._clock() // _DAY)
        current, day, month = self._today
        if today != current:
            date = datetime.date.fromordinal(_EPOCH + today)
            day, month = date.isoformat(), date.replace(day=1).isoformat()
            self._today = (today, day, month)
        return day if period == "day" else month

    def next_period(self, period: Period) -> str:
        """Return the first day of the next period, in UTC, as an ISO date."""
        first = datetime.date.fromisoformat(self.period(period))
        if period == "day":
            return (first + datetime.timedelta(days=1)).isoformat()
        return (first + datetime.timedelta(days=31)).replace(day=1).isoformat()

    def _exchange(self, spent: dict[_Slot, Spending]) -> dict[_Slot, Spending]:
        added = {slot: (more.tokens, more.micro_dollars) for slot, more in spent.items()}
        current = (self.period("day"), self.period("month"))
        # Read in the same transaction: what this process wrote is then counted once, not as
        # stored and as its own.
        # Adding is right whatever others add meanwhile.
        with self._store.write(alone=False) if added else self._store.read() as transaction:
            keys.add_spent(transaction, added)
            stored = keys.read_spent(transaction, current)
        return {slot: Spending(*spending) for slot, spending in stored.items()}


_EPOCH = datetime.date(1970, 1, 1).toordinal()


def dollars(amount: float) -> str:
    """Format an amount of money: to the cent, or with more digits if it is less."""
    return f"${amount:,.2f}" if amount >= 0.01 or amount == 0 else f"${amount:.6f}"
