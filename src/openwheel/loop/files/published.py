"""Publishes students' files to all machines that share a store, and fetches them from there.

Small files are in the database, large ones in the object store if there is one. Each is found by
its hash, and checked by it while it is written. A student is registered only once all its files
are published, and files are deleted only in a transaction that sees that no student has them: so
none is registered without.
"""

import contextlib
import hashlib
import logging
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Final

import msgspec

from openwheel.errors import ObjectStoreError, OpenwheelError, StoreError, StudentFileError
from openwheel.loop.files.folder import StudentsFolder
from openwheel.store import Store, Transaction, blobs, students
from openwheel.store.blobs import Blob
from openwheel.students.rung import sha256_of

logger = logging.getLogger(__name__)

IN_DATABASE: Final = 1 << 20
"""Bytes of the largest file that is kept in the database where there is an object store."""

MOST_IN_DATABASE: Final = 256 << 20
"""Bytes of the largest file that is kept in the database where there is none."""

KEPT_S: Final = 86_400.0
"""Seconds that files are kept for which nobody has a use: publishing them may be under way."""

_CHUNK: Final = 1 << 20
_SWEEP_EVERY_S: Final = 3_600.0
_FORGOTTEN_S: Final = 60.0
"""Seconds after which nobody waits for a student any more who does not ask for it."""


class _Files(msgspec.Struct):
    """What is read of a student's record."""

    files: dict[str, str]


class _Fetch(msgspec.Struct):
    """A student that is being fetched.

    Attributes:
        asked: When it was last asked for, by the monotonic clock.
        done: Whether its files are here.
        error: Why they are not so far.
    """

    asked: float
    done: bool = False
    error: StoreError | None = None


