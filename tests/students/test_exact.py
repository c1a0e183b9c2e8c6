import numpy as np
import pytest

from openwheel.students.exact import ExactStudent, fit_exact, input_key


def test_replays_training_in_order():
    inputs = [("a",), ("a",), ("a",), ("b",), ("a",), ("a",), ("b",)]
    fitted = fit_exact(inputs, ["x", "x", "x", "y", "y", "x", "z"], variables=(0,))
    # First sight: nothing. Then the rule of succession. Contradicted once: never again.
    assert fitted.confidence.tolist() == [0, 2 / 3, 3 / 4, 0, 4 / 5, 0, 2 / 3]
    assert fitted.agrees.tolist() == [False, True, True, False, False, False, False]
    assert fitted.rows.tolist() == list(range(7))
    assert fitted.student.predict_one(("a",)) == (-1, 0.0)
    assert fitted.student.predict_one(("b",)) == (-1, 0.0)


def test_confidence_grows_with_the_times():
    student = fit_exact([("a",)] * 4 + [("b",)], ["x"] * 4 + ["x"], variables=(0,)).student
    assert student.predict_one(("a",)) == (0, 5 / 6)
    assert student.predict_one(("b",)) == (0, 2 / 3)
    assert student.predict([("a",), ("c",)]).labels.tolist() == [0, -1]


@pytest.mark.parametrize("other", [("a  b", "c"), (" a\tb\n", "c "), ("a\u00a0b", "c")])
def test_only_white_space_is_not_told_apart(other):
    assert input_key(other, (0, 1)) == input_key(("a b", "c"), (0, 1))


@pytest.mark.parametrize(
    "other",
    [("a", "b c"), ("a b c", ""), ("ab", "c"), ("A b", "c"), ("a b", "c", "d"), ("a b",), ()],
)
def test_all_else_is(other):
    assert input_key(other, (0, 1, 2)) != input_key(("a b", "c"), (0, 1, 2))


def test_only_the_chosen_variables_are_read():
    student = fit_exact([("2026-01-01", "hi")], ["x"], variables=(1,)).student
    assert student.predict_one(("2026-02-02", "hi"))[0] == 0


def test_nothing_seen():
    student = fit_exact([], [], variables=(0,)).student
    settings, arrays = student.state()
    again = ExactStudent.from_state(settings, arrays)
    assert again.predict_one(("a",)) == (-1, 0.0)
    assert again.predict([]).labels.dtype == np.int64
