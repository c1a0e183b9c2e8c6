"""Words of a text with their places, which are what a tagger tags."""

import re
from typing import NamedTuple

_EACH = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"  # scripts without spaces: each character
_WORD = re.compile(
    r"\d+(?:[.,:/-]\d+)*"
    rf"|[{_EACH}]"
    r"|['\u2019]s\b"
    rf"|[^\W\d_{_EACH}]+(?:['\u2019](?!s\b)[^\W\d_]+)*"
    r"|_|[^\w\s]"
)


class Word(NamedTuple):
    """A word, a number, or a mark: what it is, and where it starts and ends in its text."""

    text: str
    start: int
    end: int


def words_of(text: str) -> list[Word]:
    """Return the words of a text in order.

    >>> [word.text for word in words_of("Al's 2,500.50 kg, by 4/6/16!")]
    ['Al', "'s", '2,500.50', 'kg', ',', 'by', '4/6/16', '!']
    """
    return [Word(found[0], found.start(), found.end()) for found in _WORD.finditer(text)]


def key_of(text: str) -> str:
    """Return a text without what renderings differ in: case, spaces and marks."""
    return "".join(character for character in text.casefold() if character.isalnum())
