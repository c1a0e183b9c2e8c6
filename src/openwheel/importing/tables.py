"""Reads rows of a table as text: comma-separated values and their kin."""

import csv
from collections.abc import Callable, Iterator
from typing import Final

from openwheel.importing.formats import Keys
from openwheel.importing.formats.pairs import INPUT_KEYS, OUTPUT_KEYS
from openwheel.importing.record_reader import is_header
from openwheel.importing.values import JsonObject

MAX_ROW: Final = 2**20
"""Bytes of a row that goes over several lines; beyond, its quote counts as never closed."""

_DELIMITERS: Final = ",;\t|"
Line = tuple[int, bytes]


class BadRowError(Exception):
    """A row cannot be read; the message says why."""


class Table:
    """A table's header, and its rows as objects.

    Attributes:
        header: The names of the columns; empty until `read_header` found them.
        header_raw: The line they came from.
    """

    def __init__(self, keys: Keys) -> None:
        self.header: list[str] = []
        self.header_raw = b""
        self._keys = keys
        self._delimiter = ","

    def read_header(self, raw: bytes) -> None:
        """Take a line for the header.

        Raises:
            BadRowError: It is no text in UTF-8, or has no columns that are known.
        """
        text = decoded(raw)
        if text.lower().startswith("sep=") and len(text.strip()) == 5:  # written for Excel
            return
        for delimiter in _DELIMITERS:
            try:
                names = [name.strip() for name in next(csv.reader([text], delimiter=delimiter))]
            except csv.Error:
                continue
            if len(names) > len(self.header) and is_header(names, self._keys):
                self.header, self.header_raw, self._delimiter = names, raw, delimiter
        if not self.header:
            inputs = self._keys.input or " or ".join(INPUT_KEYS)
            outputs = self._keys.output or " or ".join(OUTPUT_KEYS)
            advice = ""
            if text.count(",") + text.count(";") + text.count("\t") and not self._keys.input:
                advice = "; name other columns with --input-key and --output-key"
            raise BadRowError(
                f"neither a JSON object nor a CSV header with a column {inputs} and a column "
                f"{outputs}: {text[:60]!r}{advice}"
            )

    def read_row(
        self, raw: bytes, more: Callable[[], Line | None]
    ) -> tuple[bytes, JsonObject] | None:
        """Return the bytes and the values of a row, ``None`` if it is the header again.

        Args:
            raw: Its first line.
            more: Returns the next line, for a row that goes on there.

        Raises:
            BadRowError: It is no row of this table.
        """
        lines = [raw]
        closed = True

        def texts() -> Iterator[str]:
            nonlocal closed
            yield raw.decode()
            size = len(raw)
            while size <= MAX_ROW and (line := more()) is not None:
                lines.append(line[1])
                size += len(line[1])
                yield line[1].decode()
            closed = False

        try:
            fields = next(csv.reader(texts(), delimiter=self._delimiter))
        except UnicodeDecodeError as error:
            raise BadRowError(not_utf8(error)) from None
        except csv.Error as error:
            raise BadRowError(f"not a CSV row: {error}") from None
        columns = len(self.header)
        if not closed:
            raise BadRowError("a quote is never closed")
        if len(fields) < columns or any(fields[columns:]):
            raise BadRowError(f"it has {len(fields)} columns where the header has {columns}")
        if [name.strip() for name in fields] == self.header:
            return None
        text = b"".join(lines).strip(b"\r\n")
        values: JsonObject = dict(zip(self.header, fields, strict=False))
        return self.header_raw + b"\n" + text, values


def decoded(raw: bytes) -> str:
    """Return a line as text.

    Raises:
        BadRowError: It is not in UTF-8.
    """
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise BadRowError(not_utf8(error)) from None


def not_utf8(error: UnicodeDecodeError) -> str:
    """Say that a line is in another encoding, and what to do."""
    return (
        f"not valid UTF-8: {error.reason} at byte {error.start + 1}; save the file as UTF-8 "
        "(in Excel: CSV UTF-8)"
    )
