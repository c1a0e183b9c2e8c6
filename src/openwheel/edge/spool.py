"""Keeps what an edge has still to send, in one file of bounded size."""

import logging
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, Final, TypeVar

import msgspec

from openwheel.edge.waiting import Waiting
from openwheel.errors import StoreError, UnstorableError
from openwheel.gateway.throttled_log import ThrottledLog
from openwheel.store import Exchange, Store, Transaction, spool

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger(__name__)

_COUNTS: Final = "counts"
_DELETED_AT_ONCE: Final = 32
_MARGIN: Final = 64
_PAGE: Final = 8_192
_ROW: Final = 640
_LOG_EVERY_S: Final = 60.0
_Note = TypeVar("_Note", bound=msgspec.Struct)


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What has become of exchanges since the spool was made.

    Attributes:
        sent: Exchanges that the upstream has taken.
        refused: Exchanges, and requests that waited, that the upstream does not take.
        deleted_student, deleted_teacher, deleted_audits: Deleted for want of room, see
            `spool.Deleted`.
        asked: Requests that waited and were answered.
        given_up: Requests that waited, and that the upstream failed to answer again and again.
    """

    sent: int = 0
    refused: int = 0
    deleted_student: int = 0
    deleted_teacher: int = 0
    deleted_audits: int = 0
    asked: int = 0
    given_up: int = 0


class Backlog(msgspec.Struct, frozen=True):
    """What is in the spool now.

    Attributes:
        exchanges: Exchanges that the upstream does not have yet.
        waiting: Requests that it is still to be asked.
        bytes: What the file takes on the disk, with those beside it.
        most_bytes: What it may take.
    """

    exchanges: int
    waiting: int
    bytes: int
    most_bytes: int


class Spool:
    """The spool; the gateway's capture writes exchanges to it as to any store.

    Of the bytes allowed the file has eleven sixteenths, the log of writes beside it the rest.

    Args:
        path: The file; made if need be.
        most_bytes: What it may take on the disk, with the files beside it.

    Raises:
        StoreError: The file cannot be used, or another edge uses it.
    """

    def __init__(self, path: Path, most_bytes: int) -> None:
        self._held = _hold(path)
        try:
            self.store = Store.open(path)
        except BaseException:
            self._held.close()
            raise
        self.most_bytes = most_bytes
        self._most_used = most_bytes * 11 // 16
        self._most_log = most_bytes // 8
        self._most_written = most_bytes // 16
        # One write at a time, so that room that was made is there for it.
        self._lock = threading.RLock()
        self._full = ThrottledLog(logger, every=_LOG_EVERY_S)
        self.counts = self.note(_COUNTS, Counts) or Counts()

    def close(self) -> None:
        """Close the file."""
        self.store.close()
        self._held.close()

    def append(self, exchanges: Sequence[Exchange]) -> int:
        """Keep exchanges, and return how many were new; see `ExchangeStore.append`.

        The oldest are deleted if there is no room.
        """
        if sum(map(_size, exchanges)) > self._most_written:
            if len(exchanges) == 1:
                raise UnstorableError(
                    f"An exchange of {_size(exchanges[0]):,} bytes is too long for a spool of "
                    f"{self.most_bytes:,}; it may have {self._most_written:,}"
                )
            half = len(exchanges) // 2
            return self.append(exchanges[:half]) + self.append(exchanges[half:])
        with self._lock:
            self._room(sum(map(_size, exchanges)))
            new = self.store.append(exchanges)
            self.settle()
        return new

    def has_same(self, exchange: Exchange, *, within: float) -> bool:
        """See `ExchangeStore.has_same`."""
        return self.store.has_same(exchange, within=within)

    def wait(self, exchange: str, request: Waiting, *, promised: bool = False) -> bool:
        """Keep a request until it was asked; return whether there was room.

        Args:
            exchange: The id that its exchange will have.
            request: The request.
            promised: Whether a client is told that it will be sent: it is then not deleted to make
                room. Such requests have a quarter of the spool at most.
        """
        size = len(request.body) + sum(map(_size, request.exchanges)) + _ROW
        if size > self._most_written:
            return False
        with self._lock:
            with self.store.read() as transaction:
                held = spool.promised_bytes(transaction) if promised else 0
            if held + size > self.most_bytes // 4:
                return False
            self._room(size * 4 // 3)  # bodies are kept as base64
            with self.store.write() as transaction:
                spool.add_waiting(transaction, exchange, request, promised=promised)
            self.settle()
        return True

    def waiting(self, *, after: int = 0, limit: int) -> list[tuple[int, Waiting]]:
        """Return requests that are still to be asked, each with its number, in their order."""
        with self.store.read() as transaction:
            rows = spool.waiting(transaction, after=after, limit=limit)
        return [(row.id, msgspec.json.decode(row.body, type=Waiting)) for row in rows]

    def asked(self, number: int, made: Iterable[Exchange]) -> None:
        """Keep the exchanges of a request that was asked, and forget it, in one write."""
        exchanges = list(made)
        with self._lock:
            self._room(sum(map(_size, exchanges)))
            counts = msgspec.structs.replace(self.counts, asked=self.counts.asked + 1)
            self._count(counts, lambda write: spool.settle(write, number, exchanges))

    def drop(self, number: int, *, refused: bool) -> None:
        """Forget a request that will not be answered, and count it."""
        with self._lock:
            counts = self.counts
            counts = (
                msgspec.structs.replace(counts, refused=counts.refused + 1)
                if refused
                else msgspec.structs.replace(counts, given_up=counts.given_up + 1)
            )
            self._count(counts, lambda write: spool.settle(write, number))

    def unsent(self, *, limit: int) -> list[tuple[int, Exchange]]:
        """Return the oldest exchanges that the upstream does not have, each with its ``seq``."""
        with self.store.read() as transaction:
            return spool.unsent(transaction, limit=limit)

    def sent(self, seqs: Sequence[int], *, refused: int) -> None:
        """Forget exchanges that the upstream has taken, or does not take."""
        with self._lock:
            counts = msgspec.structs.replace(
                self.counts,
                sent=self.counts.sent + len(seqs) - refused,
                refused=self.counts.refused + refused,
            )
            self._count(counts, lambda write: spool.delete_sent(write, seqs))

    def backlog(self) -> Backlog:
        """Return what is in the spool."""
        with self.store.read() as transaction:
            waiting, _ = spool.count_waiting(transaction)
        return Backlog(self.store.count(), waiting, spool.disk_bytes(self.store), self.most_bytes)

    def note(self, name: str, kind: type[_Note]) -> _Note | None:
        """Return the note of a name, None if there is none."""
        with self.store.read() as transaction:
            return spool.find_note(transaction, name, kind)

    def put_note(self, name: str, note: msgspec.Struct) -> None:
        """Keep a note."""
        with self._lock:
            with self.store.write() as transaction:
                spool.put_note(transaction, name, note)
            self.settle()

    def settle(self) -> None:
        """Keep the log of writes within its part."""
        spool.empty_wal(self.store, past=self._most_log)

    def _count(self, counts: Counts, change: Callable[[Transaction], object]) -> None:
        with self.store.write() as transaction:
            change(transaction)
            spool.put_note(transaction, _COUNTS, counts)
        self.counts = counts
        self.settle()

    def _room(self, size: int) -> None:
        """Delete the oldest rows until so many bytes more are allowed.

        Raises:
            StoreError: Nothing more may be deleted.
        """
        most = self._most_used - size
        with self.store.read() as transaction:
            if spool.used_bytes(transaction) <= most:
                return
        most -= self.most_bytes // _MARGIN  # else each write would have to make room
        with self.store.write() as transaction:
            deleted = spool.make_room(transaction, most=most, batch=_DELETED_AT_ONCE)
            if deleted is None:
                raise StoreError(f"{self.store} is full of requests that wait for the upstream")
            counts = self.counts
            counts = msgspec.structs.replace(
                counts,
                deleted_student=counts.deleted_student + deleted.student,
                deleted_teacher=counts.deleted_teacher + deleted.teacher,
                deleted_audits=counts.deleted_audits + deleted.audits,
            )
            spool.put_note(transaction, _COUNTS, counts)
        self.counts = counts
        self._full.warning(
            f"The spool is full: {counts.deleted_student} answers of students, "
            f"{counts.deleted_teacher} of the teacher and {counts.deleted_audits} audits were "
            "deleted so far before they were sent"
        )


def _hold(path: Path) -> IO[bytes]:
    """Hold a file beside the spool until it is closed, which the system does when a process ends.

    Raises:
        StoreError: Another process holds it.
    """
    beside = path.with_name(f"{path.name}.lock")
    try:
        held = beside.open("ab")
    except OSError as error:
        raise StoreError(f"{beside} cannot be made: {error.strerror}") from None
    if sys.platform != "win32":
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held.close()
            raise StoreError(f"Another edge uses the spool {path}; each needs its own") from None
    return held


def _size(exchange: Exchange) -> int:
    """Return about how many bytes an exchange takes in the file."""
    answer = exchange.answer
    calls = sum(len(call.name) + len(call.arguments) for call in answer.tool_calls)
    held = len(exchange.request) + 4 * (len(answer.text) + calls + len(exchange.model)) + _ROW
    for text in (exchange.student_answer, exchange.student_guess):
        held += 4 * len(text or "")
    return held if held < _PAGE // 2 else held + _PAGE
