"""Opens a log as bytes of UTF-8 text, whatever its compression and encoding."""

import bz2
import codecs
import io
import lzma
import os
import select
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, cast

from openwheel.errors import LogError

BUFFER: Final = 2**18
LOOK_S: Final = 0.2
"""Seconds that reading a pipe waits for more before it looks whether control-C came."""

DAMAGE: Final = (EOFError, zlib.error, OSError, lzma.LZMAError, zipfile.BadZipFile)
"""What reading a damaged file raises."""

PARQUET: Final = b"PAR1"
_FOREIGN: Final = {
    b"\x28\xb5\x2f\xfd": ("is compressed with zstd", "unpack it first: zstd -d FILE"),
    b"\x04\x22\x4d\x18": ("is compressed with lz4", "unpack it first: lz4 -d FILE"),
    b"SQLite format 3\0": ("is an SQLite database", "export its table as JSON Lines"),
    b"Obj\x01": ("is an Avro file", "convert it to JSON Lines"),
    b"ORC": ("is an ORC file", "convert it to JSON Lines or Parquet"),
    b"ARROW1": ("is an Arrow file", "convert it to Parquet"),
    b"\xd0\xcf\x11\xe0": ("is an old Excel file", "save it as CSV UTF-8"),
    b"%PDF": ("is a PDF", "a log is JSON Lines, CSV or Parquet"),
}
_EXPECTED: Final = "a log must be text in UTF-8, plain or compressed, or Parquet"
_UTF16: Final = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}


def log_files(path: str | Path) -> Iterator[str | Path]:
    """Yield a file, or the files of a folder and its folders in the order of their names.

    What begins with a dot or an underscore in a folder is passed over.

    Raises:
        LogError: The folder holds no file.
    """
    if str(path) == "-" or not Path(path).is_dir():
        yield path
        return
    files = sorted(
        file
        for file in Path(path).rglob("*")
        if file.is_file()
        and not any(part.startswith((".", "_")) for part in file.relative_to(path).parts)
    )
    if not files:
        raise LogError(f"There is no log in the folder {path}")
    yield from files


