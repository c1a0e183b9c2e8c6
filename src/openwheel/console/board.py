"""Puts together what the console's first screen shows: figures, a row a task, and what happened.

A board is a value: it is made in a thread, replaced whole, and rendered for every open console.
"""

import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from openwheel.access import Key, KeyStore
from openwheel.console.counts import Count, Counts, total
from openwheel.loop.audit.status import TaskAudit, audit_status
from openwheel.loop.happenings import Happening, happenings_of
from openwheel.loop.records import Event, Promotion, TaskRecord
from openwheel.loop.registry import Registry
from openwheel.loop.turn import failures
from openwheel.store import Store, traffic

DAY: Final = 86_400.0
TURNS_BACK: Final = 200
"""The reason why a task has no student is looked for in so many turns."""
LATEST_LATENCIES: Final = 200
RECENT_S: Final = 7 * DAY
"""For so long an alarm or a change of the teacher is among what needs a person, and so long before
it expires a key is."""

Standing = Literal["live", "canary", "shadow", "off", "learning"]
Kept = Literal["yes", "open", "no", "none"]
"""Whether the live disagreement is below epsilon: evidently, not decided yet, evidently not, or
there is no audit."""


class TaskRow(msgspec.Struct, frozen=True, kw_only=True):
    """One task on the first screen.

    Attributes:
        id, name, form: The task's.
        standing: Where its student is.
        kept: Whether the promise is kept, by the live audits.
        audit: Its audits.
        student, rung: The promoted student's id and rung, ``""`` if there is none.
        certified_coverage: As the certificate has it.
        student_ms, teacher_ms: Median latency of the latest answers, None if there are none.
        count: Its traffic in the range.
        exchanges: Its exchanges in the range, those of logs among them.
        why: Why no student answers, or what a turn said last of the task; ``""`` if one does.
    """

    id: str
    name: str
    form: str
    standing: Standing
    kept: Kept
    audit: TaskAudit
    student: str
    rung: str
    certified_coverage: float | None
    student_ms: float | None
    teacher_ms: float | None
    count: Count
    why: str

    @property
    def exchanges(self) -> int:
        """Exchanges in the range, those of logs among them."""
        return self.count.requests + self.count.logged


class Need(msgspec.Struct, frozen=True):
    """Something that a person should look at.

    Attributes:
        text: In a sentence.
        link: A path of the console.
        time: Since when, in seconds since 1970; None if that is not known.
    """

    text: str
    link: str
    time: float | None = None


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """What the first screen shows.

    Attributes:
        made: When it was made, in seconds since 1970.
        seconds: The CPU seconds that it took, with the latest look of the counts.
        days: Its range, up to now.
        whole: All traffic in the range.
        second_answers: Dollars that asking teachers twice cost in the range.
        tasks: The tasks, those with the most traffic first.
        outside: Traffic that belongs to no task.
        happenings: What happened, newest first.
        needs: What needs a person.
        stopped: Whether a person has stopped all students.
        stopped_by, stopped_at: Who, and when.
        behind: Exchanges that are not counted yet.
    """

    made: float
    seconds: float
    days: float
    whole: Count
    second_answers: float
    tasks: tuple[TaskRow, ...]
    outside: Count
    happenings: tuple[Happening, ...]
    needs: tuple[Need, ...]
    stopped: bool
    stopped_by: str
    stopped_at: float | None
    behind: int

    @property
    def breached(self) -> tuple[TaskRow, ...]:
        """Tasks whose live disagreement is evidently above what was allowed."""
        return tuple(task for task in self.tasks if task.kept == "no")

    @property
    def saved_dollars(self) -> float | None:
        """Dollars saved in the range, net of audits and of asking teachers twice."""
        known = [row.count.saved_dollars for row in self.tasks]
        if all(dollars is None for dollars in known):
            return None
        return sum(dollars or 0.0 for dollars in known) - self.second_answers

    @property
    def saved_tokens(self) -> int | None:
        """Teachers' tokens saved in the range, net of audits."""
        known = [row.count.saved_tokens for row in self.tasks]
        return None if all(n is None for n in known) else sum(n or 0 for n in known)

    @property
    def saved_seconds(self) -> float | None:
        """Seconds that clients did not wait in the range."""
        known = [row.count.saved_seconds for row in self.tasks]
        return None if all(n is None for n in known) else sum(n or 0.0 for n in known)

    def task(self, task_id: str) -> TaskRow | None:
        """Return a task's row, None if there is none."""
        return next((row for row in self.tasks if row.id == task_id), None)


