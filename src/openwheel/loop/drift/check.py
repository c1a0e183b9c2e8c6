"""Checks which teacher answers: a version new to a certificate has its student judged again."""

import datetime
from collections.abc import Sequence

from openwheel.loop.drift.records import Change, add_told, read_changes, recertify
from openwheel.loop.drift.versions import Kind, Sighting, changes
from openwheel.loop.drift.versions_seen import see, sightings_of
from openwheel.loop.records import Candidate, Event, Promotion
from openwheel.loop.records import Kind as EventKind
from openwheel.loop.registry import Registry
from openwheel.loop.settings import LoopSettings
from openwheel.store import Store, drift


def check_teachers(
    store: Store,
    registry: Registry,
    settings: LoopSettings,
    *,
    until: int | None = None,
    task_id: str | None = None,
) -> list[Event]:
    """Look for changes of the teacher of promoted students, of one task or all, and act on them.

    Only new exchanges are read, up to ``until`` or the newest; tasks without any are skipped.
    """
    names = {record.task.id: record.task.name for record in registry.tasks()}
    see(store, names, until=store.last_seq() if until is None else until)
    with store.read() as transaction:
        news = drift.news(transaction)
    due = {task: state for task, state in news.items() if task in names and task_id in {None, task}}
    if not due:
        return []
    events: list[Event] = []
    promotions = registry.promotions()
    for task, (row, versions) in due.items():
        promotion = promotions.get(task)
        if promotion is not None and promotion.id == row:
            noticed = _look_at(registry, settings, promotion, versions)
            events += [Event(names[task], kind, change.reason) for kind, change in noticed]
    return events


def of_this_teacher(
    store: Store, settings: LoopSettings, task: str, shadow: Candidate
) -> tuple[Candidate, list[Event]]:
    """Have a shadow judged anew after a change of its teacher, if there was one; return its state.

    The events of the change come with it. Call this before the shadow is judged, after `see` has
    read all exchanges that may judge it.
    """
    evidence_until = max(shadow.trained_until, shadow.judged_after + 1)
    new_versions = _unknown(store, shadow, until=evidence_until, evidence=shadow.training.exchanges)
    acted = [new_version for new_version in new_versions if new_version[0] in settings.recertify_on]
    if not acted:
        return shadow, []
    changes_made = [_change(store, shadow, new_version, promoted=False) for new_version in acted]
    with store.write() as transaction:
        restarted = recertify(transaction, shadow, changes_made, promotion=None)
    if restarted is None:
        return shadow, []
    return restarted, [Event(task, "shadowing", change.reason) for change in changes_made]


def _look_at(
    registry: Registry, settings: LoopSettings, promotion: Promotion, versions: int
) -> list[tuple[EventKind, Change]]:
    store = registry.store
    certificate = promotion.certificate
    if certificate is None:
        _settle(store, promotion, versions)
        return []
    evidence_until = max(certificate.training.last_seq, certificate.calibration_window.last_seq)
    if promotion.by_hand:  # the person saw the evidence, of any version
        evidence_until = max(evidence_until, promotion.after_seq)
    evidence = certificate.training.exchanges + certificate.calibration_window.exchanges
    candidate = registry.candidate(certificate.student)
    new_versions = _unknown(store, candidate, until=evidence_until, evidence=evidence)
    acts = any(kind in settings.recertify_on for kind, _ in new_versions)
    changes_made = [
        _change(store, candidate, new_version, promoted=True, acts=acts)
        for new_version in new_versions
    ]
    if acts:
        with store.write() as transaction:
            if recertify(transaction, candidate, changes_made, promotion=promotion.id) is None:
                return []
        return [("demoted", changes_made[-1])]
    _settle(store, promotion, versions, changes_made)
    return [("changed", change) for change in changes_made]


def _settle(
    store: Store, promotion: Promotion, versions: int, reported: Sequence[Change] = ()
) -> None:
    """Note that nothing has to be done, whatever was reported."""
    task_id = promotion.task_id
    with store.write() as transaction:
        for change in reported:
            add_told(transaction, task_id, change)
        drift.settle(transaction, task_id, promotion=promotion.id, versions=versions)


def _unknown(
    store: Store, candidate: Candidate, *, until: int, evidence: int
) -> list[tuple[Kind, Sighting]]:
    """Return the new versions, without those reported before.

    Answers to requests for another model than the student stands in for do not concern its
    certificate.
    """
    accepted = candidate.accepted
    models = None if accepted.unknown else accepted.values.get("model")
    sightings = [
        sighting
        for sighting in sightings_of(store, candidate.task_id)
        if models is None or not sighting.asked or sighting.asked in models
    ]
    reported = {
        row.change.version
        for row in read_changes(store, candidate.task_id)
        if row.change.kind != "disagreement"
    }
    new_versions = changes(sightings, until=until, evidence=evidence)
    return [new_version for new_version in new_versions if new_version[1].version not in reported]


def _change(
    store: Store,
    candidate: Candidate,
    new_version: tuple[Kind, Sighting],
    *,
    promoted: bool,
    acts: bool = True,
) -> Change:
    kind, sighting = new_version
    before = tuple(
        earlier.version
        for earlier in sightings_of(store, candidate.task_id)
        if earlier.seq < sighting.seq and earlier.version != sighting.version
    )
    subject = "another model" if kind == "model" else "another system of the same model"
    moment = datetime.datetime.fromtimestamp(sighting.time, datetime.UTC)
    at = f" at {moment.isoformat(timespec='seconds')}" if sighting.time else ""
    reason = f"the teacher changed: {subject}, {sighting.version}"
    if before:
        reason += f" after {before[-1]}"
    reason += f", answered from exchange {sighting.id}{at} on"
    return Change(
        kind=kind,
        version=sighting.version,
        before=before,
        after_seq=sighting.seq - 1,
        exchange=sighting.id,
        student=candidate.id if acts else "",
        did=("demoted" if promoted else "shadowing") if acts else "told",
        reason=reason + following(promoted=promoted, acts=acts),
    )


def following(*, promoted: bool, acts: bool) -> str:
    """Describe the consequence of a change."""
    if not acts:
        return "; by loop.recertify_on its student goes on"
    if promoted:
        return "; its student was certified for another, and has to be certified again"
    return "; what its student was judged on so far is of another, and it starts over"
