"""Curates: finds new tasks in the traffic, assigns exchanges to tasks, infers forms."""

from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator
from itertools import islice

from openwheel.errors import RequestError
from openwheel.loop.data import encode_inputs
from openwheel.loop.records import TaskRecord, encode_settings
from openwheel.loop.registry import Registry
from openwheel.loop.settings import LoopSettings
from openwheel.loop.turn.outsiders import form_inside, trusted_keys
from openwheel.loop.turn.room import Standing, beyond, make_room, names_with_room
from openwheel.progress import Progress, Step, silent
from openwheel.store import BY_STUDENTS, Exchange, Store
from openwheel.tasks import FORMS, Form, Task, TaskMatcher, find_tasks
from openwheel.tasks.forms.label import LABEL
from openwheel.tasks.hints import in_the_way
from openwheel.tasks.match import takes_from
from openwheel.wire import Answer, Prompt

DEFAULTS = LoopSettings()

SAMPLE = 20_000
"""Unassigned exchanges that tasks are found in."""

FORM_SAMPLE = 5_000
FORM_WINDOW = 100_000
"""A task's latest answers that its form is inferred from, and how far back they are looked for."""


def curate(
    store: Store,
    registry: Registry,
    settings: LoopSettings = DEFAULTS,
    *,
    after: int = 0,
    progress: Progress = silent,
) -> int:
    """Bring tasks and assignments up to date with the traffic.

    Known tasks take their exchanges first. New tasks are found in samples of the rest, while there
    is room for them.

    Args:
        registry: Gets the new tasks and forms.
        settings: What the user decides: how answers are compared, and may differ.
        after: Exchanges up to this ``seq`` that no known task matched are not matched again unless
            a new task was found.
        progress: Called with how many exchanges were matched with the tasks.

    Returns:
        The newest ``seq`` that was looked at.
    """
    newest = assign_new(store, registry, after=after, progress=progress)
    records = registry.tasks()
    # A learner that looks beside a turn may give exchanges to a task while it is displaced.
    for lost in store.task_counts().keys() - {None, *(record.task.id for record in records)}:
        store.unassign(str(lost))
    known_tasks = [record.task for record in records]
    named = {task.explicit for task in known_tasks if task.explicit}
    most = settings.most_tasks
    names, beyond_names, rare = names_with_room(store.unassigned_counts(), named, most)
    sample = [exchange for _, exchange in store.sample_unassigned(SAMPLE, seed=0)]
    sample += [exchange for _, exchange in store.sample_unassigned(SAMPLE, 0, names)]
    for task in known_tasks:
        if task.template is not None and task.template.bare:
            # A template without constant text matches everything: a new task may hide behind it.
            latest = store.exchanges(task_id=task.id, after=after, until=newest)
            sample += (exchange for _, exchange in islice(latest, SAMPLE))
    new_tasks = find_tasks(list(examples_of(sample)), known_tasks)
    changed, displaced, without_room = set[str](), list[Task](), list[Standing]()
    if new_tasks:
        seen = _counted(sample, TaskMatcher(new_tasks))
        new_tasks, displaced, without_room = make_room(store, records, new_tasks, seen, settings)
    if displaced:
        displaced = registry.remove_tasks(displaced)
        for task in displaced:
            store.unassign(task.id)
        records = registry.tasks()
        known_tasks = [record.task for record in records]
    if new_tasks:
        registry.add_tasks(new_tasks)
        for task in known_tasks:
            if any(takes_from(other, task) for other in new_tasks):
                store.unassign(task.id)
                changed.add(task.id)
    if new_tasks or displaced:
        _assign(
            store, TaskMatcher([*known_tasks, *new_tasks]), after=0, until=newest, progress=progress
        )
        changed |= {task.id for task in new_tasks}
    registry.set_beyond(beyond(most, [*beyond_names, *without_room], len(displaced), rare))
    changed |= store.tasks_since(after)
    trusted = trusted_keys(registry)
    forms = [
        form
        for record in registry.tasks()
        if record.task.id in changed or _asks_anew(record, settings)
        if (form := _form(store, record, settings, newest, trusted)) is not None
    ]
    if forms:
        registry.set_forms(forms)
    return newest


