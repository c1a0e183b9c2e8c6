"""Folds the order of lists: an answer that lists several items is the set of them."""

import re

_BULLET = re.compile(r"(?:[*\u2022\u2023\u25e6\u00b7+]\s+|[-\u2013\u2014]\s+(?=\D))")
_NUMBER = re.compile(r"\d{1,3}[.)]\s+")
# A comma between digits is part of a number.
_COMMA = re.compile(r"(?<!\d),|,(?!\d)|[\uff0c\u3001\u060c]")
_AND = re.compile(r"\s+(?:and|und|et|&)\s+|^(?:and|und|et|y|e|&)\s+", re.IGNORECASE)
_LEVELS = (
    re.compile(r"[\r\n]+"),
    re.compile(r"[;\uff1b]"),
    re.compile(r"[|\uff5c]"),
    _COMMA,
    re.compile(r"\s+(?:and|und|et|&)\s+", re.IGNORECASE),
)


def parts_of(text: str) -> list[str]:
    """Return the parts of a list: lines, or parts separated by semicolons, bars, commas or "and".

    A text that is no list is its only part.
    """
    for level in _LEVELS:
        parts = [part.strip() for part in level.split(text)]
        parts = [part for part in parts if part]
        if len(parts) > 1:
            break
    if level is _COMMA and len(parts) > 1:  # a, b and c; a, b, and c
        parts = [*parts[:-1], *(part for part in _AND.split(parts[-1]) if part)]
    if len(parts) < 2:
        return [text]
    if all(_NUMBER.match(part) for part in parts):
        parts = [_NUMBER.sub("", part, count=1) for part in parts]
    bare = [part[len(bullet[0]) :] if (bullet := _BULLET.match(part)) else part for part in parts]
    return [part for part in bare if part] or [text]
