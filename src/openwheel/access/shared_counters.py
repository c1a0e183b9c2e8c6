"""Shares pairs of numbers among all worker processes of one machine."""

import os
import struct
import sys
import threading
from pathlib import Path

from openwheel.errors import StoreError

if sys.platform != "win32":
    import fcntl

_PAIR = struct.Struct("<qq")
_HEADER = 64
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class SharedCounters:
    """A small file of numbered slots, each a pair of 64-bit numbers, at first zeros.

    A slot is locked while one process changes it, by a lock on its bytes alone, which the system
    frees when the process ends, however it ends. It is read and written by system calls and not
    mapped: they cost a microsecond, where a mapped file that someone truncates kills the process.

    Numbers from before the machine last started are ignored, since its monotonic clock started
    again. A file that is damaged, truncated or removed is made again.

    While the file cannot be used, and on systems without POSIX locks, each process keeps its
    slots for itself. A process may have a file open once: closing it once more would free the
    locks of both.
    """

    def __init__(self, path: Path | str) -> None:
        """Open the file, making it first if need be.

        Raises:
            StoreError: It can be neither read nor made.
        """
        self._path = Path(path)
        self._threads = threading.Lock()
        self._own: dict[int, tuple[int, int]] = {}
        self._problem = ""
        self._fd = -1
        self._header = _header()
        try:
            self._reopen()
        except OSError as error:
            raise StoreError(f"The limits file {path} cannot be used: {error}") from None

    def take(self, slot: int) -> tuple[int, int]:
        """Return a slot's numbers and lock it for other processes until `give`."""
        self._threads.acquire()
        values = (0, 0)
        try:
            if self._fd >= 0:
                offset = _HEADER + slot * _PAIR.size
                fcntl.lockf(self._fd, fcntl.LOCK_EX, _PAIR.size, offset)
                stored = os.pread(self._fd, _PAIR.size, offset)
                if len(stored) == _PAIR.size:
                    values = _PAIR.unpack(stored)
        except OSError as error:
            self._problem = str(error)
        if slot in self._own:
            counted = self._own[slot]
            return max(values[0], counted[0]), max(values[1], counted[1])
        return values

    def give(self, slot: int, values: tuple[int, int] | None = None) -> None:
        """Set a slot's numbers, or leave them with None, and unlock it."""
        try:
            if values is not None:
                self._own[slot] = values
            if self._fd >= 0:
                self._write(slot, values)
        except OSError as error:
            self._problem = str(error)
        finally:
            self._threads.release()

    def _write(self, slot: int, values: tuple[int, int] | None) -> None:
        offset = _HEADER + slot * _PAIR.size
        try:
            if values is not None:
                written = os.pwrite(self._fd, _PAIR.pack(*values), offset)
                if written == _PAIR.size:
                    del self._own[slot]
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, _PAIR.size, offset)

    def check(self) -> None:
        """Make the file again if it was damaged or removed.

        Raises:
            StoreError: It could not be used since the last look, so that limits were not shared.
        """
        with self._threads:
            try:
                self._reopen()
            except OSError as error:
                self._problem = str(error)
            problem, self._problem = self._problem, ""
        if problem:
            raise StoreError(
                f"The limits file {self._path} cannot be used, so that each worker counts for "
                f"itself: {problem}"
            )

    def close(self) -> None:
        """Close the file; slots used later are this process's own."""
        with self._threads:
            if self._fd >= 0:
                os.close(self._fd)
            # Never the old number: the system gives it to the next file that is opened.
            self._fd = -1

    def _reopen(self) -> None:
        if sys.platform == "win32":
            return
        if self._fd < 0 or not self._is_current():
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if self._fd >= 0:
                os.close(self._fd)
            self._fd = fd
        if os.pread(self._fd, _HEADER, 0) == self._header:
            return
        fcntl.lockf(self._fd, fcntl.LOCK_EX, _HEADER, 0)
        try:
            # Another process may have made it again while this one waited.
            if os.pread(self._fd, _HEADER, 0) != self._header:
                os.ftruncate(self._fd, 0)
                os.pwrite(self._fd, self._header, 0)
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, _HEADER, 0)

    def _is_current(self) -> bool:
        """Return whether the open file is still the one at the path."""
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._fd))
        except FileNotFoundError:
            return False


def _header() -> bytes:
    """Return the header of a file of this format that was written since the machine started."""
    try:
        boot = _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:  # only Linux has it; elsewhere the limits bound what an old number can do
        boot = ""
    return f"openwheel limits 1\n{boot}\n".encode().ljust(_HEADER, b"\0")
