"""The records of a log file, whatever it is: JSON Lines, a JSON array, CSV, compressed or not."""

import csv
import gzip
import io
import sys
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec

from openwheel.errors import LogError
from openwheel.traffic.log_problems import LogProblems
from openwheel.traffic.log_records import INPUT_KEYS, OUTPUT_KEYS, Keys, is_header
from openwheel.traffic.log_values import JsonObject

MAX_LINE = 32 * 2**20
"""Bytes of one line; a longer one is bad."""

MAX_ARRAY = 512 * 2**20
"""Bytes of a file that is one JSON array, which has to be read whole."""

MAX_ROW = 2**20
"""Bytes of a CSV row that goes over several lines; beyond, its quote counts as never closed."""

_BUFFER = 2**18
_BOM = b"\xef\xbb\xbf"
_DELIMITERS = ",;\t|"
_FOREIGN = {
    b"PAR1": "is a Parquet file",
    b"PK\x03\x04": "is a zip archive",
    b"\x28\xb5\x2f\xfd": "is compressed with zstd",
    b"BZh": "is compressed with bzip2",
    b"\xfd7zXZ": "is compressed with xz",
    b"\xff\xfe": "is in UTF-16",
    b"\xfe\xff": "is in UTF-16",
}
_DAMAGE = (EOFError, zlib.error, OSError)
_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_object = msgspec.json.Decoder(dict[str, Any])
_array = msgspec.json.Decoder(list[msgspec.Raw])


class Record(NamedTuple):
    """One record, with the line it starts on and the bytes that make it what it is."""

    line: int
    raw: bytes
    values: JsonObject


