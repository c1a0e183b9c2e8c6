"""Makes a folder whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from openwheel.errors import ModelError

# What a file system needs besides the files' bytes, and cards, configurations and tokenizers.
_SLACK = 64 << 20


@contextmanager
def whole_folder(target: Path, needs: int = 0) -> Iterator[Path]:
    """Yield a temporary folder beside ``target``, which becomes ``target`` when the block ends.

    If the block fails, or the process dies, ``target`` is not there.

    Args:
        target: The folder to make; must not exist, or be empty.
        needs: Bytes that will be written; checked against the disk's free space first, so that a
            large export does not fill the disk before it fails.

    Raises:
        ModelError: ``target`` is in use, or the files cannot be written (a full disk, no
            permission).
    """
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise ModelError(f"The folder to export to must not exist or be empty, but {target} is")
        target.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(target.parent).free
        if needs and free < needs + _SLACK:
            raise ModelError(
                f"The export to {target} needs {_megabytes(needs + _SLACK)} of free disk, "
                f"there are {_megabytes(free)}"
            )
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        try:
            yield scratch
            for path in scratch.rglob("*"):
                _flush(path)
            scratch.chmod(0o755)
            os.replace(scratch, target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise ModelError(f"The export to {target} cannot be written: {error}") from None


def bytes_of(folder: Path) -> int:
    """Return how many bytes the files of a folder hold."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _flush(path: Path) -> None:
    """Have the disk keep a file before its folder gets the name that says it is whole."""
    if path.is_file():
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def _megabytes(count: int) -> str:
    return f"{count / 1_000_000:,.0f} MB"
