"""Reads the elements of a JSON array, one buffer at a time."""

import io
import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from openwheel.importing.json_values import NOT_JSON

CHUNK: Final = 2**22
"""Bytes that are read at once."""

GUESSES: Final = 24
"""Braces that are tried for the end of an element before brackets are counted."""

# A text, also one that is not closed, or a bracket.
_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\Z)|[{}\[\]]', re.DOTALL)
_array = msgspec.json.Decoder(list[msgspec.Raw])


class BrokenArrayError(Exception):
    """The rest of an array cannot be read; the message says why."""


def array_elements(start: bytes, file: io.BufferedReader, longest: int) -> Iterator[bytes]:
    """Yield the elements of a JSON array, one after another.

    Memory is bounded by the longest element, or `CHUNK`. What follows the closing bracket is
    passed over.

    Args:
        start: What comes behind the opening bracket.
        file: Where the rest is read from.
        longest: Bytes of an element.

    Raises:
        BrokenArrayError: An element is longer than ``longest`` bytes, or is no JSON, or the array
            is never closed.
    """
    buffer = start
    hint = b""
    while True:
        read = file.read(CHUNK)
        buffer += read
        if not read:
            yield from _last(buffer)
            return
        while True:
            end, elements = _cut(buffer, hint)
            if elements is None:
                break
            hint = buffer[end : end + 12]
            yield from elements
            buffer = buffer[end:].lstrip()[1:]  # without the comma
        closed = _closed(buffer)
        if closed is not None:
            yield from closed
            return
        if len(buffer) > longest:
            raise BrokenArrayError(f"an element is no JSON, or longer than {longest // 2**20} MiB")


def _cut(buffer: bytes, hint: bytes) -> tuple[int, list[bytes] | None]:
    """Return the longest run of whole elements that a comma follows, and where it ends.

    What decodes between brackets ends between two elements: JSON has one reading only. Guesses
    come first: what stood between the last two elements, then the last braces, then all braces.
    """
    if hint:
        end = buffer.rfind(hint)
        if end > 0 and (elements := _elements(buffer[:end])):
            return end, elements
    for end in (*_last_braces(buffer), *_outer_braces(buffer)):
        if elements := _elements(buffer[:end]):
            return end, elements
    return 0, None


def _last_braces(buffer: bytes) -> Iterator[int]:
    """Yield where the last closing braces before a comma end, the very last first."""
    end = len(buffer)
    for _ in range(GUESSES):
        end = buffer.rfind(b"}", 0, end)
        if end < 0:
            return
        if buffer[end + 1 : end + 200].lstrip().startswith(b","):
            yield end + 1


def _outer_braces(buffer: bytes) -> list[int]:
    """Return where the last objects end that are in no other, the very last first."""
    depth, ends = 0, list[int]()
    for token in _TOKEN.finditer(buffer):
        mark = buffer[token.start()]
        if mark in b"{[":
            depth += 1
        elif mark in b"}]":
            depth -= 1
            if depth < 0:
                break
            if depth == 0 and buffer[token.end() : token.end() + 200].lstrip().startswith(b","):
                ends.append(token.end())
    return ends[:-3:-1]


def _elements(data: bytes) -> list[bytes] | None:
    try:
        return [bytes(raw) for raw in _array.decode(b"[" + data + b"]")]
    except NOT_JSON:
        return None


def _closed(buffer: bytes) -> list[bytes] | None:
    """Return the elements before the closing bracket, if they are all there."""
    end = len(buffer)
    while (end := buffer.rfind(b"]", 0, end)) >= 0:
        if (elements := _elements(buffer[:end])) is not None:
            rest: Any = buffer[end + 1 :].strip()
            return elements if not rest or rest[:1] in {b",", b"}"} else None
    return None


def _last(buffer: bytes) -> list[bytes]:
    """Return the elements at the end of the file, whose array must be closed."""
    if (elements := _closed(buffer)) is not None:
        return elements
    raise BrokenArrayError("the array is never closed, or an element is no JSON")
