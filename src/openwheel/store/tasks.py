"""Stores tasks: the forms of their answers, attempts, and which exchanges have judged."""

import time
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from openwheel.store import sql
from openwheel.store.schema import (
    judged,
    task_folds,
    tasks_beyond,
    teacher_looks,
    teacher_twice,
    teacher_versions,
)
from openwheel.store.schema import tasks as table
from openwheel.store.store import Transaction


class StoredTask(NamedTuple):
    """A task; ``task`` is the struct that was added, as JSON."""

    task: bytes
    form: str
    form_reason: str
    attempts: int
    trained_on: int
    folds: tuple[str, ...]


def read(transaction: Transaction, task_id: str | None = None) -> list[StoredTask]:
    """Return all tasks, oldest first; or one alone, if there is such a task."""
    folds = {
        row.task_id: msgspec.json.decode(row.folds, type=tuple[str, ...])
        for row in transaction.execute(sa.select(task_folds))
    }
    query = sa.select(table).order_by(sql.AS_THEY_CAME)
    if task_id is not None:
        query = query.where(table.c.id == task_id)
    return [
        StoredTask(
            row.task,
            row.form,
            row.form_reason,
            row.attempts,
            row.trained_on,
            folds.get(row.id, ()),
        )
        for row in transaction.execute(query)
    ]


def add(
    transaction: Transaction, task_id: str, name: str, task: msgspec.Struct, *, form_reason: str
) -> None:
    """Add a task whose form is unknown."""
    transaction.execute(
        sa.insert(table).values(
            id=task_id,
            name=name,
            task=msgspec.json.encode(task),
            form="unknown",
            form_reason=form_reason,
            attempts=0,
            trained_on=0,
            created=time.time(),
        )
    )


def remove(transaction: Transaction, task_id: str) -> bool:
    """Remove a task, unless an attempt on it was ever counted; return whether it was removed."""
    untried = sa.select(table.c.id).where(table.c.id == task_id, table.c.attempts == 0)
    if transaction.execute(untried).one_or_none() is None:
        return False
    for kept in (task_folds, judged, teacher_versions, teacher_looks, teacher_twice):
        transaction.execute(sa.delete(kept).where(kept.c.task_id == task_id))
    transaction.execute(sa.delete(table).where(table.c.id == task_id))
    return True


def read_beyond(transaction: Transaction) -> bytes | None:
    """Return the last value of `set_beyond`, as JSON; None if there is none."""
    return transaction.execute(sa.select(tasks_beyond.c.beyond)).scalar_one_or_none()


def set_beyond(transaction: Transaction, beyond: msgspec.Struct) -> None:
    """Note which tasks were left out when tasks were last looked for."""
    body = msgspec.json.encode(beyond)
    added = sql.insert(transaction, tasks_beyond).values(id=1, beyond=body)
    transaction.execute(added.on_conflict_do_update(index_elements=["id"], set_={"beyond": body}))


def set_form(
    transaction: Transaction, task_id: str, form: str, reason: str, folds: tuple[str, ...]
) -> None:
    """Set the form and the folds of a task's answers."""
    transaction.execute(
        sa.update(table).where(table.c.id == task_id).values(form=form, form_reason=reason)
    )
    body = msgspec.json.encode(folds)
    added = sql.insert(transaction, task_folds).values(task_id=task_id, folds=body)
    transaction.execute(
        added.on_conflict_do_update(index_elements=["task_id"], set_={"folds": body})
    )


def set_trained_on(transaction: Transaction, task_id: str, labelled: int) -> None:
    """Note on how many labelled exchanges a task was last trained."""
    transaction.execute(sa.update(table).where(table.c.id == task_id).values(trained_on=labelled))


def count_attempt(transaction: Transaction, task_id: str) -> int:
    """Count one more attempt on a task, and return its number, from 1."""
    transaction.execute(
        sa.update(table).where(table.c.id == task_id).values(attempts=table.c.attempts + 1)
    )
    query = sa.select(table.c.attempts).where(table.c.id == task_id)
    return int(transaction.execute(query).scalar_one())


def set_judged(transaction: Transaction, task_id: str, until: int) -> None:
    """Note that a task's exchanges up to one have judged."""
    added = sql.insert(transaction, judged).values(task_id=task_id, until=until)
    later = {"until": sql.greater(judged.c.until, added.excluded.until)}
    transaction.execute(added.on_conflict_do_update(index_elements=["task_id"], set_=later))


def judged_until(transaction: Transaction, task_id: str) -> int:
    """Return the last exchange of a task that has judged, 0 if none has."""
    row = transaction.execute(sa.select(judged.c.until).where(judged.c.task_id == task_id))
    return row.scalar_one_or_none() or 0
