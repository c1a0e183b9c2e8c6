"""Packs promoted students in one signed file, and reads it: whole, unchanged, certified, allowed.

A bundle is a plain zip file (no pickle, no code):

- ``manifest.json``: the format, and for each other file its sha256 and its bytes;
- ``manifest.sig``: the Ed25519 signature of the manifest's bytes, 64 bytes;
- ``contents.json``: tasks, students' records, certificates and promotions;
- ``students/ID/NAME``: the files of each student.
"""

import hashlib
import os
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec

from openwheel.edge.signing import check_signature, sign
from openwheel.edge.standing import State, standings
from openwheel.errors import BundleError
from openwheel.gate import Certificate, verify
from openwheel.loop.records import Candidate, TaskRecord
from openwheel.loop.registry import Registry
from openwheel.students import rungs
from openwheel.students.onnx_encoder import GRAPH
from openwheel.tasks import TaskMatcher
from openwheel.trust import Policy

FORMAT: Final = 1
MOST_BYTES: Final = 2 << 30
"""The most bytes of a bundle, packed or unpacked."""

_MANIFEST, _SIGNATURE, _CONTENTS = "manifest.json", "manifest.sig", "contents.json"
_MOST_FILES: Final = 10_000
_MOST_MANIFEST: Final = 4 << 20
_CHUNK: Final = 1 << 20
_SIGNATURE_BYTES: Final = 64
# The same content gives the same bytes, whenever it is packed.
_TIME: Final = (1980, 1, 1, 0, 0, 0)


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of a bundle: its hash and its length."""

    sha256: str
    bytes: int


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is signed."""

    format: int
    files: dict[str, FileEntry]


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """The records of a bundle.

    Attributes:
        created: When it was made, in seconds since 1970.
        unheard: Seconds that its students may go on without a word of the upstream.
        tasks: All tasks that were known: which one takes a prompt depends on the others.
        students: The students' records, their lineages included.
        certificates: Those that they are promoted by.
        state: Which of them are in front of traffic, and how they are audited.
    """

    created: float
    unheard: float
    tasks: tuple[TaskRecord, ...]
    students: tuple[Candidate, ...]
    certificates: tuple[Certificate, ...]
    state: State


class Bundle(msgspec.Struct, frozen=True):
    """A bundle that was checked.

    Attributes:
        sha256: Of the file.
        contents: Its records.
        path: The file.
    """

    sha256: str
    contents: Contents
    path: Path

    @property
    def names(self) -> list[str]:
        """The names of the tasks whose students it holds."""
        promoted = self.contents.state.students
        return sorted(
            record.task.name for record in self.contents.tasks if record.task.id in promoted
        )

    def unpack(self, folder: Path) -> None:
        """Write the students' files to a folder for each in ``folder``, checking them again.

        Raises:
            BundleError: The bundle has changed since it was checked.
            OSError: A file cannot be written.
        """
        with _opened(self.path) as archive:
            for candidate in self.contents.students:
                for name, sha256 in candidate.files.items():
                    target = folder / candidate.id / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    _copy(archive, _place(candidate.id, name), sha256, target)


def make_bundle(
    registry: Registry,
    out: Path,
    private: Path,
    *,
    tasks: Sequence[str] = (),
    unheard: float,
    policy: Policy | None = None,
) -> Bundle:
    """Pack the promoted students of tasks in one signed file, written whole or not at all.

    Args:
        registry: Where they are promoted.
        out: The file; one that is there is replaced.
        private: The file of the private key.
        tasks: Names or ids of tasks; none for all that have a promoted student.
        unheard: Seconds that the students may go on without a word of the upstream.
        policy: May forbid a student by its lineage; by default licences alone do.

    Raises:
        SettingError: There is no such task, or the key cannot be used.
        BundleError: A task has no promoted student, or one that an edge cannot run.
        PolicyError: A student may not be promoted, so neither may it be bundled.
        StudentFileError: A student's file is not the one that was certified.
    """
    promoted = standings(registry)
    chosen = [registry.find_task(name).task for name in tasks]
    records = registry.tasks()
    if not tasks:
        chosen = [record.task for record in records if record.task.id in promoted]
    if not chosen:
        raise BundleError(f"No student is promoted in {registry.store}, so there is none to bundle")
    certificates = {certificate.id: certificate for certificate in registry.certificates()}
    students, kept, files = [], [], dict[str, Path]()
    for task in chosen:
        standing = promoted.get(task.id)
        if standing is None:
            raise BundleError(
                f"The task {task.name} has no promoted student; only promoted ones are bundled"
            )
        candidate = registry.candidate(standing.student)
        _require_alone(candidate, task.name)
        registry.check(candidate)
        students.append(candidate)
        kept.append(certificates[standing.certificate])
        folder = registry.files.folder(candidate.id)
        files |= {_place(candidate.id, name): folder / name for name in candidate.files}
    ids = {task.id for task in chosen}
    contents = Contents(
        created=time.time(),
        unheard=unheard,
        tasks=tuple(records),
        students=tuple(students),
        certificates=tuple(kept),
        state=State(
            stopped=registry.stopped(),
            students={task: standing for task, standing in promoted.items() if task in ids},
        ),
    )
    require_usable(contents, policy)
    _write(out, contents, files, private)
    return Bundle(_sha256_of(out), contents, out)


