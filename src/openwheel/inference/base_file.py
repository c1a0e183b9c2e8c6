"""The GGUF file that serves a model: one that is there, or one made of a checkpoint, once."""

import fcntl
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from openwheel.errors import ModelError
from openwheel.inference.checkpoint import Checkpoint, find_checkpoint

_FORM = 1
"""Of the files that are made: another number has them made anew."""

_DESCRIBE = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")


def base_file(source: str, *, revision: str = "", precision: str = "q8_0") -> Path:
    """Return a model's GGUF file, making it if it is of a checkpoint and not there yet.

    What is made lies in ``OPENWHEEL_CACHE``, or else in the user's cache, and serves from then on.

    Args:
        source: A GGUF file, a folder, or an id of the hub.
        revision: With a hub id: its commit.
        precision: ``f32``, ``bf16``, ``f16`` or ``q8_0``, in which a file is made.

    Raises:
        ModelError: There is no such model, it is of a family that cannot be written as GGUF, or
            the file cannot be written.
    """
    if source.endswith(".gguf"):
        file = Path(source).expanduser()
        if not file.is_file():
            raise ModelError(f"There is no GGUF file {source}")
        return file.absolute()
    checkpoint = find_checkpoint(source, revision=revision)
    stem = re.sub(r"[^A-Za-z0-9.-]+", "-", Path(source).name) or "model"
    folder = cache_folder()
    target = folder / f"{stem}-{precision}-{_fingerprint(checkpoint)}.gguf"
    if target.is_file():
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{target.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # who comes second finds it made
            if not target.is_file():
                _make(checkpoint, target, precision)
    except OSError as error:
        raise ModelError(f"The GGUF file of {source} cannot be written: {error}") from None
    return target


def cache_folder() -> Path:
    """Return the folder in which GGUF files are kept."""
    named = os.environ.get("OPENWHEEL_CACHE")
    usual = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return (Path(named) if named else Path(usual) / "openwheel") / "gguf"


def _make(checkpoint: Checkpoint, target: Path, precision: str) -> None:
    part = target.with_name(f"{target.name}.part")
    command: list[Any] = [sys.executable, "-m", "openwheel.inference.gguf"]
    command += [checkpoint.path, part, precision, Path(checkpoint.name).name or "model"]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()] or [
                f"it ended with code {done.returncode}"
            ]
            said = lines[-1].removeprefix("openwheel: ")
            raise ModelError(f"{checkpoint.name} cannot be written for llama.cpp: {said}")
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def _fingerprint(checkpoint: Checkpoint) -> str:
    """Return what tells the file of one checkpoint from that of another, or of a changed one."""
    digest = hashlib.sha256(f"{_FORM} {checkpoint.revision}".encode())
    for name in _DESCRIBE:
        path = checkpoint.path / name
        digest.update(path.read_bytes() if path.is_file() else b"-")
    for path in checkpoint.weights:
        found = path.stat()
        digest.update(f"{path.name} {found.st_size} {found.st_mtime_ns} ".encode())
    return digest.hexdigest()[:16]
