import numpy as np
import pytest
from scipy import sparse

from openwheel.students.head import ABSENT, fit_head


def scores(head, features):
    return features @ head.weights + head.bias


def blobs(labels, width):
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(width, 12)) * 3
    return sparse.csr_matrix(centres[labels] + rng.normal(size=(len(labels), 12)) * 0.2)


@pytest.mark.parametrize("answers", [2, 5])
def test_learns_to_separate(answers):
    labels = np.arange(60) % answers
    features = blobs(labels, answers)
    head = fit_head(features, labels, answers, np.ones(60))
    assert head.weights.shape == (12, answers)
    assert head.weights.dtype == head.bias.dtype == np.float32
    np.testing.assert_array_equal(scores(head, features).argmax(axis=1), labels)


def test_two_answers_mirror_each_other():
    labels = np.arange(40) % 2
    head = fit_head(blobs(labels, 2), labels, 2, np.ones(40))
    np.testing.assert_array_equal(head.weights[:, 0], -head.weights[:, 1])


@pytest.mark.parametrize("present", [(1, 4), (0, 2, 5), (3,)])
def test_answers_without_an_example_are_never_preferred(present):
    labels = np.array(present)[np.arange(60) % len(present)]
    features = blobs(labels, 6)
    head = fit_head(features, labels, 6, np.ones(60))
    found = scores(head, features)
    np.testing.assert_array_equal(found.argmax(axis=1), labels)
    assert all(head.bias[i] == ABSENT for i in range(6) if i not in present)


def test_weights_of_rows_count():
    features = sparse.csr_matrix(np.ones((4, 1)))
    labels = np.array([0, 0, 0, 1])
    heavy = fit_head(features, labels, 2, np.array([1.0, 1, 1, 50]))
    light = fit_head(features, labels, 2, np.ones(4))
    assert scores(heavy, features)[0].argmax() == 1
    assert scores(light, features)[0].argmax() == 0
