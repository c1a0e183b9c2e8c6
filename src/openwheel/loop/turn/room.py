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
    staying = [standing.id for standing in standings if standing.stays]
    by_key: dict[str, list[Standing]] = defaultdict(list)
    for standing in sorted(standings, key=lambda standing: (-standing.exchanges, standing.id)):
        if not standing.stays:
            by_key[standing.key].append(standing)
    turns = [
        (i, key, standing.id) for key, group in by_key.items() for i, standing in enumerate(group)
    ]
    return {*staying, *(task for _, _, task in sorted(turns)[: max(0, most - len(staying))])}


def make_room(
    store: Store,
    records: Sequence[TaskRecord],
    new_tasks: Sequence[Task],
    seen: Mapping[tuple[str, str], int],
    settings: LoopSettings,
) -> tuple[list[Task], list[Task], list[Standing]]:
    """Return which new tasks are added, which existing ones go, and which are left out.

    A task stays if a student of it was ever judged, or if it has a table in the settings. A task
    that takes prompts from one that stays also stays: without it, the other would take prompts that
    it was not certified for. ``seen``: how many exchanges of each new task there are, by its id
    and the key that sent them.
    """
    if len(records) + len(new_tasks) <= settings.most_tasks:
        return list(new_tasks), [], []
    known_tasks = [record.task for record in records]
    fixed = {r.task.id for r in records if r.attempts or r.task.name in settings.tasks}
    matcher = TaskMatcher(known_tasks)
    for task in known_tasks:
        if task.id in fixed:
            fixed |= {taker.id for taker in matcher.takers(task)}
    standings = [
        *_standings(known_tasks, store.key_counts(), fixed, times=STAYS),
        *_standings(new_tasks, seen),
    ]
    room = chosen(standings, settings.most_tasks)
    added = [task for task in new_tasks if task.id in room]
    displaced = [task for task in known_tasks if task.id not in room]
    return (
        added,
        displaced,
        [standing for standing in standings[len(known_tasks) :] if standing.id not in room],
    )


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
    counts: Mapping[tuple[str, str], int], named: Collection[str], most: int
) -> tuple[set[str], list[Standing], dict[str, int]]:
    """Return the names that may be tasks, those left out, and how often the too rare ones came.

    Counted are unassigned exchanges by the name their client gave and the key; ``named`` has the
    names of tasks, of which there may be ``most``.
    """
    keys: dict[str, Counter[str]] = defaultdict(Counter)
    for (name, key), number in counts.items():
        if name and name not in named:
            keys[name][key] += number
    often = [
        Standing(name, seen.most_common(1)[0][0], seen.total())
        for name, seen in keys.items()
        if seen.total() >= MIN_SUPPORT
    ]
    rare = {name: n for name, seen in keys.items() if (n := seen.total()) < MIN_SUPPORT}
    room = chosen(often, most)
    return room, [standing for standing in often if standing.id not in room], rare


def beyond(
    room: int, without_room: Sequence[Standing], displaced: int, rare: Mapping[str, int]
) -> Beyond:
    """Count the tasks without room, and the names that are too rare."""
    keys = Counter(standing.key for standing in without_room)
    return Beyond(
        room=room,
        tasks=len(without_room),
        exchanges=sum(standing.exchanges for standing in without_room),
        displaced=displaced,
        keys=tuple(keys.most_common(3)),
        names=len(rare),
        named=sum(rare.values()),
    )


def shortage_messages(shortage: Beyond) -> list[str]:
    """Describe the tasks left out, in sentences; none if there are none."""
    sentences = []
    if shortage.tasks or shortage.displaced:
        keys = [
            f"{number:,} {f'of the key {shown(key)}' if key else 'of no key'}"
            for key, number in shortage.keys
        ]
        clients = f" ({', '.join(keys)})" if keys else ""
        displacement = (
            f" {shortage.displaced:,} without a student gave way." if shortage.displaced else ""
        )
        sentences.append(
            f"There is room for {shortage.room:,} tasks (loop.most_tasks): "
            f"{shortage.tasks:,} more{clients}, with {shortage.exchanges:,} exchanges that were "
            f"looked at, stay with the teacher.{displacement}"
        )
    if shortage.names:
        sentences.append(
            f"{shortage.names:,} names of tasks have fewer than {MIN_SUPPORT} exchanges each, "
            f"{shortage.named:,} in all: no tasks yet."
        )
    return sentences