def open_log(path: str | Path, name: str, stack: ExitStack) -> io.BufferedReader:
    """Open a log, ``-`` for standard input, unpacked; what must be closed goes on the stack.

    Raises:
        LogError: It cannot be opened, or is an archive of no single text.
    """
    try:
        if str(path) == "-":
            file = _standard_input()
            stack.callback(file.detach)
        else:
            file = stack.enter_context(buffered(io.FileIO(path)))
        return _unpacked(file, name, stack)
    except FileNotFoundError:
        raise LogError(f"There is no log at {name}") from None
    except (OSError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or error
        raise LogError(f"{name} cannot be read: {reason}") from None


def buffered(file: object) -> io.BufferedReader:
    """Return a reader with a buffer around what can be read."""
    # The type stubs ask for a raw stream where, at run time, any readable one will do.
    return io.BufferedReader(cast(io.RawIOBase, file), BUFFER)


def _standard_input() -> io.BufferedReader:
    piped = sys.stdin.buffer
    if os.name == "posix" and isinstance(piped, io.BufferedReader) and not piped.seekable():
        return buffered(_Waiting(piped))
    return buffered(piped)


def _unpacked(file: io.BufferedReader, name: str, stack: ExitStack) -> io.BufferedReader:
    start = file.peek(8)[:8]
    if start.startswith(b"\x1f\x8b"):
        return stack.enter_context(buffered(_Gunzipped(file)))
    if start.startswith(b"BZh"):
        return stack.enter_context(buffered(stack.enter_context(bz2.BZ2File(file))))
    if start.startswith(b"\xfd7zXZ"):
        return stack.enter_context(buffered(stack.enter_context(lzma.LZMAFile(file))))
    if start.startswith(b"PK\x03\x04"):
        return stack.enter_context(buffered(stack.enter_context(_only_member(file, name, stack))))
    return file


def _only_member(file: io.BufferedReader, name: str, stack: ExitStack) -> Any:
    if not file.seekable():
        raise LogError(f"{name} is a zip archive; it cannot be read from a pipe")
    archive = stack.enter_context(zipfile.ZipFile(file))
    members = [
        member
        for member in archive.infolist()
        if not member.is_dir() and not Path(member.filename).name.startswith((".", "_"))
    ]
    if any(member.filename == "[Content_Types].xml" for member in members):
        raise LogError(f"{name} is an Excel workbook; save it as CSV UTF-8")
    if len(members) != 1:
        raise LogError(
            f"{name} is a zip archive of {len(members)} files; unpack it into a folder and give "
            "that"
        )
    if members[0].flag_bits & 1:
        raise LogError(f"{name} is a zip archive with a password; unpack it first")
    return archive.open(members[0])


def as_utf8(file: io.BufferedReader, name: str, start: bytes) -> io.BufferedReader:
    """Return a log's reader, which begins with ``start``, as UTF-8 with line feeds.

    Raises:
        LogError: It is no text.
    """
    for mark, (fault, advice) in _FOREIGN.items():
        if start.startswith(mark):
            raise LogError(f"{name} {fault}; {advice}")
    for mark, encoding in _UTF16.items():
        if start.startswith(mark):
            return buffered(_Translated(file, encoding))
    if b"\0" in start:
        raise LogError(f"{name} is binary; {_EXPECTED}")
    if b"\r" in start and b"\n" not in start:  # line ends of old Macintosh files
        return buffered(_Translated(file, ""))
    return file


class _Waiting(io.RawIOBase):
    """A reader of a pipe or a terminal that ends on control-C while it waits for more.

    The system may give the signal to another thread, such as one of a numerical library. Python
    then acts on it when the main thread runs Python again, which a plain read keeps it from.
    """

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            ready = select.select([self._file], [], [], LOOK_S)[0]
            if ready and (size := self._file.raw.readinto(buffer)) is not None:
                return size


class _Gunzipped(io.RawIOBase):
    """A reader of gzip data, which gives all that is whole before it raises.

    The standard library's loses what it has unpacked so far where the data is damaged or followed
    by something else.
    """

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self._unpack = zlib.decompressobj(wbits=31)
        self._packed = b""
        self._failure: Exception | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._failure is not None:
            raise self._failure
        try:
            data = self._read(len(buffer))
        except (EOFError, zlib.error) as error:
            self._failure = error
            raise
        buffer[: len(data)] = data
        return len(data)

    def _read(self, size: int) -> bytes:
        while True:
            if self._unpack.eof:  # another member may follow
                rest = self._unpack.unused_data or self._file.read(BUFFER)
                rest = rest.lstrip(b"\0")  # tapes pad with zeros
                if not rest:
                    return b""
                self._unpack, self._packed = zlib.decompressobj(wbits=31), rest
            packed = self._packed or self._file.read(BUFFER)
            if not packed:
                raise EOFError
            data = self._unpack.decompress(packed, size)
            self._packed = self._unpack.unconsumed_tail
            if data:
                return data


class _Translated(io.RawIOBase):
    """A reader of another encoding or other line ends, as UTF-8 with line feeds."""

    def __init__(self, file: io.BufferedReader, encoding: str) -> None:
        self._file = file
        self._decode = codecs.getincrementaldecoder(encoding)("replace") if encoding else None
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            read = self._file.read(BUFFER)
            if self._decode is not None:
                text = self._decode.decode(read, final=not read)
                self._rest = text.encode("utf-8", "replace")
            else:
                self._rest = read.replace(b"\r", b"\n")
            if not read:
                break
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


def damage(error: BaseException) -> str:
    """Return in words why a file cannot be read any further."""
    if isinstance(error, EOFError):
        return "the compressed data ends early; what comes before was read"
    if isinstance(error, zlib.error | lzma.LZMAError | zipfile.BadZipFile):
        return f"the compressed data is damaged ({error}); what comes before was read"
    return f"the file cannot be read any further ({error}); what comes before was read"
