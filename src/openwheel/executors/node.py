"""Carries out a job on a node of a cluster: files in, files out.

Imports neither Ray nor what trains.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from openwheel.errors import JobDiedError, OpenwheelError
from openwheel.executors.child import RESULTS, carry_out

FOLDER = "openwheel-job-"
"""How a job's folder begins; the process that made it follows."""

There = tuple[dict[str, bytes], str, bool]
"""The files of a result by their names; else why there is none, and whether the process died."""


def carry_out_there(
    module: str, name: str, threads: int, names: Sequence[str], *contents: bytes
) -> There:
    """Carry out a job in a child process in a temporary folder.

    Args:
        module: See `Computation`.
        name: The work, as a sentence begins.
        threads: How many compute at once.
        names: The names of its files.
        contents: What is in each.
    """
    _sweep()
    with tempfile.TemporaryDirectory(prefix=f"{FOLDER}{os.getpid()}-") as made:
        folder = Path(made)
        try:
            for file, content in zip(names, contents, strict=True):
                (folder / file).write_bytes(content)
            carry_out(module, folder, name=name, threads=threads)
            return results(folder), "", False
        except JobDiedError as error:
            return {}, str(error), True
        except (OpenwheelError, OSError) as error:
            return {}, str(error), False


def results(folder: Path) -> dict[str, bytes]:
    """Return the files of a job's result, by their names among them."""
    there = folder / RESULTS
    return {
        path.relative_to(there).as_posix(): path.read_bytes()
        for path in sorted(there.rglob("*"))
        if path.is_file()
    }


def _sweep() -> None:
    """Remove the folders of jobs whose process was killed: what would clear up is killed too."""
    for path in Path(tempfile.gettempdir()).glob(f"{FOLDER}*-*"):
        process = path.name.removeprefix(FOLDER).partition("-")[0]
        with contextlib.suppress(ValueError, PermissionError):
            try:
                os.kill(int(process), 0)
            except ProcessLookupError:
                shutil.rmtree(path, ignore_errors=True)
