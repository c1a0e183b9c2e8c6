"""Chooses the tasks that there is room for, since clients can make up any number of tasks.

Knows nothing of how tasks are found.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence

import msgspec

from openwheel.loop.records import Beyond, TaskRecord
from openwheel.loop.settings import LoopSettings
from openwheel.store import Store
from openwheel.tasks import MIN_SUPPORT, Task, TaskMatcher
from openwheel.tasks.forms import shown

STAYS = 2
"""A task that is there gives way to one of the same key with more than so many times as many
exchanges: else two of a size would take turns."""


class Standing(msgspec.Struct, frozen=True):
    """The claim of a task to its room.

    Attributes:
        id: Of the task.
        key: The key that sent most of its exchanges.
        exchanges: How many there are.
        stays: Whether nothing displaces it.
    """

    id: str
    key: str
    exchanges: int
    stays: bool = False


def chosen(standings: Sequence[Standing], most: int) -> set[str]:
    """Return the tasks that there is room for.

    Tasks that stay come first. The keys take turns for the rest, each with its largest first, so a
    client that makes up thousands of tasks displaces its own.
    """
    taken = [one.id for one in standings if one.stays]
    by_key: dict[str, list[Standing]] = defaultdict(list)
    for one in sorted(standings, key=lambda one: (-one.exchanges, one.id)):
        if not one.stays:
            by_key[one.key].append(one)
    turns = [(i, key, one.id) for key, some in by_key.items() for i, one in enumerate(some)]
    return {*taken, *(task for _, _, task in sorted(turns)[: max(0, most - len(taken))])}


def make_room(
    store: Store,
    records: Sequence[TaskRecord],
    found: Sequence[Task],
    seen: Mapping[tuple[str, str], int],
    settings: LoopSettings,
) -> tuple[list[Task], list[Task], list[Standing]]:
    """Return which new tasks are added, which existing ones go, and which are left out.

    A task stays if a student of it was ever judged, or if it has a table in the settings. A task
    that takes prompts from one that stays also stays: without it, the other would take prompts that
    it was not certified for.

    Args:
        store: The traffic.
        records: The existing tasks.
        found: New ones.
        seen: How many exchanges of each new one there are, by its id and the key that sent them.
        settings: What the user decides.
    """
    if len(records) + len(found) <= settings.most_tasks:
        return list(found), [], []
    known = [record.task for record in records]
    fixed = {r.task.id for r in records if r.attempts or r.task.name in settings.tasks}
    matcher = TaskMatcher(known)
    for task in known:
        if task.id in fixed:
            fixed |= {taker.id for taker in matcher.takers(task)}
    standings = [
        *_standings(known, store.key_counts(), fixed, times=STAYS),
        *_standings(found, seen),
    ]
    room = chosen(standings, settings.most_tasks)
    added = [task for task in found if task.id in room]
    gone = [task for task in known if task.id not in room]
    return added, gone, [one for one in standings[len(known) :] if one.id not in room]


def _standings(
    tasks: Sequence[Task],
    counts: Mapping[tuple[str, str], int],
    fixed: Collection[str] = (),
    *,
    times: int = 1,
) -> list[Standing]:
    keys: dict[str, Counter[str]] = defaultdict(Counter)
    for (task, key), number in counts.items():
        keys[task][key] += number
    return [
        Standing(task.id, key, times * keys[task.id].total(), task.id in fixed)
        for task in tasks
        for key in (max(keys[task.id], key=keys[task.id].__getitem__, default=""),)
    ]


def names_with_room(
    counts: Mapping[tuple[str, str], int], known: Collection[str], most: int
) -> tuple[set[str], list[Standing], dict[str, int]]:
    """Return the names that may be tasks, those left out, and how often the too rare ones came.

    Args:
        counts: Unassigned exchanges by the name their client gave, and the key.
        known: The names that tasks have.
        most: How many may be.
    """
    keys: dict[str, Counter[str]] = defaultdict(Counter)
    for (name, key), number in counts.items():
        if name and name not in known:
            keys[name][key] += number
    often = [
        Standing(name, seen.most_common(1)[0][0], seen.total())
        for name, seen in keys.items()
        if seen.total() >= MIN_SUPPORT
    ]
    rare = {name: n for name, seen in keys.items() if (n := seen.total()) < MIN_SUPPORT}
    room = chosen(often, most)
    return room, [one for one in often if one.id not in room], rare


def beyond(room: int, left: Sequence[Standing], gone: int, rare: Mapping[str, int]) -> Beyond:
    """Count the tasks without room, and the names that are too rare."""
    keys = Counter(one.key for one in left)
    return Beyond(
        room=room,
        tasks=len(left),
        exchanges=sum(one.exchanges for one in left),
        displaced=gone,
        keys=tuple(keys.most_common(3)),
        names=len(rare),
        named=sum(rare.values()),
    )


def said_of(found: Beyond) -> list[str]:
    """Describe the tasks left out, in sentences; none if there are none."""
    said = []
    if found.tasks or found.displaced:
        keys = [
            f"{number:,} {f'of the key {shown(key)}' if key else 'of no key'}"
            for key, number in found.keys
        ]
        who = f" ({', '.join(keys)})" if keys else ""
        gave = f" {found.displaced:,} without a student gave way." if found.displaced else ""
        said.append(
            f"There is room for {found.room:,} tasks (loop.most_tasks): {found.tasks:,} more{who}, "
            f"with {found.exchanges:,} exchanges that were looked at, stay with the teacher.{gave}"
        )
    if found.names:
        said.append(
            f"{found.names:,} names of tasks have fewer than {MIN_SUPPORT} exchanges each, "
            f"{found.named:,} in all: no tasks yet."
        )
    return said
