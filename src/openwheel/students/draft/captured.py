"""The answers that a draft learns from, out of the traffic log."""

from collections import Counter
from typing import NamedTuple

from openwheel.errors import ModelError, RequestError
from openwheel.store import BY_STUDENTS, Store
from openwheel.students.draft.examples import Captured


class Origin(NamedTuple):
    """Whose answers: the endpoint's name, ``""`` for a log, and the model as it named it."""

    teacher: str
    model: str


def origins(store: Store, task_id: str) -> Counter[Origin]:
    """Count a task's usable answers by whose they are."""
    return Counter(origin for origin, _ in _usable(store, task_id))


def captured_answers(store: Store, task_id: str, origin: Origin) -> list[Captured]:
    """Return the answers that one teacher's model gave to a task, oldest first.

    Answers that were cut off, tool calls and requests with tools or images are left out: a draft
    must read what its target reads, and the log does not hold how an engine wrote those down.

    Args:
        store: The traffic store.
        task_id: The task.
        origin: Whose answers; a draft imitates one model.
    """
    return [captured for whose, captured in _usable(store, task_id) if whose == origin]


def choose(found: Counter[Origin], model: str) -> Origin:
    """Return whose answers a draft learns from.

    Args:
        found: Usable answers by whose they are.
        model: The model that was asked for, ``""`` if it is clear which.

    Raises:
        ModelError: There are no answers, none of that model, or of several models.
    """
    fitting = [origin for origin in found if not model or origin.model == model]
    if len(fitting) == 1:
        return fitting[0]
    names = ", ".join(f"{o.teacher or 'log'} {o.model} ({n:,})" for o, n in found.most_common())
    if not found:
        raise ModelError("The task has no captured text answers of a teacher to learn from")
    if not fitting:
        raise ModelError(f"The task has no answers of the model {model!r}; it has those of {names}")
    raise ModelError(
        f"A draft imitates one model, and the task has answers of several: {names}. Name one with "
        "--model"
    )


def _usable(store: Store, task_id: str) -> "list[tuple[Origin, Captured]]":
    found = []
    for _, exchange in store.exchanges(task_id=task_id):
        answer = exchange.answer
        if exchange.source in BY_STUDENTS or not answer.complete or answer.tool_calls:
            continue
        try:
            prompt = exchange.prompt()
        except RequestError:
            continue
        if prompt.plain and not prompt.tools and answer.text:
            origin = Origin(exchange.teacher, exchange.model)
            found.append((origin, Captured(prompt.messages, answer.text)))
    return found
