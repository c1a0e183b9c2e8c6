import numpy as np
import pytest

from openwheel.tasks.compare import EmbeddingComparison, Pair
from openwheel.tasks.compare.embedding import LONGEST_PIECE, pieces
from openwheel.wire import Answer


class Letters:
    """Counts of letters as vectors: real arithmetic, without a model."""

    def __init__(self, fingerprint="letters"):
        self.fingerprint = fingerprint
        self.batches = []

    def embed(self, texts):
        self.batches.append(list(texts))
        vectors = np.zeros((len(texts), 26), np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for letter in text.lower():
                if "a" <= letter <= "z":
                    row[ord(letter) - 97] += 1
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)


def losses(at_least, *texts, encoder=None):
    pairs = [Pair("r", Answer(one), Answer(other)) for one, other in texts]
    return EmbeddingComparison(at_least, encoder or Letters()).losses(pairs)


def test_the_cosine_decides():
    texts = ("aab", "abb"), ("aab", "baa"), ("aab", "xyz")
    assert losses(0.79, *texts) == [0.0, 0.0, 1.0]
    assert losses(0.81, *texts) == [1.0, 0.0, 1.0]


def test_equal_texts_agree_whatever_their_vector_and_empty_ones_have_none():
    assert losses(1.0, ("!", "!"), ("!", "?"), ("a", ""), ("", "")) == [0.0, 1.0, 1.0, 0.0]


def test_the_end_of_a_long_text_counts():
    long = "a" * 5_000
    assert losses(0.99, (long, long + "a"), (long, "a" * 5_000 + " " + "b" * 5_000)) == [0.0, 1.0]


def test_every_text_is_embedded_once():
    encoder = Letters()
    losses(0.5, ("one", "two"), ("one", "three"), ("same", "same"), encoder=encoder)
    assert sorted(encoder.batches[0]) == ["one", "three", "two"]
    assert len(encoder.batches) == 1


def test_nothing_to_compare():
    assert losses(0.5) == []


@pytest.mark.parametrize(
    "text", ["", "  \n ", "word", "a b  c " * 500, "x" * 1_000, "y " + "z" * 900]
)
def test_pieces_hold_all_words_in_order(text):
    found = pieces(text)
    assert "".join("".join(found).split()) == "".join(text.split())
    assert all(len(piece) <= LONGEST_PIECE for piece in found)
    assert found


def test_another_encoder_is_another_comparison():
    one = EmbeddingComparison(0.9, Letters("one"))
    assert (one.setting, one.bounded) == ("embedding:0.9", False)
    assert one.fingerprint != EmbeddingComparison(0.9, Letters("other")).fingerprint
    assert one.fingerprint != EmbeddingComparison(0.8, Letters("one")).fingerprint
