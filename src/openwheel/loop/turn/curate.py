"""Curating: finding new tasks in the traffic, assigning exchanges to tasks, inferring forms."""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice

from openwheel.errors import RequestError
from openwheel.loop.data import encode_inputs
from openwheel.loop.records import TaskRecord, encode_settings
from openwheel.loop.registry import Registry
from openwheel.loop.settings import LoopSettings
from openwheel.progress import Progress, Step, silent
from openwheel.store import BY_STUDENTS, Exchange, Store
from openwheel.tasks import TaskMatcher, find_tasks, infer_form
from openwheel.tasks.hints import in_the_way
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

    Known tasks take what belongs to them first; new tasks are found in a sample of the rest.

    Args:
        store: The traffic.
        registry: Gets the new tasks and forms.
        settings: What the user decides: how answers are compared, and may differ.
        after: Exchanges up to this ``seq`` that no known task matched were looked at before and
            are not matched again unless a new task was found.
        progress: Told how many exchanges were matched with the tasks.

    Returns:
        The newest ``seq`` that was looked at.
    """
    newest = assign_new(store, registry, after=after, progress=progress)
    known = [record.task for record in registry.tasks()]
    bare = [task for task in known if task.template is not None and task.template.bare]
    sample = list(examples_of(exchange for _, exchange in store.sample_unassigned(SAMPLE, seed=0)))
    for task in bare:
        # A template without constant text matches everything: a new task may hide behind it.
        latest = store.exchanges(task_id=task.id, after=after, until=newest)
        sample += examples_of(exchange for _, exchange in islice(latest, SAMPLE))
    found = find_tasks(sample, known)
    if found:
        registry.add_tasks(found)
        before, matcher = TaskMatcher(known), TaskMatcher([*known, *found])
        for task in known:
            if before.fingerprint(task) != matcher.fingerprint(task):
                store.unassign(task.id)
        _assign(store, matcher, after=0, until=newest, progress=progress)
    for record in registry.tasks():
        _update_form(store, registry, record, settings, newest)
    return newest


def assign_new(store: Store, registry: Registry, *, after: int, progress: Progress = silent) -> int:
    """Assign what came after ``after`` to the tasks that are known; return the newest ``seq``."""
    newest = store.last_seq()
    known = [record.task for record in registry.tasks()]
    if known and newest > after:
        _assign(store, TaskMatcher(known), after=after, until=newest, progress=progress)
    return newest


def examples_of(exchanges: Iterable[Exchange]) -> Iterator[tuple[Prompt, Answer, str]]:
    """Yield prompt, answer and named task of exchanges that can teach something."""
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
            # What only a teacher may answer teaches nothing either.
            plain = request.prompt.plain
            match = matcher.match(request.prompt, exchange.task) if plain else None
            if match is not None:
                task, inputs = match
                yield seq, task.id, encode_inputs(inputs), encode_settings(request.settings)

    with Step(progress, "matching with the tasks", until - after, "exchanges") as step:
        store.assign(matches(step))


def _update_form(
    store: Store, registry: Registry, record: TaskRecord, settings: LoopSettings, newest: int
) -> None:
    """Infer a task's form from its latest answers.

    Once a student was judged on it, a form stays until the user wants answers compared otherwise:
    the gate and the audit, not the form, notice when answers change.
    """
    name = record.task.name
    folds, chosen = settings.folds(name), settings.comparison(name)
    by_fields = chosen is not None and chosen.kind == "fields"
    if record.attempts and folds == record.folds and not (by_fields and record.form == "label"):
        return
    answers = deque(
        (
            row.answer
            for row in store.task_rows(record.task.id, after=newest - FORM_WINDOW)
            if row.source not in BY_STUDENTS and row.answer.complete
        ),
        maxlen=FORM_SAMPLE,
    )
    if not answers:
        return
    evidence = infer_form(answers, folds, closed=not by_fields)
    reason = evidence.reason
    if evidence.form in {"text", "unknown"}:
        texts = [answer.final for answer in answers if not answer.tool_calls]
        reason = f"{reason} {in_the_way(texts, name, folds, evidence.form)}".strip()
    registry.set_form(record.task.id, evidence.form, reason, folds)
