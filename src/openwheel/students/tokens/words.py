"""Which token of an encoder stands for which word of a text."""

from collections.abc import Sequence

Spot = tuple[int, int]
"""Where a word or a token starts and ends in its text."""

NOWHERE = -1


def first_tokens(tokens: Sequence[Spot], words: Sequence[Spot]) -> list[int]:
    """Return the first token in each word, `NOWHERE` for a word that has none.

    A word has none where the encoder does not read so far, or drops its characters. A token that
    reaches over several words stands for each of them.

    Args:
        tokens: In order; special tokens are empty.
        words: In order.

    >>> first_tokens([(0, 0), (0, 3), (3, 5), (6, 7), (0, 0)], [(0, 5), (6, 7), (8, 9)])
    [1, 3, -1]
    """
    found = []
    at = 0
    for start, end in words:
        while at < len(tokens) and (tokens[at][1] <= start or tokens[at][0] == tokens[at][1]):
            at += 1
        found.append(at if at < len(tokens) and tokens[at][0] < end else NOWHERE)
    return found
