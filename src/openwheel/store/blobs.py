"""Stores files by their hashes, in chunks, or the URLs of those that an object store has.

A file may be there more than once, as where two learners publish it at the same time.
"""

import secrets
from collections.abc import Collection
from typing import NamedTuple

import sqlalchemy as sa

from openwheel.store import sql
from openwheel.store.schema import student_blobs as table
from openwheel.store.schema import student_chunks as chunks
from openwheel.store.store import Transaction


class Blob(NamedTuple):
    """A stored file.

    Attributes:
        id: Never used twice, so that deleting one deletes no other of the same hash.
        hash: Its sha256, as hex.
        object: Its URL in an object store; empty where its chunks are here.
    """

    id: str
    hash: str
    object: str


def begin(transaction: Transaction, sha256: str, *, objects: str) -> Blob:
    """Begin a file, which is found once `finish` was called.

    Args:
        transaction: A transaction that writes.
        sha256: Its hash, as hex.
        objects: The URL of the object store that is to have it; empty for none.
    """
    identity = f"{sha256}-{secrets.token_hex(8)}"
    blob = Blob(identity, sha256, f"{objects.rstrip('/')}/{identity}" if objects else "")
    transaction.execute(
        sa.insert(table).values(blob._asdict() | {"state": "making", "time": sql.now()})
    )
    return blob


def add_chunk(transaction: Transaction, blob: Blob, number: int, body: bytes) -> None:
    """Add a part of a file's bytes; the first has number 0."""
    transaction.execute(sa.insert(chunks).values(blob=blob.id, number=number, body=body))


def read_chunk(transaction: Transaction, blob: Blob, number: int) -> bytes | None:
    """Return a part of a file's bytes, None after the last."""
    query = sa.select(chunks.c.body).where(chunks.c.blob == blob.id, chunks.c.number == number)
    return transaction.execute(query).scalar_one_or_none()


def finish(transaction: Transaction, blob: Blob) -> bool:
    """Have a file be found; return whether that may be: it was not deleted meanwhile."""
    done = sa.update(table).where(table.c.id == blob.id, table.c.state == "making")
    return transaction.execute(done.values(state="ready", time=sql.now())).rowcount == 1


def find(transaction: Transaction, hashes: Collection[str]) -> dict[str, Blob]:
    """Return the files that are there of these hashes."""
    query = sa.select(*(table.c[name] for name in Blob._fields)).where(
        table.c.hash.in_(hashes), table.c.state == "ready"
    )
    return {row.hash: Blob._make(row) for row in transaction.execute(query)}


def renew(transaction: Transaction, hashes: Collection[str]) -> set[str]:
    """Have files of these hashes count as begun now; return those that are there."""
    ready = sa.update(table).where(table.c.hash.in_(hashes), table.c.state == "ready")
    return set(transaction.execute(ready.values(time=sql.now()).returning(table.c.hash)).scalars())


def expired(transaction: Transaction, needed: Collection[str], *, older_than: float) -> list[str]:
    """Return the ids of files that are not needed, or were never finished.

    Args:
        transaction: A transaction.
        needed: The hashes of those that are needed.
        older_than: Seconds since they were begun or renewed.
    """
    query = sa.select(table.c.id, table.c.hash, table.c.state).where(
        table.c.time < sql.now() - older_than, table.c.state != "deleting"
    )
    return [
        row.id
        for row in transaction.execute(query)
        if row.state == "making" or row.hash not in needed
    ]


def drop(transaction: Transaction, ids: Collection[str]) -> None:
    """Have files no longer be found."""
    transaction.execute(sa.update(table).where(table.c.id.in_(ids)).values(state="deleting"))


def dropped(transaction: Transaction) -> list[Blob]:
    """Return the files that are no longer found and not yet deleted."""
    query = sa.select(*(table.c[name] for name in Blob._fields)).where(table.c.state == "deleting")
    return [Blob._make(row) for row in transaction.execute(query)]


def delete(transaction: Transaction, blob: Blob) -> None:
    """Delete a file that was dropped, with its chunks; its object is deleted before."""
    dead = table.c.id == blob.id, table.c.state == "deleting"
    transaction.execute(sa.delete(table).where(*dead))
