import random

import numpy as np
import pytest

from openwheel.students import load_student, save_student, train
from openwheel.students.calibration import fit_sharpness
from openwheel.students.soft_head import fit_soft_head, softmax

from .samples import WORDS, traffic


def doubtful(n, seed=0):
    """Texts whose words make one of three answers likelier, and a teacher's probabilities."""
    draw = random.Random(seed)
    inputs, answers, given = [], [], {}
    for row in range(n):
        weights = [draw.choice((0, 0, 1, 2, 3)) for _ in range(3)]
        words = [f"topic{i}x{k}" for i, weight in enumerate(weights) for k in range(weight)]
        words += draw.sample(WORDS, 3)
        draw.shuffle(words)
        odds = np.exp(1.2 * np.array(weights))
        chances = odds / odds.sum()
        inputs.append((" ".join(words),))
        answers.append(f"answer {draw.choices(range(3), chances)[0]}")
        given[row] = {f"answer {i}": float(p) for i, p in enumerate(chances)}
    return inputs, answers, given


def test_soft_labels_are_learned_better_than_drawn_answers():
    inputs, answers, given = doubtful(400)
    unseen, _, truth = doubtful(300, seed=1)
    wanted = np.array([[truth[i][f"answer {k}"] for k in range(3)] for i in range(300)])

    def loss(probabilities):
        student = train(
            "linear", inputs, answers, variables=(0,), probabilities=probabilities
        ).student
        own = student.probabilities(unseen)
        return -(wanted * np.log(own)).sum(axis=1).mean(), own

    hard, _ = loss({})
    soft, own = loss(given)
    least = -(wanted * np.log(wanted)).sum(axis=1).mean()
    assert soft < hard
    assert soft - least < 0.5 * (hard - least)
    # And they are probabilities: of 10 bins of stated ones, each is near what the teacher says.
    for k in range(3):
        order = np.argsort(own[:, k])
        for part in np.array_split(order, 5):
            assert own[part, k].mean() == pytest.approx(wanted[part, k].mean(), abs=0.08)


def test_probabilities_that_say_nothing_are_not_used():
    inputs, answers = traffic(200, 4)
    draw = random.Random(0)
    names = sorted(set(answers))
    noise = {i: {draw.choice(names): 1.0} for i in range(200)}
    one = train("linear", inputs, answers, variables=(0,), probabilities=noise)
    other = train("linear", inputs, answers, variables=(0,))
    np.testing.assert_array_equal(one.confidence, other.confidence)
    np.testing.assert_array_equal(one.student.core.head.weights, other.student.core.head.weights)


def test_rows_with_and_without_probabilities_are_mixed():
    inputs, answers, given = doubtful(300)
    half = {row: chances for row, chances in given.items() if row % 2}
    lost = {0: {"never an answer": 1.0}, 2: {}}
    fitted = train("linear", inputs, answers, variables=(0,), probabilities=half | lost)
    assert set(fitted.student.answers) == {"answer 0", "answer 1", "answer 2"}
    assert fitted.agrees.mean() > 0.4


def test_the_head_gives_next_to_nothing_to_what_has_no_example():
    import scipy

    features = scipy.sparse.csr_matrix(np.eye(4).repeat(10, axis=0))
    labels = np.arange(4).repeat(10) % 2  # the answers 0 and 1 of 3
    targets = np.tile([0.5, 0.3, 0.2], (40, 1))
    targets[labels == 1] = [0.1, 0.6, 0.3]
    head = fit_soft_head(features, labels, scipy.sparse.csr_matrix(targets), np.ones(40))
    scores = features @ head.weights + head.bias
    assert (scores.argmax(axis=1) == labels).all()
    assert (scores[:, 2] < scores[:, :2].min(axis=1)).all()


def test_the_sharpness_is_that_of_the_probabilities():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(2_000, 4)).astype(np.float32)
    assert fit_sharpness(scores, softmax(2.5 * scores.astype(float))) == pytest.approx(
        2.5, rel=0.01
    )


def test_they_are_saved_with_the_student(tmp_path):
    inputs, answers, given = doubtful(200)
    student = train("linear", inputs, answers, variables=(0,), probabilities=given).student
    loaded = load_student(tmp_path / "one", save_student(student, tmp_path / "one"))
    assert loaded.sharpness == student.sharpness != 3.0
    assert loaded.reliability == student.reliability
    assert sum(part.n for part in student.reliability) == 200
    for part in student.reliability:
        assert 0 < part.stated <= 1
        assert part.n < 20 or part.stated == pytest.approx(part.seen, abs=0.15)
    np.testing.assert_array_equal(loaded.probabilities(inputs), student.probabilities(inputs))
