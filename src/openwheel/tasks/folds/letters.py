"""Folds single characters: case, width, and characters without a shape."""

import re
import unicodedata
from functools import cache

# Default_Ignorable_Code_Point of Unicode: drawn as nothing.
_SHAPELESS = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_JOINER = "\u200d"
_SPACES = re.compile("[^\\S\r\n]{2,}|[^\\S\r\n ]")


def fold_case(text: str) -> str:
    """Return a text in lower case.

    Not Unicode's case folding, which takes "Ma\u00dfe" (measures) for "Masse" (mass).
    """
    return unicodedata.normalize("NFC", text.lower())


def fold_width(text: str) -> str:
    """Return a text with full-width and half-width characters in their usual width.

    Not NFKC, which takes "m\u00b2" for "m2".
    """
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", text.translate(_widths()))


def fold_invisible(text: str) -> str:
    """Return a text without characters that have no shape, and with one kind of space.

    Joiners inside an emoji stay. Line breaks stay, too.
    """
    if not text.isascii() and _SHAPELESS.search(text):
        text = _SHAPELESS.sub(_joins, text)
        text = unicodedata.normalize("NFC", text)  # separated characters may join now
    return _SPACES.sub(" ", text).strip()


def _joins(match: re.Match[str]) -> str:
    """Return a joiner between two symbols as it is, and ``""`` for others."""
    text, at = match.string, match.start()
    if text[at] != _JOINER or not 0 < at < len(text) - 1:
        return ""
    before, after = text[at - 1], text[at + 1]
    return _JOINER if _is_symbol(before) and _is_symbol(after) else ""


def _is_symbol(character: str) -> bool:
    return unicodedata.category(character) in {"So", "Sk"} or character == "\ufe0f"


@cache
def _widths() -> dict[int, str]:
    """Return the usual character for each full-width and half-width one."""
    widths = {0x3000: " "}
    for code in (*range(0xFF01, 0xFFEF), 0x20A9):
        kind, _, usual = unicodedata.decomposition(chr(code)).partition(" ")
        if kind in ("<wide>", "<narrow>"):
            widths[code] = chr(int(usual, 16))
    return widths
