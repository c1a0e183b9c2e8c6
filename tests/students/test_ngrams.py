import random
import re
from collections import Counter

import numpy as np
import pytest

from openwheel.students.ngrams import LONGEST_TEXT, WORD_BLOCK, ngram_counts
from openwheel.students.tfidf import BATCH, count

ALPHABET = "aabbcdeé ßİ东京🙈  \t\n.,!_0\0\u00a0\ud800ñ"


def naive(text: str) -> Counter[tuple[str, str]]:
    """Every n-gram of a text with its kind, by plain loops."""
    text = text[:LONGEST_TEXT].lower()
    found: Counter[tuple[str, str]] = Counter()
    for piece in text.split():
        padded = f" {piece} "
        for length in (2, 3, 4, 5):
            for start in range(len(padded) - length + 1):
                found["characters", padded[start : start + length]] += 1
    words = re.findall(r"\w+", text)
    for length in (1, 2):
        for start in range(len(words) - length + 1):
            found["words", " ".join(words[start : start + length])] += 1
    return found


def by_row(texts: list[str]) -> list[dict[int, int]]:
    rows, keys, counts = ngram_counts(texts)
    found: list[dict[int, int]] = [{} for _ in texts]
    for row, key, number in zip(rows.tolist(), keys.tolist(), counts.tolist(), strict=True):
        assert key not in found[row]
        found[row][key] = number
    return found


def random_texts(n: int, longest: int = 40) -> list[str]:
    draw = random.Random(1)
    return ["".join(draw.choices(ALPHABET, k=draw.randrange(longest))) for _ in range(n)]


def test_counts_equal_a_naive_count():
    for text, found in zip(texts := random_texts(300), by_row(texts), strict=True):
        expected = naive(text)
        assert sorted(found.values()) == sorted(expected.values())
        words = [number for key, number in found.items() if key >= WORD_BLOCK]
        assert sorted(words) == sorted(n for (kind, _), n in expected.items() if kind == "words")


def test_two_ngrams_share_a_key_only_if_string_and_kind_are_the_same():
    # A text of one short word has few n-grams: match keys to strings by what texts share.
    texts = random_texts(400, longest=12)
    of_string: dict[tuple[str, str], set[int]] = {}
    of_key: dict[int, set[int]] = {}
    for i, (text, found) in enumerate(zip(texts, by_row(texts), strict=True)):
        for gram in naive(text):
            of_string.setdefault(gram, set()).add(i)
        for key in found:
            of_key.setdefault(key, set()).add(i)
    assert len(of_string) > 1_000
    # As many keys as strings, and the same sets of texts have them.
    assert len(of_key) == len(of_string)
    assert Counter(map(frozenset, of_key.values())) == Counter(map(frozenset, of_string.values()))


def test_a_word_of_two_characters_is_no_character_ngram():
    (found,) = by_row(["ab"])
    characters = [key for key in found if key < WORD_BLOCK]
    assert len(characters) == 6  # " a" "ab" "b " " ab" "ab " " ab "
    assert len(found) == 7


def test_rows_are_sorted_and_order_does_not_matter():
    texts = random_texts(60)
    rows, keys, _ = ngram_counts(texts)
    combined = rows.astype(np.uint64) << np.uint64(32) | keys
    assert (np.diff(combined.astype(np.float64)) > 0).all()
    assert by_row(texts[::-1]) == by_row(texts)[::-1]
    assert by_row(texts) == [by_row([text])[0] for text in texts]


def test_batch_boundaries_do_not_matter():
    few = random_texts(30)
    texts = few * (BATCH // 30 + 5)
    counts = count(texts)
    first = counts.matrix[:30].toarray()
    for start in (BATCH - BATCH % 30 - 30, BATCH - BATCH % 30, len(texts) - 30):
        np.testing.assert_array_equal(counts.matrix[start : start + 30].toarray(), first)


@pytest.mark.parametrize("texts", [[], [""], ["", " ", "\n\t"]])
def test_nothing_to_count(texts):
    assert [len(part) for part in ngram_counts(texts)] == [0, 0, 0]
    assert count(texts).matrix.shape == (len(texts), 0)


def test_a_text_is_read_up_to_its_limit():
    long = "ab cd " * LONGEST_TEXT
    assert by_row([long]) == by_row([long[:LONGEST_TEXT]])