def read_bundle(path: Path, public: Path, *, policy: Policy | None = None) -> Bundle:
    """Read a bundle and check all of it.

    Its signature by a pinned key comes first, before anything else in it is believed: then each
    file's hash and length, each certificate recomputed, each student's files and task, and the
    policy.

    Args:
        path: The file.
        public: The file of the public key.
        policy: May forbid a student by its lineage; by default licences alone do.

    Raises:
        BundleError: It is not a bundle, is not signed by the key, was changed, or does not hold.
        PolicyError: A student of it may not be promoted.
        SettingError: The key cannot be used.
    """
    with _opened(path) as archive:
        manifest = _read_manifest(archive, path, public)
        for name, entry in manifest.files.items():
            _check_file(archive, name, entry)
        body = archive.read(_CONTENTS)
    try:
        contents = msgspec.json.decode(body, type=Contents)
    except msgspec.DecodeError as error:
        raise BundleError(f"The records of the bundle {path} cannot be read: {error}") from None
    signed = {name: entry.sha256 for name, entry in manifest.files.items()}
    for candidate in contents.students:
        for name, sha256 in candidate.files.items():
            if signed.get(_place(candidate.id, name)) != sha256:
                raise BundleError(
                    f"The file {name} of the student {candidate.id} in the bundle {path} is not "
                    "the one that was certified"
                )
    require_usable(contents, policy)
    return Bundle(_sha256_of(path), contents, path)


def require_usable(contents: Contents, policy: Policy | None = None) -> None:
    """Check that students may be in front of traffic: as certified, for their tasks, allowed.

    Raises:
        BundleError: A certificate does not hold, or is not that of its student.
        PolicyError: A student may not be promoted.
    """
    students = {candidate.id: candidate for candidate in contents.students}
    certificates = {certificate.id: certificate for certificate in contents.certificates}
    tasks = {record.task.id: record.task for record in contents.tasks}
    matcher = TaskMatcher(list(tasks.values()))
    for certificate in contents.certificates:
        verification = verify(certificate)
        if not verification.holds:
            raise BundleError(
                f"The certificate {certificate.id[:12]} does not hold: "
                f"{'; '.join(verification.problems)}"
            )
    for task_id, standing in contents.state.students.items():
        candidate = students.get(standing.student)
        held = certificates.get(standing.certificate)
        if candidate is None or held is None or task_id not in tasks:
            raise BundleError(
                f"The student {standing.student} is promoted without its files, its certificate or "
                "its task"
            )
        if (held.student, held.task, held.files) != (candidate.id, task_id, candidate.files):
            raise BundleError(f"The certificate {held.id[:12]} is not that of {candidate.id}")
        _require_alone(candidate, tasks[task_id].name)
        if candidate.matcher and candidate.matcher != matcher.fingerprint(tasks[task_id]):
            raise BundleError(
                f"The task {tasks[task_id].name} takes other prompts than its student "
                f"{candidate.id} was certified for"
            )
        (policy or Policy()).may_promote(candidate.made_of()).require()


def _require_alone(candidate: Candidate, task: str) -> None:
    """Check that a student answers with its own files.

    Raises:
        BundleError: It needs an engine, or an encoder that is not among its files.
    """
    rung = rungs().get(candidate.rung)
    if rung is None:
        raise BundleError(f"The student of {task} is of a rung that is unknown: {candidate.rung!r}")
    if rung.asked == "remote":
        raise BundleError(
            f"The student of {task} is of the rung {rung.name}, which an engine has to serve; an "
            "edge runs none, so its requests go upstream"
        )
    if rung.base == "encoder" and GRAPH not in candidate.files:
        raise BundleError(
            f"The student of {task} is of the rung {rung.name} and reads with an encoder that is "
            "not among its files; one with an encoder of its own (tune_encoder) can be bundled"
        )


def _place(student: str, name: str) -> str:
    return f"students/{student}/{name}"


