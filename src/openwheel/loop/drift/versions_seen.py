"""Which versions of its teacher answered a task: each exchange is looked at once."""

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from openwheel.loop import schema
from openwheel.loop.accepted import decode_settings
from openwheel.loop.drift.versions import Sighting, Version
from openwheel.store import Store
from openwheel.store.schema import exchanges

AT_ONCE = 10_000
"""Exchanges read in one go."""

WORTH_WRITING = 1_000
"""As many exchanges without a new version among them are looked at again, and save a write."""

MOST_KEPT = 1_000
"""Versions kept of a task: a server that names another system with each answer tells nothing."""


def see(store: Store, tasks: Iterable[str], *, until: int) -> None:
    """Take note of the versions that answered up to an exchange, of tasks that are known.

    What was looked at before is not read again; a task that is new is caught up with once. Doing
    it twice, or being killed on the way, changes nothing.

    Args:
        store: The traffic.
        tasks: Ids of all tasks.
        until: The newest exchange that was assigned to its task.
    """
    looks = schema.teacher_looks.c
    with store.read() as connection:
        rows = connection.execute(sa.select(looks.task_id, looks.cursor)).all()
    cursors = {row.task_id: row.cursor for row in rows}
    for task in tasks:
        if task not in cursors:
            _write(store, _first_seen(store, task, until), {task: until})
    behind = {task: cursor for task, cursor in cursors.items() if cursor < until}
    if not behind:
        return
    found = _since(store, min(behind.values()), until, behind)
    known = _known(store, found)
    new = {key: seen for key, seen in found.items() if key not in known}
    if new or until - min(behind.values()) >= WORTH_WRITING:
        _write(store, new, dict.fromkeys(behind, until))


def sightings_of(store: Store, task_id: str) -> list[Sighting]:
    """Return every version that answered a task, in the order in which they came."""
    return all_sightings(store, task_id).get(task_id, [])


def all_sightings(store: Store, task_id: str = "") -> dict[str, list[Sighting]]:
    """Return the same of each task, by its id; of one alone where it is named."""
    table = schema.teacher_versions
    query = sa.select(table).order_by(table.c.seq)
    if task_id:
        query = query.where(table.c.task_id == task_id)
    found: dict[str, list[Sighting]] = {}
    with store.read() as connection:
        for row in connection.execute(query):
            version = Version(row.teacher, row.model, row.fingerprint)
            seen = Sighting(version, row.live, row.seq, row.exchange, row.time, row.asked)
            found.setdefault(row.task_id, []).append(seen)
    return found


_Key = tuple[str, bool, str, str, str, str]
"""Task, whether it is live, teacher, model, fingerprint, and the model asked for."""
_Seen = tuple[int, str, float]
"""Where a version was seen first: seq, id and time."""


def _first_seen(store: Store, task: str, until: int) -> dict[_Key, _Seen]:
    table = exchanges.c
    live = (table.source == "teacher").label("live")
    known = sa.func.coalesce(sa.func.json_extract(table.settings, "$.model"), "")
    asked = sa.case((table.settings == "", ""), else_=known).label("asked")
    who = (live, table.teacher, table.model, table.fingerprint, asked)
    # SQLite gives the other columns of the row that has the least seq.
    query = (
        sa.select(*who, sa.func.min(table.seq).label("seq"), table.id, table.time)
        .where(table.task_id == task, table.seq <= until, table.source.in_(("teacher", "log")))
        .group_by(*who)
    )
    with store.read() as connection:
        return {
            (task, bool(row.live), row.teacher, row.model, row.fingerprint, row.asked): (
                row.seq,
                row.id,
                row.time,
            )
            for row in connection.execute(query)
        }


def _since(store: Store, after: int, until: int, tasks: Iterable[str]) -> dict[_Key, _Seen]:
    table, wanted = exchanges.c, set(tasks)
    columns = (table.seq, table.id, table.time, table.task_id, table.source)
    query = (
        sa.select(*columns, table.teacher, table.model, table.fingerprint, table.settings)
        .order_by(table.seq)
        .limit(AT_ONCE)
    )
    found: dict[_Key, _Seen] = {}
    models: dict[str, str] = {}
    while after < until:
        with store.read() as connection:
            rows = connection.execute(query.where(table.seq > after, table.seq <= until)).all()
        for row in rows:
            if row.source in {"teacher", "log"} and row.task_id in wanted:
                live = row.source == "teacher"
                if row.settings not in models:
                    models[row.settings] = (decode_settings(row.settings) or {}).get("model", "")
                asked = models[row.settings]
                key = (row.task_id, live, row.teacher, row.model, row.fingerprint, asked)
                found.setdefault(key, (row.seq, row.id, row.time))
        if len(rows) < AT_ONCE:
            break
        after = rows[-1].seq
    return found


def _known(store: Store, found: Iterable[_Key]) -> set[_Key]:
    table = schema.teacher_versions
    tasks = {key[0] for key in found}
    query = sa.select(
        *(table.c.task_id, table.c.live, table.c.teacher, table.c.model),
        *(table.c.fingerprint, table.c.asked),
    )
    known: set[_Key] = set()
    with store.read() as connection:
        for task in tasks:
            rows = connection.execute(query.where(table.c.task_id == task)).all()
            known |= {
                (row.task_id, bool(row.live), row.teacher, row.model, row.fingerprint, row.asked)
                for row in rows
            }
            if len(rows) >= MOST_KEPT:
                known |= {key for key in found if key[0] == task}
    return known


def _write(store: Store, seen: dict[_Key, _Seen], cursors: dict[str, int]) -> None:
    versions, looks = schema.teacher_versions, schema.teacher_looks
    who = ("task_id", "live", "teacher", "model", "fingerprint", "asked")
    names = (*who, "seq", "exchange", "time")
    first = sorted(seen.items(), key=lambda item: item[1][0])[:MOST_KEPT]
    with store.write() as connection:
        for key, where in first:
            values = dict(zip(names, (*key, *where), strict=True))
            connection.execute(insert(versions).values(**values).on_conflict_do_nothing())
        for task, cursor in cursors.items():
            row = insert(looks).values(task_id=task, cursor=cursor, promotion_id=-1, versions=0)
            further = sa.func.max(looks.c.cursor, cursor)
            connection.execute(
                row.on_conflict_do_update(index_elements=["task_id"], set_={"cursor": further})
            )
