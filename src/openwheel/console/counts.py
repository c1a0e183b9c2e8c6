"""Counts traffic by the hour and task, and keeps the counts up to date.

Only exchanges that came since are read again, so a look costs no more in a store of millions. What
a look may read is limited, so that the console of a large store shows something at once.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from openwheel.loop.registry import Registry
from openwheel.store import Store, traffic
from openwheel.store.traffic import HourRow

_AT_ONCE = 20_000
"""Exchanges counted in one transaction, so that none stays open for long."""


_MOST_RECENT = 20_000
"""The most exchanges that are counted anew in each look."""


class Count(msgspec.Struct):
    """Sums over exchanges of one task in one hour, or over several hours.

    Attributes:
        student, best_effort, teacher: Requests by who answered the client.
        audits: Times that the teacher was asked in addition.
        logged: Exchanges of logs, which are no requests of this gateway.
        prompt_tokens, completion_tokens: Of teachers' answers, and ``teacher_answers`` their
            number.
        dollars: What teachers' answers cost; None if no teacher has a price.
        student_ms, student_timed: Sum of the latencies of students' answers, and their number.
        teacher_ms, teacher_timed: The same for teachers' answers.
    """

    student: int = 0
    best_effort: int = 0
    teacher: int = 0
    audits: int = 0
    logged: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    teacher_answers: int = 0
    dollars: float | None = None
    student_ms: float = 0.0
    student_timed: int = 0
    teacher_ms: float = 0.0
    teacher_timed: int = 0

    @property
    def requests(self) -> int:
        """Requests of clients."""
        return self.student + self.best_effort + self.teacher

    @property
    def answered_here(self) -> float | None:
        """Share of the requests that students answered, None without requests."""
        return self.student / self.requests if self.requests else None

    @property
    def saved_dollars(self) -> float | None:
        """Dollars that students saved, net of audits; None where that is not known.

        A student's answer saves what a teacher's answer cost on average, and an audit costs as
        much.
        """
        if self.dollars is None or not self.teacher_answers:
            return None
        return (self.student - self.audits) * self.dollars / self.teacher_answers

    @property
    def saved_tokens(self) -> int | None:
        """Teachers' tokens that students saved, net of audits; None where that is not known."""
        if not self.teacher_answers:
            return None
        tokens = self.prompt_tokens + self.completion_tokens
        return round((self.student - self.audits) * tokens / self.teacher_answers)

    @property
    def saved_seconds(self) -> float | None:
        """Seconds that clients did not wait; None where that is not known."""
        if not self.teacher_timed or not self.student_timed:
            return None
        each = self.teacher_ms / self.teacher_timed - self.student_ms / self.student_timed
        return self.student * each / 1000.0

    def add(self, other: "Count") -> None:
        """Add the sums of another."""
        for name in self.__struct_fields__:
            if name != "dollars":
                setattr(self, name, getattr(self, name) + getattr(other, name))
        if other.dollars is not None:
            self.dollars = (self.dollars or 0.0) + other.dollars


Key = tuple[int, str]
"""An hour since 1970, and a task's id; ``""`` for no task."""


class Counts:
    """The counts of a store's traffic; for one thread.

    Exchanges up to the last that a turn has looked at have their tasks. The latest of those after
    it are counted anew in each look. All are counted anew when exchanges have moved between tasks:
    when the set of tasks changes, or a turn came to exchanges that were counted without it.

    Args:
        store: Only read.
        prices: Dollars for a million tokens, read and written, by endpoint.
    """

    def __init__(self, store: Store, prices: Mapping[str, tuple[float, float]]) -> None:
        self._store = store
        self._registry = Registry(store)
        self._prices = {name: price for name, price in prices.items() if any(price)}
        self._tasks: frozenset[str] = frozenset()
        self._settled: dict[Key, Count] = {}
        self._settled_until = 0
        self._recent: dict[Key, Count] = {}
        self._looked_at = 0
        self._ahead = False
        self.behind = 0
        """Exchanges that are not counted yet."""

    def look(self, *, most: int) -> None:
        """Count what came since, at most ``most`` exchanges."""
        tasks = frozenset(record.task.id for record in self._registry.tasks())
        newest = self._store.last_seq()
        turn = self._registry.last_turn()
        looked_at = min(turn[0], newest) if turn is not None else 0
        if tasks != self._tasks or (self._ahead and looked_at > self._looked_at):
            self._settled, self._settled_until, self._ahead = {}, 0, False
        self._tasks, self._looked_at = tasks, looked_at
        until = min(newest, self._settled_until + most)
        settle = max(min(looked_at, until), until - _MOST_RECENT)
        if self._settled_until < settle:
            self._count(self._settled, self._settled_until, settle)
            self._settled_until = settle
            self._ahead = settle > looked_at
        self._recent = {}
        self._count(self._recent, self._settled_until, until)
        self.behind = newest - until

    def _count(self, into: dict[Key, Count], after: int, until: int) -> None:
        while after < until:
            end = min(until, after + _AT_ONCE)
            with self._store.read() as transaction:
                rows = traffic.by_hour(transaction, after=after, until=end)
            for row in rows:
                key = row.hour, row.task_id or ""
                into.setdefault(key, Count()).add(self._as_count(row))
            after = end

    def _as_count(self, row: HourRow) -> Count:
        if row.source == "student":
            return Count(student=row.number, student_ms=row.latency_ms, student_timed=row.timed)
        if row.source == "best_effort":
            return Count(best_effort=row.number)
        if row.source == "log":
            return Count(logged=row.number)
        price = self._prices.get(row.teacher)
        dollars = None
        if price is not None:
            dollars = (row.prompt_tokens * price[0] + row.completion_tokens * price[1]) / 1e6
        return Count(
            teacher=0 if row.audit else row.number,
            audits=row.number if row.audit else 0,
            prompt_tokens=row.prompt_tokens,
            completion_tokens=row.completion_tokens,
            teacher_answers=row.number,
            dollars=dollars,
            teacher_ms=row.latency_ms,
            teacher_timed=row.timed,
        )

    def by_task(self, *, since: float) -> dict[str, Count]:
        """Return the sums of each task, ``""`` for no task.

        Args:
            since: Seconds since 1970; the hour that it lies in counts whole.
        """
        first = int(since // 3600)
        sums: defaultdict[str, Count] = defaultdict(Count)
        for (hour, task), count in self._all():
            if hour >= first:
                sums[task].add(count)
        return dict(sums)

    def by_hour(self, task_id: str | None = None, *, since: float) -> dict[int, Count]:
        """Return the sums of each hour since 1970, of one task or of all."""
        first = int(since // 3600)
        sums: defaultdict[int, Count] = defaultdict(Count)
        for (hour, task), count in self._all():
            if hour >= first and task_id in {None, task}:
                sums[hour].add(count)
        return dict(sorted(sums.items()))

    def _all(self) -> Iterable[tuple[Key, Count]]:
        yield from self._settled.items()
        yield from self._recent.items()


def total(counts: Iterable[Count]) -> Count:
    """Return the sum of counts."""
    added = Count()
    for count in counts:
        added.add(count)
    return added
