"""Students on disk: one folder each, JSON and safetensors, written whole or not at all."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save_file

from openwheel.errors import StudentFileError
from openwheel.students.encoder import TextEncoder
from openwheel.students.exact import ExactStudent
from openwheel.students.model import ModelStudent
from openwheel.students.student import Student

SETTINGS, ARRAYS = "student.json", "arrays.safetensors"
FORMAT = 1


class _Saved(msgspec.Struct):
    format: int
    rung: str
    settings: dict[str, Any]


def save_student(student: Student, folder: Path) -> dict[str, str]:
    """Save a student.

    Written to a temporary folder beside it and renamed, so that a process killed half-way leaves
    no half student.

    Args:
        student: The student.
        folder: Where it goes; must not exist.

    Returns:
        The sha256 of each file by name.

    Raises:
        StudentFileError: It cannot be written (a full disk, no permission).
    """
    settings, arrays = student.state()
    # safetensors writes an array's memory as it lies: one in column order would be scrambled.
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    saved = _Saved(FORMAT, student.rung, settings)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".saving-", dir=folder.parent))
        try:
            (scratch / SETTINGS).write_bytes(msgspec.json.format(msgspec.json.encode(saved)))
            save_file(arrays, scratch / ARRAYS)
            hashes = _hashes(scratch)
            scratch.chmod(0o755)
            os.replace(scratch, folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        raise StudentFileError(f"The student cannot be saved at {folder}: {error}") from None
    return hashes


def load_student(
    folder: Path, expected: dict[str, str], encoder: TextEncoder | None = None
) -> Student:
    """Load a student, if its files are the ones that were certified.

    Args:
        folder: Where it was saved.
        expected: The sha256 of each file, as :func:`save_student` returned them; a file that it
            does not name is not read.
        encoder: The encoder to use instead of loading the one it was trained with.

    Raises:
        StudentFileError: A file is missing, corrupt, or not the one expected.
        SettingError: The encoder it was trained with cannot be loaded.
    """
    settings, contents = (_read(folder, name, expected) for name in (SETTINGS, ARRAYS))
    try:
        saved = msgspec.json.decode(settings, type=_Saved)
        arrays = load(contents)
    except (SafetensorError, msgspec.DecodeError) as error:
        raise StudentFileError(f"The student at {folder} cannot be read: {error}") from None
    if saved.format != FORMAT:
        raise StudentFileError(
            f"The student at {folder} has format {saved.format}; this version reads {FORMAT}"
        )
    try:
        if saved.rung == "exact":
            return ExactStudent.from_state(saved.settings, arrays)
        if saved.rung in {"linear", "encoder"}:
            return ModelStudent.from_state(saved.settings, arrays, encoder)
    except StudentFileError as error:
        raise StudentFileError(f"The student at {folder} cannot be used: {error}") from None
    raise StudentFileError(f"The student at {folder} is of an unknown rung {saved.rung!r}")


def _read(folder: Path, name: str, expected: dict[str, str]) -> bytes:
    """Return a file's bytes if they are the expected ones: what was checked is what is used."""
    try:
        content = (folder / name).read_bytes()
    except FileNotFoundError:
        raise StudentFileError(
            f"The student at {folder} cannot be used: {name} is missing"
        ) from None
    except OSError as error:
        raise StudentFileError(f"The student at {folder} cannot be read: {error}") from None
    if hashlib.sha256(content).hexdigest() != expected.get(name):
        raise StudentFileError(
            f"The student at {folder} cannot be used: {name} was changed since it was saved"
        )
    return content


def _hashes(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.is_file()
    }