def _counted(sample: Iterable[Exchange], matcher: TaskMatcher) -> Counter[tuple[str, str]]:
    """Return how many of some exchanges each task has, by the task's id and the key."""
    seen: Counter[tuple[str, str]] = Counter()
    for exchange in sample:
        try:
            match = matcher.match(exchange.prompt(), exchange.task)
        except RequestError:
            continue
        if match is not None:
            seen[match[0].id, exchange.key] += 1
    return seen


def assign_new(store: Store, registry: Registry, *, after: int, progress: Progress = silent) -> int:
    """Assign exchanges after ``after`` to the known tasks; return the newest ``seq``."""
    newest = store.last_seq()
    known_tasks = [record.task for record in registry.tasks()]
    if known_tasks and newest > after:
        _assign(store, TaskMatcher(known_tasks), after=after, until=newest, progress=progress)
    return newest


def examples_of(exchanges: Iterable[Exchange]) -> Iterator[tuple[Prompt, Answer, str]]:
    """Yield prompt, answer and named task of exchanges that tasks can be found in."""
    for exchange in exchanges:
        if exchange.source in BY_STUDENTS or not exchange.answer.complete:
            continue
        try:
            prompt = exchange.prompt()
        except RequestError:
            continue  # kept in the log, but no task can be told from it
        if prompt.plain:
            yield prompt, exchange.answer, exchange.task


def _assign(
    store: Store, matcher: TaskMatcher, *, after: int, until: int, progress: Progress
) -> None:
    """Assign every unassigned exchange that a task matches."""

    def matches(step: Step) -> Iterator[tuple[int, str, str, str]]:
        for seq, exchange in store.exchanges(after=after, until=until, unassigned=True):
            step(seq - after)
            try:
                request = exchange.read()
            except RequestError:
                continue
            # Requests that only a teacher may answer are of no use either.
            plain = request.prompt.plain
            match = matcher.match(request.prompt, exchange.task) if plain else None
            if match is not None:
                task, inputs = match
                yield seq, task.id, encode_inputs(inputs), encode_settings(request.settings)

    with Step(progress, "matching with the tasks", until - after, "exchanges") as step:
        store.assign(matches(step))


def _asks_anew(record: TaskRecord, settings: LoopSettings) -> bool:
    """Return whether the settings change how a task's answers are compared."""
    name = record.task.name
    return name in settings.tasks or settings.folds(name) != record.folds


def _form(
    store: Store,
    record: TaskRecord,
    settings: LoopSettings,
    newest: int,
    trusted: Collection[str],
) -> tuple[str, Form, str, tuple[str, ...]] | None:
    """Infer a task's form from its latest answers; None if it stays as it is.

    Once a student was judged by it, a form stays until the user has answers compared otherwise: the
    gate and the audit notice when answers change.
    """
    name = record.task.name
    folds, by_fields = settings.folds(name), not settings.by_field(name).plain
    question = record.task.question
    if question is not None:  # its answers are known before any was given
        if (record.form, record.folds) == (LABEL.name, folds):
            return None
        reason = (
            f"It is a question of the type {question.type} with {len(question.answers)} answers."
        )
        return record.task.id, LABEL.name, reason, folds
    if record.attempts and folds == record.folds and not (by_fields and FORMS[record.form].closed):
        return None
    section = settings.task(name)
    rows = deque(
        (
            (row.answer, row.key)
            for row in store.task_rows(record.task.id, after=newest - FORM_WINDOW)
            if row.source not in BY_STUDENTS
            and row.answer.complete
            and row.key not in section.keys_outside
        ),
        maxlen=FORM_SAMPLE,
    )
    if not rows:
        return None
    answers, keys = zip(*rows, strict=True)
    inside = {*section.keys_inside, *trusted}
    evidence = form_inside(answers, keys, folds, inside=inside, closed=not by_fields)
    reason = evidence.reason
    if evidence.form in {"text", "unknown"}:
        texts = [answer.final for answer in answers if not answer.tool_calls]
        reason = f"{reason} {in_the_way(texts, name, folds, evidence.form)}".strip()
    return record.task.id, evidence.form, reason, folds
