"""Records which versions of its teacher answered a task; each exchange is read once."""

from collections.abc import Collection, Iterable, Mapping

from openwheel.loop.drift.versions import Sighting, Version
from openwheel.loop.records import decode_settings
from openwheel.store import Store, drift
from openwheel.store.drift import Place, VersionKey

AT_ONCE = 10_000
"""Exchanges read at once."""

WORTH_WRITING = 1_000
"""Up to this many exchanges without a new version are read again later, to save a write."""

MOST_KEPT = 1_000
"""The most versions kept of a task: a server may name another system with each answer."""


def see(store: Store, tasks: Iterable[str], *, until: int) -> None:
    """Record the versions that answered known tasks, up to an exchange.

    Exchanges read before are not read again; those of a new task are read once. Doing it twice,
    or being killed on the way, changes nothing. ``until`` was assigned to its task.
    """
    with store.read() as transaction:
        cursors = drift.cursors(transaction)
    first: dict[VersionKey, Place] = {}
    unseen = [task for task in tasks if task not in cursors]
    for task in unseen:
        with store.read() as transaction:
            first |= _most_kept(drift.first_seen(transaction, task, until))
    if unseen:  # in one transaction, since there may be a thousand
        _write(store, first, dict.fromkeys(unseen, until))
    behind = {task: cursor for task, cursor in cursors.items() if cursor < until}
    if not behind:
        return
    places = _since(store, min(behind.values()), until, behind)
    new = _unknown(store, places)
    if new or until - min(behind.values()) >= WORTH_WRITING:
        _write(store, _most_kept(new), dict.fromkeys(behind, until))


def sightings_of(store: Store, task_id: str) -> list[Sighting]:
    """Return every version that answered a task, in the order in which they came."""
    return all_sightings(store, task_id).get(task_id, [])


def all_sightings(store: Store, task_id: str = "") -> dict[str, list[Sighting]]:
    """Return the sightings of each task, by its id; only of one task if it is named."""
    with store.read() as transaction:
        rows = drift.read_versions(transaction, task_id)
    sightings: dict[str, list[Sighting]] = {}
    for key, place in rows.items():
        version = Version(key.teacher, key.model, key.fingerprint)
        seen = Sighting(version, key.live, place.seq, place.exchange, place.time, key.asked)
        sightings.setdefault(key.task_id, []).append(seen)
    return sightings


def _since(store: Store, after: int, until: int, tasks: Collection[str]) -> dict[VersionKey, Place]:
    places: dict[VersionKey, Place] = {}
    models: dict[str, str] = {}
    while after < until:
        with store.read() as transaction:
            rows = drift.answered_since(transaction, after=after, until=until, limit=AT_ONCE)
        for row in rows:
            if row.source not in {"teacher", "log"}:
                continue
            if row.task_id is None or row.task_id not in tasks:
                continue
            if row.settings not in models:
                models[row.settings] = (decode_settings(row.settings) or {}).get("model", "")
            live, asked = row.source == "teacher", models[row.settings]
            key = VersionKey(row.task_id, live, row.teacher, row.model, row.fingerprint, asked)
            places.setdefault(key, Place(row.seq, row.id, row.time))
        if len(rows) < AT_ONCE:
            break
        after = rows[-1].seq
    return places


def _unknown(store: Store, places: Mapping[VersionKey, Place]) -> dict[VersionKey, Place]:
    """Return the sightings that are not kept yet, without tasks that have no room for more."""
    recorded: set[VersionKey] = set()
    full: set[str] = set()
    for task in {key.task_id for key in places}:
        with store.read() as transaction:
            stored = drift.read_versions(transaction, task)
        recorded |= stored.keys()
        if len(stored) >= MOST_KEPT:
            full.add(task)
    return {
        key: place
        for key, place in places.items()
        if key not in recorded and key.task_id not in full
    }


def _most_kept(seen: Mapping[VersionKey, Place]) -> dict[VersionKey, Place]:
    return dict(sorted(seen.items(), key=lambda item: item[1].seq)[:MOST_KEPT])


def _write(store: Store, seen: Mapping[VersionKey, Place], cursors: dict[str, int]) -> None:
    with store.write() as transaction:
        drift.add_versions(transaction, seen, cursors)
