"""Saves and loads students: one folder each, JSON and safetensors, written whole or not at all.

A language-model student has its adapter beside these, in the standard folder of PEFT; a student
with an encoder of its own has that and its tokenizer.
"""

import functools
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save_file

from openwheel.errors import StudentFileError
from openwheel.students.calibration import ReliabilityBin
from openwheel.students.encoder import TextEncoder
from openwheel.students.onnx_encoder import Encoders
from openwheel.students.rung import Saved, Serve, names_in, sha256_of
from openwheel.students.rungs import rungs
from openwheel.students.screen import SCREEN, SCREEN_ARRAYS, Screen, ScreenedStudent
from openwheel.students.student import Student

SETTINGS, ARRAYS = "student.json", "arrays.safetensors"


class _Saved(msgspec.Struct):
    format: int
    rung: str
    settings: dict[str, Any]


def save_student(student: Student, folder: Path) -> dict[str, str]:
    """Save a student.

    It is written to a temporary folder beside it and renamed, so a process killed half-way leaves
    no partial student.

    Args:
        folder: Where it goes; must not exist.

    Returns:
        The sha256 of each file by its name in the folder, with ``/`` where that is nested.

    Raises:
        StudentFileError: It cannot be written (a full disk, no permission).
    """
    settings, arrays = student.state()
    # safetensors writes an array's memory as it lies: one in column order would be scrambled.
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    saved = _Saved(rungs()[student.rung].format, student.rung, settings)

    def write(scratch: Path) -> None:
        (scratch / SETTINGS).write_bytes(msgspec.json.format(msgspec.json.encode(saved)))
        save_file(arrays, scratch / ARRAYS)
        student.write_files(scratch)

    return _written_whole(folder, write)


def copy_student(source: Path, folder: Path) -> dict[str, str]:
    """Save a student that is saved in another folder; see `save_student`."""
    return _written_whole(
        folder, lambda scratch: shutil.copytree(source, scratch, dirs_exist_ok=True)
    )


def _written_whole(folder: Path, write: Callable[[Path], object]) -> dict[str, str]:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".saving-", dir=folder.parent))
        try:
            write(scratch)
            hashes = {name: sha256_of(scratch / name) for name in names_in(scratch)}
            scratch.chmod(0o755)
            os.replace(scratch, folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except (OSError, SafetensorError) as error:  # shutil.Error is an OSError
        raise StudentFileError(f"The student cannot be saved at {folder}: {error}") from None
    return hashes


def load_student(
    folder: Path,
    expected: dict[str, str],
    encoder: TextEncoder | None = None,
    serve: Serve | None = None,
    encoders: Encoders | None = None,
) -> Student:
    """Load a student, if its files are the ones that were certified.

    Args:
        folder: Where it was saved.
        expected: The sha256 of each file, as :func:`save_student` returned them; a file that it
            does not name is not read.
        encoder: The encoder to use instead of loading the one it was trained with; ignored if the
            student's folder has its own.
        serve: Has the adapter of a language-model student served, once its files are checked;
            an engine that loads them again trusts the folder not to have been changed since.
        encoders: Encoders in use, which students share.

    Raises:
        StudentFileError: A file is missing, corrupt, or not the one expected.
        SettingError: The encoder it was trained with cannot be loaded.
        EngineError: Its adapter cannot be served.
    """
    read = functools.partial(_read, folder, expected)
    settings, contents = read(SETTINGS), read(ARRAYS)
    screen = None
    try:
        saved = msgspec.json.decode(settings, type=_Saved)
        arrays = load(contents)
        if SCREEN in expected:
            known = msgspec.json.decode(read(SCREEN))
            screen = Screen.from_state(known, load(read(SCREEN_ARRAYS)))
    except (SafetensorError, msgspec.DecodeError) as error:
        raise StudentFileError(f"The student at {folder} cannot be read: {error}") from None
    rung = rungs().get(saved.rung)
    if rung is None:
        raise StudentFileError(f"The student at {folder} is of an unknown rung {saved.rung!r}")
    if saved.format != rung.format:
        raise StudentFileError(
            f"The student at {folder} has format {saved.format}; this version reads "
            f"{rung.format} of the rung {saved.rung}: train it again"
        )
    parts = Saved(
        saved.settings, arrays, folder, expected, read, encoder, encoders or Encoders(), serve
    )
    try:
        student = rung.load(parts)
    except StudentFileError as error:
        raise StudentFileError(f"The student at {folder} cannot be used: {error}") from None
    return student if screen is None else ScreenedStudent(student, screen)


def check_files(folder: Path, expected: Mapping[str, str]) -> None:
    """Check that a student's files are those that were saved, without loading it."""
    for name in expected:
        _read(folder, expected, name)


def _read(folder: Path, expected: Mapping[str, str], name: str) -> bytes:
    """Return a file's bytes if they are the expected ones, so that the checked bytes are used."""
    path = folder / name
    if path.exists() and not path.is_file():  # reading a pipe would wait without end
        raise StudentFileError(f"The student at {folder} cannot be used: {name} is not a file")
    try:
        content = path.read_bytes()
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


class _Probabilities(msgspec.Struct):
    reliability: tuple[ReliabilityBin, ...] = ()


class _Known(msgspec.Struct):
    settings: _Probabilities


def read_reliability(folder: Path) -> tuple[ReliabilityBin, ...]:
    """Return how reliable a saved student's own probabilities are, as it was measured in training.

    Empty for students that give none, and for files that cannot be read: it is only shown.
    """
    try:
        return msgspec.json.decode(
            (folder / SETTINGS).read_bytes(), type=_Known
        ).settings.reliability
    except (OSError, msgspec.DecodeError):
        return ()