def _write(out: Path, contents: Contents, files: Mapping[str, Path], private: Path) -> None:
    body = msgspec.json.encode(contents)
    entries = {_CONTENTS: FileEntry(hashlib.sha256(body).hexdigest(), len(body))}
    for name, path in files.items():
        entries[name] = FileEntry(_sha256_of(path), path.stat().st_size)
    total = sum(entry.bytes for entry in entries.values())
    if total > MOST_BYTES or len(entries) > _MOST_FILES:
        raise BundleError(
            f"These students have {len(entries):,} files of {total:,} bytes; a bundle has at most "
            f"{_MOST_FILES:,} of {MOST_BYTES:,}"
        )
    manifest = msgspec.json.format(msgspec.json.encode(Manifest(FORMAT, entries)))
    signature = sign(manifest, private)
    try:
        descriptor, scratch = tempfile.mkstemp(prefix=f".{out.name}-", dir=out.absolute().parent)
        try:
            with os.fdopen(descriptor, "wb") as file, zipfile.ZipFile(file, "w") as archive:
                _add(archive, _MANIFEST, [manifest])
                _add(archive, _SIGNATURE, [signature])
                _add(archive, _CONTENTS, [body])
                for name, path in files.items():
                    _add(archive, name, _chunks(path))
            os.replace(scratch, out)  # its owner's alone (0600), as a store is
        except BaseException:
            os.unlink(scratch)
            raise
    except OSError as error:
        raise BundleError(f"The bundle {out} cannot be written: {error}") from None


def _add(archive: zipfile.ZipFile, name: str, chunks: Iterable[bytes]) -> None:
    info = zipfile.ZipInfo(name, _TIME)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    with archive.open(info, "w", force_zip64=True) as file:
        for chunk in chunks:
            file.write(chunk)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a bundle; what is wrong with the file itself is a `BundleError`."""
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise BundleError(
                f"The bundle {path} has {size:,} bytes; it may have at most {MOST_BYTES:,}"
            )
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (
        *(zipfile.BadZipFile, zlib.error, EOFError),
        # A method of packing that is unknown, a password, a file that is missing.
        *(NotImplementedError, RuntimeError, KeyError),
    ) as error:
        raise BundleError(f"The bundle {path} is not a whole zip file: {error}") from None
    except OSError as error:
        raise BundleError(f"The bundle {path} cannot be read: {error}") from None


def _read_manifest(archive: zipfile.ZipFile, path: Path, public: Path) -> Manifest:
    """Return the manifest, once its signature and the names of the files are checked."""
    infos = archive.infolist()
    if len(infos) > _MOST_FILES + 2:
        raise BundleError(f"The bundle {path} has {len(infos):,} files, at most {_MOST_FILES:,}")
    names = [info.filename for info in infos]
    if _MANIFEST not in names or _SIGNATURE not in names:
        raise BundleError(f"The bundle {path} has no {_MANIFEST} or no {_SIGNATURE}")
    body = _read_small(archive, _MANIFEST, _MOST_MANIFEST)
    check_signature(body, _read_small(archive, _SIGNATURE, _SIGNATURE_BYTES), public)
    try:
        manifest = msgspec.json.decode(body, type=Manifest)
    except msgspec.DecodeError as error:
        raise BundleError(f"The manifest of the bundle {path} cannot be read: {error}") from None
    if manifest.format != FORMAT:
        raise BundleError(
            f"The bundle {path} has format {manifest.format}; this version reads {FORMAT}"
        )
    if sorted(names) != sorted([*manifest.files, _MANIFEST, _SIGNATURE]):
        raise BundleError(f"The files in the bundle {path} are not those that its manifest lists")
    for name in manifest.files:
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts or "\\" in name or ":" in name or not parts:
            raise BundleError(f"The bundle {path} has a file outside it: {name!r}")
    if sum(entry.bytes for entry in manifest.files.values()) > MOST_BYTES:
        raise BundleError(f"The bundle {path} unpacks to more than {MOST_BYTES:,} bytes")
    if _CONTENTS not in manifest.files:
        raise BundleError(f"The bundle {path} has no {_CONTENTS}")
    return manifest


def _read_small(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    with archive.open(name) as file:
        body = file.read(most + 1)
    if len(body) > most:
        raise BundleError(f"The file {name} of the bundle has more than {most:,} bytes")
    return body


def _check_file(archive: zipfile.ZipFile, name: str, entry: FileEntry) -> None:
    digest, size = hashlib.sha256(), 0
    with archive.open(name) as file:
        # No more than is signed for, however much the file unpacks to.
        while chunk := file.read(min(_CHUNK, entry.bytes - size + 1)):
            digest.update(chunk)
            size += len(chunk)
            if size > entry.bytes:
                break
    if size != entry.bytes or digest.hexdigest() != entry.sha256:
        raise BundleError(f"The file {name} of the bundle was changed since it was signed")


def _copy(archive: zipfile.ZipFile, name: str, sha256: str, target: Path) -> None:
    digest = hashlib.sha256()
    with archive.open(name) as file, target.open("xb") as written:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            written.write(chunk)
        written.flush()
        os.fsync(written.fileno())
    if digest.hexdigest() != sha256:
        raise BundleError(f"The file {name} of the bundle was changed since it was checked")


def _sha256_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error}") from None
