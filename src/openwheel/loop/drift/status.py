"""Reports each task's teacher to the command line and the metrics."""

import time
from collections.abc import Sequence

import msgspec

from openwheel.loop.drift.records import Change, Did, read_changes
from openwheel.loop.drift.self_disagreement import (
    SelfDisagreement,
    all_self_disagreement,
    day_of,
    second_answers_costs,
)
from openwheel.loop.drift.versions import Kind, Sighting, Version
from openwheel.loop.drift.versions_seen import all_sightings
from openwheel.store import Store
from openwheel.store.drift import ChangeRow


class ChangeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A change of the teacher.

    Attributes:
        time: When it was noticed, in seconds since 1970.
        kind: ``model``, ``fingerprint`` or ``disagreement``.
        teacher, model, fingerprint: The new version; of a jump in disagreement who gave the last
            answer.
        after_seq: Evidence up to this exchange is of the teacher before.
        exchange: The id of the exchange that showed it.
        student, did: Which student it was about, ``""`` if none, and what became of it:
            ``demoted``, ``shadowing`` (it starts over) or ``told`` (nothing).
        reason: In a sentence.
    """

    time: float
    kind: Kind
    teacher: str
    model: str
    fingerprint: str
    after_seq: int
    exchange: str
    student: str
    did: Did
    reason: str


class VersionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A version that answered, and where it was seen first; ``teacher`` is ``""`` for a log."""

    teacher: str
    model: str
    fingerprint: str
    seq: int
    exchange: str
    time: float


class TeacherStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A task's teacher: its versions, its changes, and its disagreement with itself.

    Attributes:
        asked_twice: Times it was asked again, since it last changed or the student came.
        loss: The sum of the losses of its second answers against its first.
        rate: Its disagreement with itself, None if it was not asked twice.
        interval: Of that, at all times at once (`level`).
        level: Of confidence.
        usual: Where it was by the first of these; None until that is known.
        failed: Times it could not be asked.
        cost, cost_today: Dollars that asking it twice cost, ever and today.
        versions: Those that answered, in the order in which they came.
        changes: Those that were noticed, oldest first.
    """

    asked_twice: int = 0
    loss: float = 0.0
    rate: float | None = None
    interval: tuple[float, float] = (0.0, 1.0)
    level: float | None = None
    usual: tuple[float, float] | None = None
    failed: int = 0
    cost: float = 0.0
    cost_today: float = 0.0
    versions: tuple[VersionStatus, ...] = ()
    changes: tuple[ChangeStatus, ...] = ()


def teacher_status(store: Store) -> dict[str, TeacherStatus]:
    """Return the status of the teacher of each task that has one, by task id."""
    cost, today = (
        second_answers_costs(store),
        second_answers_costs(store, since=day_of(time.time())),
    )
    sightings, twice = all_sightings(store), all_self_disagreement(store)
    changes: dict[str, list[ChangeRow[Change]]] = {}
    for row in read_changes(store):
        changes.setdefault(row.task_id, []).append(row)
    statuses = {}
    for task in {*sightings, *twice, *changes, *cost}:
        status = TeacherStatus(
            cost=cost.get(task, 0.0),
            cost_today=today.get(task, 0.0),
            versions=tuple(_version(sighting) for sighting in _each_once(sightings.get(task, []))),
            changes=tuple(_change(row) for row in changes.get(task, ())),
        )
        statuses[task] = _with_twice(status, twice[task]) if task in twice else status
    return statuses


def _with_twice(status: TeacherStatus, twice: SelfDisagreement) -> TeacherStatus:
    seen = twice.live.seen
    return msgspec.structs.replace(
        status,
        asked_twice=seen.answers,
        loss=seen.loss,
        rate=seen.rate if seen.answers else None,
        interval=twice.live.interval,
        level=twice.live.level,
        usual=None if twice.learning else twice.detector.range,
        failed=twice.failed,
    )


def _version(sighting: Sighting) -> VersionStatus:
    return VersionStatus(
        teacher=sighting.version.teacher,
        model=sighting.version.model,
        fingerprint=sighting.version.fingerprint,
        seq=sighting.seq,
        exchange=sighting.id,
        time=sighting.time,
    )


def _each_once(sightings: Sequence[Sighting]) -> list[Sighting]:
    """Return the first sighting of each version, for any model asked for."""
    first: dict[Version, Sighting] = {}
    for sighting in sightings:
        first.setdefault(sighting.version, sighting)
    return list(first.values())


def _change(row: ChangeRow[Change]) -> ChangeStatus:
    change = row.change
    return ChangeStatus(
        time=row.time,
        kind=change.kind,
        teacher=change.version.teacher,
        model=change.version.model,
        fingerprint=change.version.fingerprint,
        after_seq=change.after_seq,
        exchange=change.exchange,
        student=change.student,
        did=change.did,
        reason=change.reason,
    )
