"""Tells what happened to tasks: promotions, alarms, changes of the teacher, failed turns, stops."""

from collections.abc import Sequence
from typing import Final

import msgspec

from openwheel.loop.audit.records import read_alarms
from openwheel.loop.drift.records import read_changes
from openwheel.loop.records import Event
from openwheel.loop.registry import Registry
from openwheel.loop.turn import failures
from openwheel.settings import HappeningKind

MOST: Final = 60


class Happening(msgspec.Struct, frozen=True):
    """Something that happened.

    Attributes:
        time: Seconds since 1970.
        kind: What kind of thing it is.
        task: The task's name, ``""`` for all.
        task_id: Its id, ``""`` for all or for a task that is gone.
        text: In a sentence.
    """

    time: float
    kind: HappeningKind
    task: str
    task_id: str
    text: str


def happenings_of(
    registry: Registry, events: Sequence[tuple[float, Event]]
) -> tuple[Happening, ...]:
    """Return what happened, newest first, at most `MOST`.

    Args:
        registry: Of the store.
        events: Those of the latest turns, as `Registry.latest_events` returns them.
    """
    store = registry.store
    names = {record.task.id: record.task.name for record in registry.tasks()}
    alarms = read_alarms(store)
    changes = read_changes(store)
    shown_elsewhere = {row.demotion for row in alarms}
    ids = {name: task_id for task_id, name in names.items()}
    found = [
        Happening(
            row.time,
            "demoted" if row.certificate_id is None else "promoted",
            names.get(row.task_id, row.task_id),
            row.task_id,
            f"{_doer(row.by)}: {row.reason}",
        )
        for row in registry.promotion_rows()
        if row.id not in shown_elsewhere and row.by != "teacher"
    ]
    found += [
        Happening(
            row.time,
            "alarm",
            names.get(row.task_id, row.task_id),
            row.task_id,
            f"Student {row.alarm.student} was taken off"
            f"{f' for {row.alarm.slice!r}' if row.alarm.slice else ''}: {row.alarm.reason}",
        )
        for row in alarms
    ]
    found += [
        Happening(
            row.time,
            "teacher",
            names.get(row.task_id, row.task_id),
            row.task_id,
            row.change.reason,
        )
        for row in changes
    ]
    found += [
        Happening(
            when,
            "vetoed" if event.kind == "vetoed" else "trouble",
            event.task,
            ids.get(event.task, ""),
            event.reason,
        )
        for when, event in _changed_only(events)
    ]
    found += [
        Happening(
            failure.noticed,
            "failed",
            names.get(failure.task or "", ""),
            failure.task or "",
            f"A turn failed: {failure.reason}",
        )
        for failure in failures.read(store)
    ]
    found += [
        Happening(
            stop.time,
            "stopped" if stop.stopped else "resumed",
            "",
            "",
            f"All students were {'stopped' if stop.stopped else 'let answer again'} by {stop.by}.",
        )
        for stop in registry.stops(limit=MOST)
    ]
    found.sort(key=lambda happening: -happening.time)
    return tuple(found[:MOST])


def _changed_only(events: Sequence[tuple[float, Event]]) -> list[tuple[float, Event]]:
    """Return vetoes and troubles, each once for as long as turns repeat it."""
    first: dict[Event, float] = {}
    for when, event in events:
        if event.kind in {"vetoed", "trouble"}:
            first[event] = when  # the oldest of them, since the newest turn comes first
    return [(when, event) for event, when in first.items()]


def _doer(by: str) -> str:
    return {
        "turn": "By a turn of the loop",
        "audit": "By its audits",
        "user": "By a person",
        "override": "By a person, against the evidence",
        "policy": "By the policy",
        "teacher": "Since the teacher changed",
        "traffic": "Since the traffic changed",
    }.get(by, by)