def make_board(
    store: Store, counts: Counts, *, days: float, now: float | None = None, counting: float = 0.0
) -> Board:
    """Return the board of a store.

    Args:
        store: Only read.
        counts: Of the same store; looked at before.
        days: The range, up to now.
        now: Seconds since 1970.
        counting: The CPU seconds that the latest look of the counts took.
    """
    began = time.thread_time()
    now = time.time() if now is None else now
    since = now - days * DAY
    registry = Registry(store)
    records = registry.tasks()
    names = {record.task.id: record.task.name for record in records}
    by_task = counts.by_task(since=since)
    audits = {audit.id: audit for audit in audit_status(store)}
    promotions = registry.promotions()
    students = _latest_states(registry)
    events = registry.latest_events(turns_back=TURNS_BACK)
    said = _said(events)
    rows = [
        _row(
            store,
            record,
            audits[record.task.id],
            promotion=promotions.get(record.task.id),
            state=students.get(record.task.id),
            count=by_task.get(record.task.id, Count()),
            said=said.get(record.task.name, ""),
        )
        for record in records
    ]
    rows.sort(key=lambda row: (-row.exchanges, row.name))
    with store.read() as transaction:
        second = traffic.second_answer_dollars(transaction, since=since)
    stops = registry.stops(limit=1)
    stopped = stops[0] if stops and stops[0].stopped else None
    happenings = happenings_of(registry, events)
    return Board(
        made=now,
        seconds=time.thread_time() - began + counting,
        days=days,
        whole=total(by_task.values()),
        second_answers=sum(second.values()),
        tasks=tuple(rows),
        outside=by_task.get("", Count()),
        happenings=happenings,
        needs=(
            *_needs(rows, happenings, failures.read(store), names, now),
            *_expiring(KeyStore(store).list(), now),
        ),
        stopped=stopped is not None,
        stopped_by=stopped.by if stopped is not None else "",
        stopped_at=stopped.time if stopped is not None else None,
        behind=counts.behind,
    )


def kept(audit: TaskAudit) -> Kept:
    """Return whether a task's live disagreement is below what was allowed."""
    if audit.student is None or not audit.audits or audit.epsilon is None:
        return "none"
    low, high = audit.interval
    if high <= audit.epsilon:
        return "yes"
    return "no" if low > audit.epsilon else "open"


def _row(
    store: Store,
    record: TaskRecord,
    audit: TaskAudit,
    *,
    promotion: Promotion | None,
    state: str | None,
    count: Count,
    said: str,
) -> TaskRow:
    certificate = promotion.certificate if promotion is not None else None
    standing: Standing
    why = ""
    if certificate is not None:
        standing = "canary" if audit.canary is not None and audit.canary < 1 else "live"
    elif state == "shadow":
        standing, why = "shadow", said
    elif promotion is not None:
        standing, why = "off", promotion.reason
    else:
        standing, why = "learning", said or record.form_reason
    return TaskRow(
        id=record.task.id,
        name=record.task.name,
        form=record.form,
        standing=standing,
        kept=kept(audit),
        audit=audit,
        student=certificate.student if certificate is not None else "",
        rung=certificate.rung if certificate is not None else "",
        certified_coverage=certificate.coverage if certificate is not None else None,
        student_ms=_median(store, record.task.id, ("student",)),
        teacher_ms=_median(store, record.task.id, ("teacher", "log")),
        count=count,
        why=why,
    )


def _median(store: Store, task_id: str, sources: Sequence[str]) -> float | None:
    with store.read() as transaction:
        found = traffic.latencies(transaction, task_id, sources, limit=LATEST_LATENCIES)
    return statistics.median(found) if found else None


def _latest_states(registry: Registry) -> dict[str, str]:
    """Return the latest student of each task, and its state."""
    return {candidate.task_id: state for candidate, state, _ in registry.candidates()}


def _said(events: Iterable[tuple[float, Event]]) -> dict[str, str]:
    """Return what turns said last of each task, by its name."""
    latest: dict[str, str] = {}
    for _, event in events:
        latest.setdefault(event.task, event.reason)
    return latest


def _needs(
    rows: Sequence[TaskRow],
    happenings: Sequence[Happening],
    failed: Sequence[failures.Failure],
    names: Mapping[str, str],
    now: float,
) -> tuple[Need, ...]:
    needs = []
    for row in rows:
        if row.kept == "no":
            needs.append(
                Need(f"{row.name}: live disagreement is above the limit.", f"tasks/{row.id}")
            )
        if row.audit.against_evidence:
            needs.append(
                Need(f"{row.name}: its student answers against the evidence.", f"tasks/{row.id}")
            )
        if row.audit.disagreed:
            number = len(row.audit.disagreed)
            needs.append(
                Need(
                    f"{row.name}: {number} of the latest audited answers "
                    f"{'disagrees' if number == 1 else 'disagree'} with the teacher's.",
                    f"review?task={row.id}",
                )
            )
    needs += [
        Need(f"{happening.task}: {happening.text}", f"tasks/{happening.task_id}", happening.time)
        for happening in happenings
        if happening.kind in {"alarm", "teacher", "vetoed"} and now - happening.time < RECENT_S
    ]
    needs += [
        Need(
            f"{names.get(failure.task or '', 'All tasks')}: a turn failed: {failure.reason}",
            f"tasks/{failure.task}" if failure.task in names else "",
            failure.noticed,
        )
        for failure in failed
    ]
    return tuple(needs)


def _expiring(keys: Iterable[Key], now: float) -> list[Need]:
    """Return the keys that expire soon: their clients are refused from then on."""
    return [
        Need(f"The key {key.name!r} expires soon.", "", key.expires)
        for key in keys
        if key.state(now) == "live" and key.expires is not None and key.expires - now < RECENT_S
    ]