class LogFile:
    """Reads the records of one file, and counts in ``problems`` those it cannot read."""

    def __init__(self, path: str | Path, keys: Keys, problems: LogProblems, *, strict: bool):
        self.name = "standard input" if str(path) == "-" else str(path)
        self._path = path
        self._keys = keys
        self._problems = problems
        self._strict = strict
        self._line = 0
        self._back: deque[tuple[int, bytes]] = deque()
        self._header: list[str] = []
        self._header_raw = b""
        self._delimiter = ","

    def bad(self, line: int, reason: str) -> None:
        """Count a bad line; if strict, raise it."""
        self._problems.add_bad(self.name, line, reason, strict=self._strict)

    def records(self) -> Iterator[Record]:
        """Yield the records in order.

        Raises:
            LogError: The file cannot be opened, is not text, or, if strict, has a bad line.
        """
        # A row may hold a long prompt, and the csv module has one limit for the whole process.
        csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE))
        with ExitStack() as stack:
            file = self._open(stack)
            try:
                start = file.peek(4096)[:4096]
            except _DAMAGE as error:
                self.bad(1, _damage(error))
                return
            self._require_text(start)
            if start.removeprefix(_BOM).lstrip()[:1] == b"[":
                yield from self._elements(file)
            else:
                yield from self._lines(file)

    def _open(self, stack: ExitStack) -> io.BufferedReader:
        try:
            if str(self._path) == "-":
                file = _buffered(sys.stdin.buffer)
                stack.callback(file.detach)
            elif Path(self._path).is_dir():
                raise LogError(f"{self.name} is a folder; a log is a file")
            else:
                file = stack.enter_context(_buffered(io.FileIO(self._path)))
            if file.peek(2)[:2] != b"\x1f\x8b":
                return file
        except FileNotFoundError:
            raise LogError(f"There is no log at {self.name}") from None
        except OSError as error:
            raise LogError(f"{self.name} cannot be read: {error.strerror or error}") from None
        unpacked = stack.enter_context(gzip.GzipFile(fileobj=file))
        return stack.enter_context(_buffered(unpacked))

    def _require_text(self, start: bytes) -> None:
        for mark, what in _FOREIGN.items():
            if start.startswith(mark):
                raise LogError(f"{self.name} {what}; a log must be UTF-8 text, plain or gzip")
        if b"\0" in start:
            raise LogError(f"{self.name} is binary; a log must be UTF-8 text, plain or gzip")

    def _elements(self, file: io.BufferedReader) -> Iterator[Record]:
        try:
            data = file.read(MAX_ARRAY + 1)
        except _DAMAGE as error:
            self.bad(1, _damage(error))
            return
        if len(data) > MAX_ARRAY:
            raise LogError(
                f"{self.name} is one JSON array of more than {MAX_ARRAY // 2**20} MiB; write it as "
                "JSON Lines, for example with: jq -c '.[]'"
            )
        try:
            elements = _array.decode(data.removeprefix(_BOM))
        except _NOT_JSON as error:
            raise LogError(
                f"{self.name} starts with [ but is not one JSON array: {error}"
            ) from None
        for number, element in enumerate(elements, 1):
            self._problems.lines += 1
            raw = bytes(element)
            try:
                values = _object.decode(raw)
            except _NOT_JSON as error:
                self.bad(number, f"the element is not a JSON object: {error}")
            else:
                yield Record(number, raw, values)

    def _lines(self, file: io.BufferedReader) -> Iterator[Record]:
        problems = self._problems
        decode = _object.decode
        while (found := self._next(file)) is not None:
            number, raw = found
            raw = raw.strip(b" \t\r\n") if raw[:1] == b"{" or not self._header else raw
            if number == 1:
                raw = raw.removeprefix(_BOM)
            if raw[:1] == b"{":
                try:
                    values = decode(raw)
                except _NOT_JSON as error:
                    if not self._header:
                        problems.lines += 1
                        self.bad(number, f"not valid JSON: {error}")
                        continue
                else:
                    problems.lines += 1
                    yield Record(number, raw, values)
                    continue
            if not raw.strip():
                continue
            if self._header:
                row = self._row(number, raw, file)
                if row is not None:
                    yield row
            else:
                self._read_header(number, raw)

    def _next(self, file: io.BufferedReader) -> tuple[int, bytes] | None:
        if self._back:
            return self._back.popleft()
        while True:
            try:
                raw = file.readline(MAX_LINE + 1)
                if not raw:
                    return None
                self._line += 1
                if len(raw) <= MAX_LINE or raw.endswith(b"\n"):
                    return self._line, raw
                while raw and not raw.endswith(b"\n"):
                    raw = file.readline(_BUFFER)
            except _DAMAGE as error:
                self.bad(self._line + 1, _damage(error))
                return None
            self._problems.lines += 1
            self.bad(self._line, f"longer than {MAX_LINE // 2**20} MiB")

    def _read_header(self, number: int, raw: bytes) -> None:
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            self._problems.lines += 1
            self.bad(number, f"not valid UTF-8: {error.reason} at byte {error.start + 1}")
            return
        for delimiter in _DELIMITERS:
            names = [name.strip() for name in next(csv.reader([text], delimiter=delimiter))]
            if len(names) > len(self._header) and is_header(names, self._keys):
                self._header, self._header_raw, self._delimiter = names, raw, delimiter
        if not self._header:
            self._problems.lines += 1
            inputs = self._keys.input or " or ".join(INPUT_KEYS)
            outputs = self._keys.output or " or ".join(OUTPUT_KEYS)
            self.bad(
                number,
                f"neither a JSON object nor a CSV header with a column {inputs} and a column "
                f"{outputs}: {text[:60]!r}",
            )

    def _row(self, number: int, raw: bytes, file: io.BufferedReader) -> Record | None:
        """Read a CSV row, perhaps of several lines; ``None`` if it is bad or the header again."""
        taken = [(number, raw)]
        closed = True

        def texts() -> Iterator[str]:
            nonlocal closed
            yield raw.decode()
            size = len(raw)
            while size <= MAX_ROW and (found := self._next(file)) is not None:
                taken.append(found)
                size += len(found[1])
                yield found[1].decode()
            closed = False

        reason = ""
        fields: list[str] = []
        try:
            fields = next(csv.reader(texts(), delimiter=self._delimiter))
        except UnicodeDecodeError as error:
            reason = f"not valid UTF-8: {error.reason} at byte {error.start + 1}"
        except csv.Error as error:
            reason = f"not a CSV row: {error}"
        columns = len(self._header)
        if not closed:
            reason = "a quote is never closed"
        elif not reason and (len(fields) < columns or any(fields[columns:])):
            reason = f"it has {len(fields)} columns where the header has {columns}"
        if reason:
            # A stray quote must not take the rows after it along.
            self._back.extendleft(reversed(taken[1:]))
        elif [name.strip() for name in fields] == self._header:
            return None
        self._problems.lines += 1
        if reason:
            self.bad(number, reason)
            return None
        text = b"".join(line for _, line in taken).strip(b"\r\n")
        values = dict(zip(self._header, fields, strict=False))
        return Record(number, self._header_raw + b"\n" + text, values)


def _buffered(file: object) -> io.BufferedReader:
    # The type stubs ask for a raw stream where, at run time, any readable one will do.
    return io.BufferedReader(cast(io.RawIOBase, file), _BUFFER)


def _damage(error: BaseException) -> str:
    if isinstance(error, EOFError):
        return "the gzip data ends early; what comes before was read"
    if isinstance(error, gzip.BadGzipFile | zlib.error):
        return f"the gzip data is damaged ({error}); what comes before was read"
    return f"the file cannot be read any further ({error}); what comes before was read"
