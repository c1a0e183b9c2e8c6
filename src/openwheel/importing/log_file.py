"""Reads the records of a log file: JSON Lines, a JSON array, a table, compressed or not."""

import csv
import io
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

from openwheel.errors import LogError
from openwheel.importing.arrays import BrokenArrayError, array_elements
from openwheel.importing.bundles import list_start, unbundled, unshipped
from openwheel.importing.formats import Keys
from openwheel.importing.json_values import (
    NOT_JSON,
    decode_object,
    is_cut,
    joined_objects,
    object_behind,
)
from openwheel.importing.opening import BUFFER, DAMAGE, PARQUET, as_utf8, damage, open_log
from openwheel.importing.parquet import parquet_rows
from openwheel.importing.problems import LogProblems
from openwheel.importing.tables import BadRowError, Table
from openwheel.importing.values import JsonObject

MAX_LINE: Final = 32 * 2**20
"""Bytes of one line, and of one element of an array; a longer one is bad."""

_BOM: Final = b"\xef\xbb\xbf"
_HEAD: Final = 2**16
_AROUND: Final = b" \t\r\n\x1e"
"""What may stand around a line; the last is the mark of JSON text sequences (RFC 7464)."""


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
        self.problems = problems
        self._strict = strict
        self._line = 0
        self._back: deque[tuple[int, bytes]] = deque()
        self._table = Table(keys)

    def bad(self, line: int, reason: str) -> None:
        """Count a bad line; if strict, raise it."""
        self.problems.add_bad(self.name, line, reason, strict=self._strict)

    def records(self) -> Iterator[Record]:
        """Yield the records in order.

        Raises:
            LogError: The file cannot be opened, is not text, or, if strict, has a bad line.
        """
        for line, raw, collected in self._objects():
            values = unshipped(collected)
            many = unbundled(values)
            if many is None:
                self.problems.lines += 1
                yield Record(line, raw, values)
                continue
            for part, inner in many:
                self.problems.lines += 1
                yield Record(line, part, inner)

    def _objects(self) -> Iterator[Record]:
        # A row may hold a long prompt, and the csv module has one limit for the whole process.
        csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE))
        with ExitStack() as stack:
            file = open_log(self._path, self.name, stack)
            try:
                yield from self._found(file)
            except DAMAGE as error:  # in what shows the format; later the readers count it
                self.bad(1, damage(error))

    def _found(self, file: io.BufferedReader) -> Iterator[Record]:
        """Read a file by what it begins with."""
        start = file.peek(_HEAD)[:_HEAD]
        if start.startswith(PARQUET):
            for number, (raw, values) in enumerate(parquet_rows(self._path, self.name), 1):
                yield Record(number, raw, values)
            return
        file = as_utf8(file, self.name, start)
        start = file.peek(_HEAD)[:_HEAD].removeprefix(_BOM).lstrip()
        if start[:1] == b"[":
            head = file.read(_HEAD)
            yield from self._elements(head[head.index(b"[") + 1 :], file)
        elif list_start(start) is not None:
            yield from self._wrapped(file)
        else:
            yield from self._lines(file)

    def _wrapped(self, file: io.BufferedReader) -> Iterator[Record]:
        """Read a file that begins with an object around a list of records."""
        first = self._next(file)
        if first is None:
            return
        number, raw = first
        try:
            decode_object(raw.removeprefix(_BOM))
        except NOT_JSON:
            # An object over several lines: its list is read without the object being held.
            head = raw + file.read(_HEAD)
            at = list_start(head.removeprefix(_BOM).lstrip())
            if at is not None:
                head = head.removeprefix(_BOM).lstrip()
                yield from self._elements(head[at + 1 :], file)
                return
            self._back.extend((number, line) for line in head.splitlines(keepends=True))
        else:
            self._back.append(first)
        yield from self._lines(file)

    def _elements(self, start: bytes, file: io.BufferedReader) -> Iterator[Record]:
        number = 0
        try:
            for raw in array_elements(start, file, MAX_LINE):
                number += 1
                try:
                    values = decode_object(raw)
                except NOT_JSON as error:
                    self.problems.lines += 1
                    self.bad(number, f"the element is not a JSON object: {error}")
                else:
                    yield Record(number, raw, values)
        except BrokenArrayError as error:
            if not number and not self.problems.usable:
                raise LogError(
                    f"{self.name} starts with [ but is not one JSON array: {error}"
                ) from None
            self.bad(number + 1, f"{error}; the {number:,} elements before it were read")
        except DAMAGE as error:
            self.bad(number + 1, damage(error))

    def _lines(self, file: io.BufferedReader) -> Iterator[Record]:
        table = self._table
        while (line := self._next(file)) is not None:
            number, raw = line
            if number == 1:
                raw = raw.removeprefix(_BOM)
            text = raw.strip(_AROUND) if raw[:1] in b"{\x1e" or not table.header else raw
            if text[:1] == b"{":
                try:
                    values = decode_object(text)
                except NOT_JSON as error:
                    if not table.header:
                        whole = self._printed(text, file) if is_cut(error) else None
                        several = [whole] if whole is not None else joined_objects(text)
                        if several:
                            for part in several:
                                yield Record(number, *part)
                            continue
                        self.problems.lines += 1
                        self.bad(number, f"not valid JSON: {error}")
                        continue
                else:
                    yield Record(number, text, values)
                    continue
            elif not table.header and (behind := object_behind(text)) is not None:
                yield Record(number, *behind)
                continue
            if text.strip():
                yield from self._row(number, raw if table.header else text, file)

    def _printed(self, raw: bytes, file: io.BufferedReader) -> tuple[bytes, JsonObject] | None:
        """Read an object that goes over several lines, its closing brace at the start of one.

        Lines that turn out to belong to none are put back; those of an object that was begun on
        a line of its own, and is not whole, go with it.
        """
        lines: list[tuple[int, bytes]] = []
        size = len(raw)
        while size <= MAX_LINE and (taken_line := self._next(file)) is not None:
            lines.append(taken_line)
            size += len(taken_line[1])
            line = taken_line[1]
            if line[:1] == b"{":  # another object: this one was cut
                self._back.appendleft(lines.pop())
                break
            if line[:1] == b"}":
                text = b"".join([raw + b"\n", *(part for _, part in lines)]).strip().rstrip(b",")
                try:
                    return text, decode_object(text)
                except NOT_JSON as error:
                    if not is_cut(error):
                        break
        if raw != b"{":
            self._back.extendleft(reversed(lines))
        return None

    def _row(self, number: int, raw: bytes, file: io.BufferedReader) -> Iterator[Record]:
        """Read a table's header or row, perhaps of several lines."""
        lines: list[tuple[int, bytes]] = []

        def more() -> tuple[int, bytes] | None:
            line = self._next(file)
            if line is not None:
                lines.append(line)
            return line

        try:
            if not self._table.header:
                self._table.read_header(raw)
                return
            row = self._table.read_row(raw, more)
        except BadRowError as error:
            # A stray quote must not take the rows after it along.
            self._back.extendleft(reversed(lines))
            self.problems.lines += 1
            self.bad(number, str(error))
            return
        if row is not None:
            yield Record(number, *row)

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
                    raw = file.readline(BUFFER)
            except DAMAGE as error:
                self.bad(self._line + 1, damage(error))
                return None
            self.problems.lines += 1
            self.bad(self._line, f"longer than {MAX_LINE // 2**20} MiB")