class PublishedStudents:
    """The students of a store that machines share; see `StudentFiles`.

    Args:
        store: Has the files, or says where they are.
        folder: Where this machine keeps its own copies.
        patience: Seconds for which publishing tries an object store that is away again.
        pause: Seconds before the first try after one that failed; twice as long before each
            further one, up to a minute.
    """

    def __init__(
        self, store: Store, folder: StudentsFolder, *, patience: float = 300.0, pause: float = 1.0
    ) -> None:
        self._store = store
        self._local = folder
        self._patience = patience
        self._pause = pause
        self._fetches: dict[str, _Fetch] = {}
        self._lock = threading.Lock()
        self._swept = float("-inf")

    def folder(self, student_id: str) -> Path:
        """See `StudentFiles.folder`."""
        return self._local.folder(student_id)

    def workplace(self, task_id: str) -> Path:
        """See `StudentFiles.workplace`."""
        return self._local.workplace(task_id)

    def publish(self, student_id: str, files: Mapping[str, str]) -> None:
        """See `StudentFiles.publish`."""
        with self._store.write(alone=False) as transaction:
            known = blobs.renew(transaction, set(files.values()))
        for name, sha256 in files.items():
            if sha256 not in known:
                self._publish(self.folder(student_id) / name, sha256)
                known.add(sha256)

    def _publish(self, file: Path, sha256: str) -> None:
        try:
            size = file.stat().st_size
        except OSError as error:
            raise StudentFileError(f"{file} cannot be read: {error}") from None
        objects = self._store.objects if size > IN_DATABASE else ""
        if not objects and size > MOST_IN_DATABASE:
            raise StudentFileError(
                f"{file} has {size:,} bytes, and the database keeps files of at most "
                f"{MOST_IN_DATABASE:,}: set objects under [store] to the URL of an object store"
            )
        if sha256_of(file) != sha256:
            raise StudentFileError(f"{file} was changed since it was saved")
        with self._store.write(alone=False) as transaction:
            blob = blobs.begin(transaction, sha256, objects=objects)
        if blob.object:
            self._patiently(lambda: _objects().put(blob.object, file))
        else:
            self._add_chunks(blob, file)
        with self._store.write(alone=False) as transaction:
            finished = blobs.finish(transaction, blob)
        if not finished:
            raise StoreError(f"{file} took more than a day to publish, and was deleted meanwhile")

    def _add_chunks(self, blob: Blob, file: Path) -> None:
        with file.open("rb") as opened:
            for number, body in enumerate(iter(lambda: opened.read(_CHUNK), b"")):
                with self._store.write(alone=False) as transaction:
                    blobs.add_chunk(transaction, blob, number, body)

    def require_published(
        self, transaction: Transaction, student_id: str, files: Mapping[str, str]
    ) -> None:
        """See `StudentFiles.require_published`."""
        there = blobs.find(transaction, set(files.values()))
        for name, sha256 in files.items():
            if sha256 not in there:
                raise StudentFileError(
                    f"{name} of the student {student_id} is not in {self._store}"
                )

    def fetch(self, student_id: str, files: Mapping[str, str]) -> Path:
        """See `StudentFiles.fetch`."""
        folder = self.folder(student_id)
        try:
            self._fetch(student_id, folder, files)
            os.utime(folder)  # it is in use
        except OSError as error:
            raise StudentFileError(
                f"The files of the student {student_id} cannot be kept at {folder}: {error}"
            ) from None
        return folder

    def _fetch(self, student_id: str, folder: Path, files: Mapping[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        lacking = {}
        for name, sha256 in files.items():
            if not (folder / name).resolve().is_relative_to(folder.resolve()):
                raise StudentFileError(f"{name!r} is no name of a file of {student_id}")
            if not (folder / name).is_file() or sha256_of(folder / name) != sha256:
                lacking[name] = sha256
        if not lacking:
            return
        with self._store.read() as transaction:
            there = blobs.find(transaction, set(lacking.values()))
        for name, sha256 in lacking.items():
            if sha256 not in there:
                raise StudentFileError(
                    f"{name} of the student {student_id} is neither at {folder} nor in "
                    f"{self._store}"
                )
            self._write(there[sha256], folder / name)

    def _write(self, blob: Blob, file: Path) -> None:
        """Write a file beside the students, and put it in place once its hash is the expected one.

        Processes that fetch the same file at once each write their own, and none into the folder of
        a student that another loads.
        """
        file.parent.mkdir(parents=True, exist_ok=True)
        scratch = self.folder(f".fetching-{secrets.token_hex(8)}")
        digest = hashlib.sha256()
        try:
            with scratch.open("xb") as opened:
                parts = _objects().read(blob.object) if blob.object else self._chunks(blob)
                for part in parts:
                    digest.update(part)
                    opened.write(part)
            if digest.hexdigest() != blob.hash:
                raise StudentFileError(
                    f"{file.name} in {blob.object or self._store} is not the one with the hash "
                    f"{blob.hash}"
                )
            os.replace(scratch, file)
        finally:
            scratch.unlink(missing_ok=True)

    def _chunks(self, blob: Blob) -> Iterator[bytes]:
        number = 0
        while True:
            with self._store.read() as transaction:
                body = blobs.read_chunk(transaction, blob, number)
            if body is None:
                return
            yield body
            number += 1

    def at_hand(self, student_id: str, files: Mapping[str, str]) -> bool:
        """See `StudentFiles.at_hand`."""
        now = time.monotonic()
        with self._lock:
            under_way = self._fetches.get(student_id)
            if under_way is None:
                under_way = self._fetches[student_id] = _Fetch(now)
                threading.Thread(
                    target=self._keep_fetching,
                    args=(student_id, dict(files), under_way),
                    name="openwheel-fetch",
                    daemon=True,
                ).start()
            under_way.asked = now
        if not under_way.done and under_way.error is not None:
            raise under_way.error
        return under_way.done

    def _keep_fetching(self, student_id: str, files: Mapping[str, str], fetch: _Fetch) -> None:
        """Fetch a student's files until they are here, or nobody waits for them any more."""
        for pause in _pauses(self._pause):
            try:
                self._fetch(student_id, self.folder(student_id), files)
            except (OpenwheelError, OSError) as error:
                fetch.error = StoreError(
                    f"The files of the student {student_id} could not be fetched so far: {error}"
                )
            else:
                fetch.done = True
                return
            time.sleep(pause)
            with self._lock:
                if time.monotonic() - fetch.asked > _FORGOTTEN_S + pause:
                    self._fetches.pop(student_id, None)
                    return

    def _patiently(self, use: Callable[[], None]) -> None:
        """Do what uses the object store, again and again while that is away."""
        ends = time.monotonic() + self._patience
        told = False
        for pause in _pauses(self._pause):
            try:
                use()
                return
            except ObjectStoreError as error:
                if time.monotonic() + pause > ends:
                    raise
                if not told:
                    told = True
                    logger.warning("%s; it is tried again", error)
            time.sleep(pause)

    def sweep(self, in_use: Collection[str]) -> None:
        """See `StudentFiles.sweep`."""
        now = time.monotonic()
        if now - self._swept < _SWEEP_EVERY_S:
            return
        self._swept = now
        with self._lock:
            for student_id in self._fetches.keys() - set(in_use):
                del self._fetches[student_id]
        root = self.folder("x").parent
        if not root.is_dir():
            return
        keep = {*in_use, self.workplace("x").parent.name}
        for path in root.iterdir():
            # Another process may be at it too.
            with contextlib.suppress(OSError):
                if path.name not in keep and time.time() - path.stat().st_mtime > KEPT_S:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    def collect(self) -> None:
        """See `StudentFiles.collect`."""
        with self._store.read() as transaction:
            expired = blobs.expired(transaction, _needed(transaction), older_than=KEPT_S)
        if expired:
            # Again, alone: a student may have been registered meanwhile.
            with self._store.write() as transaction:
                needed = _needed(transaction)
                blobs.drop(transaction, blobs.expired(transaction, needed, older_than=KEPT_S))
        with self._store.read() as transaction:
            dropped = blobs.dropped(transaction)
        for blob in dropped:
            if blob.object:
                _objects().delete(blob.object)
            with self._store.write(alone=False) as transaction:
                blobs.delete(transaction, blob)


def _needed(transaction: Transaction) -> set[str]:
    """Return the hashes of the files of all registered students."""
    records = students.read(transaction, _Files)
    return {sha256 for record, _, _ in records for sha256 in record.files.values()}


def _pauses(first: float) -> Iterator[float]:
    pause = first
    while True:
        yield pause
        pause = min(2 * pause, 60.0)


def _objects() -> ModuleType:
    # Here, since only who has an object store needs its library.
    from openwheel.store import objects  # noqa: PLC0415

    return objects
