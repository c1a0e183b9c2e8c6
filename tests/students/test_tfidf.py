import numpy as np
import pytest

from openwheel.students.ngrams import WORD_BLOCK
from openwheel.students.tfidf import count, fit_tfidf

from .samples import HOSTILE, traffic

TEXTS = [text for (text,) in traffic(80, 4)[0]]
OTHER = [text for (text,) in traffic(30, 5, seed=3)[0]]


@pytest.fixture(scope="module")
def tfidf():
    return fit_tfidf(count(TEXTS), np.arange(len(TEXTS)), most=10_000)


def test_equals_a_naive_computation(tfidf):
    fitted = count(TEXTS).matrix.toarray()
    frequency = dict(zip(count(TEXTS).keys.tolist(), (fitted > 0).sum(axis=0), strict=True))
    assert set(tfidf.keys.tolist()) == {key for key, n in frequency.items() if n >= 2}
    features, unseen = tfidf.weigh(counts := count(OTHER))
    column = {key: i for i, key in enumerate(tfidf.keys.tolist())}
    for row, text_counts in enumerate(counts.matrix.toarray()):
        here = {k: n for k, n in zip(counts.keys.tolist(), text_counts, strict=True) if n}
        expected = np.zeros(len(column))
        for key, number in here.items():
            if key in column:
                idf = np.log((1 + len(TEXTS)) / (1 + frequency[key])) + 1
                expected[column[key]] = (1 + np.log(number)) * idf
        words = tfidf.keys >= WORD_BLOCK
        for block in (words, ~words):
            expected[block] /= np.linalg.norm(expected[block]) or 1
        np.testing.assert_allclose(features[row].toarray()[0], expected, atol=1e-5)
        assert unseen[row] == pytest.approx(np.mean([key not in column for key in here]))


def test_words_and_characters_are_unit_blocks(tfidf):
    features, _ = tfidf.weigh(count(TEXTS))
    squares = features.multiply(features).toarray()
    words = tfidf.keys >= WORD_BLOCK
    np.testing.assert_allclose(squares[:, words].sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(squares[:, ~words].sum(axis=1), 1, atol=1e-5)


def test_one_text_alone_weighs_the_same(tfidf):
    texts = [*OTHER, *("".join(values) for values in HOSTILE)]
    features, unseen = tfidf.weigh(count(texts))
    for row, text in enumerate(texts):
        columns, values, share = tfidf.weigh_one(text)
        dense = np.zeros(len(tfidf.keys))
        dense[columns] = values
        np.testing.assert_allclose(features[row].toarray()[0], dense, atol=1e-6)
        assert share == pytest.approx(unseen[row])


def test_share_unseen(tfidf):
    assert tfidf.weigh_one(TEXTS[0])[2] < 0.2
    assert tfidf.weigh_one("")[2] == tfidf.weigh_one("请把我的卡")[2] == 1


def test_vocabulary_keeps_the_most_common():
    counts = count(TEXTS)
    frequency = np.bincount(counts.matrix.indices, minlength=len(counts.keys))
    few = fit_tfidf(counts, np.arange(len(TEXTS)), most=50)
    kept = np.isin(counts.keys, few.keys)
    assert kept.sum() == 50
    assert frequency[kept].min() >= frequency[~kept].max()
    assert (np.diff(few.keys.astype(np.int64)) > 0).all()


def test_texts_that_share_nothing():
    lonely = fit_tfidf(count(["", ""]), np.arange(2), most=100)
    features, unseen = lonely.weigh(count(["some words"]))
    assert features.nnz == 0
    assert unseen.tolist() == [1]
