"""Stores certificates, which are never changed."""

import time
from typing import TypeVar

import msgspec
import sqlalchemy as sa

from openwheel.store import sql
from openwheel.store.schema import certificates as table
from openwheel.store.store import Transaction

_Body = TypeVar("_Body")


def add(
    transaction: Transaction,
    certificate_id: str,
    body: msgspec.Struct,
    *,
    task_id: str,
    student_id: str,
) -> None:
    """Add a certificate."""
    transaction.execute(
        sa.insert(table).values(
            id=certificate_id,
            task_id=task_id,
            student_id=student_id,
            certificate=msgspec.json.encode(body),
            created=time.time(),
        )
    )


def is_kept(transaction: Transaction, certificate_id: str) -> bool:
    """Return whether there is a certificate of this id."""
    query = sa.select(table.c.id).where(table.c.id == certificate_id)
    return transaction.execute(query).first() is not None


def read(transaction: Transaction, kind: type[_Body], task_id: str | None = None) -> list[_Body]:
    """Return certificates, oldest first."""
    query = sa.select(table.c.certificate).order_by(sql.AS_THEY_CAME)
    if task_id is not None:
        query = query.where(table.c.task_id == task_id)
    return [msgspec.json.decode(body, type=kind) for body in transaction.execute(query).scalars()]
