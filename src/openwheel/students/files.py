"""Students on disk: one folder each, JSON and safetensors, written whole or not at all.

A language-model student has its adapter beside these, in the standard folder of PEFT; a student
with an encoder of its own has that and its tokenizer.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save_file

from openwheel.errors import StudentFileError
from openwheel.inference.writer import Writer
from openwheel.students.encoder import TextEncoder
from openwheel.students.exact import ExactStudent
from openwheel.students.lm.student import LmStudent
from openwheel.students.model import ModelStudent
from openwheel.students.onnx_encoder import GRAPH, TOKENIZER, Body, Encoders, OnnxEncoder
from openwheel.students.screen import Screen, ScreenedStudent
from openwheel.students.student import Student

SETTINGS, ARRAYS, ADAPTER = "student.json", "arrays.safetensors", "adapter"
SCREEN, SCREEN_ARRAYS = "screen.json", "screen.safetensors"
FORMATS = {"exact": 1, "linear": 2, "encoder": 2, "lm": 1}
"""Of a rung's files. 2: a guard learned by leaving answers out."""


class Served(NamedTuple):
    """Who answers for a language-model student: a writer, and its name of the adapter."""

    writer: Writer
    model: str


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
        The sha256 of each file by its name in the folder, with ``/`` where that is nested.

    Raises:
        StudentFileError: It cannot be written (a full disk, no permission).
    """
    settings, arrays = student.state()
    # safetensors writes an array's memory as it lies: one in column order would be scrambled.
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    saved = _Saved(FORMATS[student.rung], student.rung, settings)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".saving-", dir=folder.parent))
        try:
            (scratch / SETTINGS).write_bytes(msgspec.json.format(msgspec.json.encode(saved)))
            save_file(arrays, scratch / ARRAYS)
            if isinstance(student, ScreenedStudent):
                known, screening = student.screen.state()
                (scratch / SCREEN).write_bytes(msgspec.json.format(msgspec.json.encode(known)))
                save_file(screening, scratch / SCREEN_ARRAYS)
                student = student.student
            if isinstance(student, LmStudent):
                shutil.copytree(student.adapter, scratch / ADAPTER)
            if isinstance(student, ModelStudent):
                for name, content in student.files().items():
                    (scratch / name).write_bytes(content)
            hashes = _hashes(scratch)
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
    serve: Callable[[Path], Served] | None = None,
    encoders: Encoders | None = None,
) -> Student:
    """Load a student, if its files are the ones that were certified.

    Args:
        folder: Where it was saved.
        expected: The sha256 of each file, as :func:`save_student` returned them; a file that it
            does not name is not read.
        encoder: The encoder to use instead of loading the one it was trained with; not looked at
            where the student's folder has its own.
        serve: Has the adapter of a language-model student served, once its files are checked;
            an engine that loads them again trusts the folder not to have been changed since.
        encoders: Encoders in use, which students that share one share.

    Raises:
        StudentFileError: A file is missing, corrupt, or not the one expected.
        SettingError: The encoder it was trained with cannot be loaded.
        EngineError: Its adapter cannot be served.
    """
    settings, contents = (_read(folder, name, expected) for name in (SETTINGS, ARRAYS))
    screen = None
    try:
        saved = msgspec.json.decode(settings, type=_Saved)
        arrays = load(contents)
        if SCREEN in expected:
            parts = (_read(folder, name, expected) for name in (SCREEN, SCREEN_ARRAYS))
            screen = Screen.from_state(msgspec.json.decode(next(parts)), load(next(parts)))
    except (SafetensorError, msgspec.DecodeError) as error:
        raise StudentFileError(f"The student at {folder} cannot be read: {error}") from None
    if saved.rung not in FORMATS:
        raise StudentFileError(f"The student at {folder} is of an unknown rung {saved.rung!r}")
    if saved.format != FORMATS[saved.rung]:
        raise StudentFileError(
            f"The student at {folder} has format {saved.format}; this version reads "
            f"{FORMATS[saved.rung]} of the rung {saved.rung}: train it anew"
        )
    student: Student
    try:
        if saved.rung == "exact":
            student = ExactStudent.from_state(saved.settings, arrays)
        elif saved.rung in {"linear", "encoder"}:
            own = _own_encoder(folder, saved, expected, encoders or Encoders())
            # One in ONNX is never that of a student which has none in its folder.
            given = None if isinstance(encoder, OnnxEncoder) else encoder
            student = ModelStudent.from_state(saved.settings, arrays, own or given)
        else:
            student = _load_lm(folder, saved, arrays, expected, serve)
    except StudentFileError as error:
        raise StudentFileError(f"The student at {folder} cannot be used: {error}") from None
    return student if screen is None else ScreenedStudent(student, screen)


def _own_encoder(
    folder: Path, saved: _Saved, expected: dict[str, str], encoders: Encoders
) -> TextEncoder | None:
    """Return the encoder in a student's folder, None if there is none."""
    if GRAPH not in expected:
        return None
    body = Body(*(_read(folder, name, expected) for name in (GRAPH, TOKENIZER)))
    return encoders.of_body(str(saved.settings.get("encoder", "")), body)


def _load_lm(
    folder: Path,
    saved: _Saved,
    arrays: dict[str, Any],
    expected: dict[str, str],
    serve: Callable[[Path], Served] | None,
) -> LmStudent:
    """Rebuild a language-model student, if its adapter is whole and nothing was added to it."""
    if serve is None:
        raise StudentFileError("there is no engine for it: [lm] has no base")
    adapter = folder / ADAPTER
    found = {f"{ADAPTER}/{name}" for name in _names(adapter)}
    wanted = {name for name in expected if name.startswith(f"{ADAPTER}/")}
    for name in sorted(found | wanted):
        if name not in wanted:
            raise StudentFileError(f"{name} was added since it was saved")
        if name not in found:
            raise StudentFileError(f"{name} is missing")
        if _sha256(folder / name) != expected[name]:
            raise StudentFileError(f"{name} was changed since it was saved")
    writer, model = serve(adapter)
    return LmStudent.from_state(saved.settings, arrays, adapter=adapter, writer=writer, model=model)


def _read(folder: Path, name: str, expected: dict[str, str]) -> bytes:
    """Return a file's bytes if they are the expected ones: what was checked is what is used."""
    path = folder / name
    if path.exists() and not path.is_file():  # a pipe would be waited for without end
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


def _hashes(folder: Path) -> dict[str, str]:
    return {name: _sha256(folder / name) for name in _names(folder)}


def _names(folder: Path) -> list[str]:
    """Return the files in a folder and those below it, by their names in it."""
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StudentFileError(f"{path} cannot be read: {error}") from None
