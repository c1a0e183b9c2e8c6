"""Makes the folder that the processes of one gateway share while they run."""

import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

if sys.platform != "win32":
    import fcntl

_PREFIX: Final = "openwheel-run-"
_LOCK: Final = "supervisor"
# A worker whose supervisor was killed finishes its requests, and writes there every second.
_QUIET_S: Final = 60.0


@contextlib.contextmanager
def runtime_folder() -> Iterator[Path]:
    """Make the folder, and remove it in the end, with folders whose supervisors were killed."""
    _remove_left()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    descriptor = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        _lock(descriptor)
        yield folder
    finally:
        os.close(descriptor)
        shutil.rmtree(folder, ignore_errors=True)


def _remove_left() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # another user's, or another start removes it as well
            if _is_left(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_left(folder: Path) -> bool:
    """Return whether a folder is this user's, and no process has been at work in it for a while."""
    if sys.platform == "win32" or folder.lstat().st_uid != os.getuid() or folder.is_symlink():
        return False
    written = [path.lstat().st_mtime for path in (folder, *folder.rglob("*"))]
    if time.time() - max(written) < _QUIET_S:
        return False
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    try:
        return _lock(descriptor)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Take a supervisor's lock, which the system frees when its process ends, however it ends."""
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
