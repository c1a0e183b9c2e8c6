"""Compares texts by ROUGE-L: the share of equal words in the same order.

This implementation is for all scripts. The package rouge-score lower-cases and drops all characters
but a-z and 0-9, so that any two texts in Chinese, Hindi or Russian are equally unlike, and its
latest release is of 2022.

Source: Lin, 2004, "ROUGE: A Package for Automatic Evaluation of Summaries", section 3.1: recall and
precision are the longest common subsequence of words, divided by the words of the reference and of
the candidate; here F is their harmonic mean (beta = 1).
"""

import unicodedata
from collections.abc import Sequence

from openwheel.tasks.compare.comparison import Kind, Pair, fingerprint_of, limit
from openwheel.tasks.compare.exact import settled

_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),  # Chinese characters
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
"""Scripts that write no spaces between words: a letter counts as a word."""


class RougeComparison:
    """Two texts agree if their ROUGE-L F is at least a limit."""

    bounded = False
    equality = False
    free = True

    def __init__(self, at_least: float) -> None:
        """Compare by a limit in (0, 1]."""
        self.at_least = at_least
        self.setting = f"rouge:{at_least:g}"
        self.fingerprint = fingerprint_of("rouge", at_least, unicodedata.unidata_version)

    def losses(self, pairs: Sequence[Pair]) -> list[float]:
        """Return 0.0 for texts that are similar enough, 1.0 for others."""
        return [self._loss(pair) for pair in pairs]

    def _loss(self, pair: Pair) -> float:
        loss = settled(pair)
        if loss is not None:
            return loss
        return float(rouge_l(pair.teacher.text, pair.student.text) < self.at_least)


def rouge_l(reference: str, candidate: str) -> float:
    """Return the F of ROUGE-L, from 0 to 1; 0 where a text has no word.

    Examples:
        >>> rouge_l("the cat sat on the mat", "on the mat the cat sat")
        0.5
        >>> rouge_l("发票已付款", "发票未付款")
        0.8
    """
    first, second = words(reference), words(candidate)
    if not first or not second:
        return 0.0
    # 2PR / (P + R) with P = common / candidate and R = common / reference.
    return 2 * common_subsequence(first, second) / (len(first) + len(second))


def words(text: str) -> list[str]:
    """Return the words of a text: runs of letters, digits and marks, without case.

    Compatible characters (full-width letters, ligatures) count as one. In scripts without spaces
    each letter is a word, with the marks that belong to it.

    Examples:
        >>> words("Ｒe-send invoice #42, हिन्दी に送る")
        ['re', 'send', 'invoice', '42', 'हिन्दी', 'に', '送', 'る']
    """
    tokens: list[str] = []
    inside = False
    for letter in unicodedata.normalize("NFKC", text).casefold():
        kind = unicodedata.category(letter)[0]
        if kind == "M" and inside:
            tokens[-1] += letter
        elif kind not in "LNM":
            inside = False
        elif alone := any(low <= ord(letter) <= high for low, high in _UNSPACED):
            tokens.append(letter)
            inside = alone
        elif inside and not any(low <= ord(tokens[-1][0]) <= high for low, high in _UNSPACED):
            tokens[-1] += letter
        else:
            tokens.append(letter)
            inside = True
    return tokens


def common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence.

    A row of the usual table is the bits of one integer, so that a step takes a few operations on
    integers, whatever the length of the other text.

    Source: Hyyrö, 2004, "Bit-parallel LCS-length computation revisited".

    Examples:
        >>> common_subsequence("abcbdab", "bdcaba")
        4
    """
    places: dict[str, int] = {}
    for place, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << place
    whole = (1 << len(first)) - 1
    row = whole
    for word in second:
        matched = row & places.get(word, 0)
        row = (row + matched | row - matched) & whole
    return len(first) - row.bit_count()


ROUGE = Kind(
    "rouge",
    "rouge:F (F above 0, at most 1)",
    limit,
    lambda _setting, at_least, _given: RougeComparison(at_least),
)
