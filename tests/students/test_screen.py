"""The screen for critical answers, on requests of which one word in some tells of danger."""

import numpy as np
import pytest

from made_up import tickets
from openwheel.errors import StudentFileError
from openwheel.students import load_student, save_student, train
from openwheel.students.fit_screen import FEWEST_CRITICAL, screened
from openwheel.students.screen import ScreenedStudent

from .samples import HOSTILE

DANGER = ("smoke", "fire", "burning", "sparks")


def requests(n, seed=0):
    """Return tickets of which one in 40 smells of fire, whose answer is ``urgent``."""
    rows = tickets(n, seed=seed)
    for i, row in enumerate(rows[::40]):
        row.update(input=f"{row['input']} {DANGER[i % 4]} {DANGER[i // 4 % 4]}", output="urgent")
    return [(row["input"],) for row in rows], [row["output"] for row in rows]


INPUTS, ANSWERS = requests(1_200)


@pytest.fixture(scope="module", params=["exact", "linear"])
def fitted(request):
    plain = train(request.param, INPUTS, ANSWERS, variables=(0,))
    return screened(plain, INPUTS, ANSWERS, critical=["urgent"], variables=(0,))


@pytest.fixture(scope="module")
def plain():
    return train("linear", INPUTS, ANSWERS, variables=(0,)).student


def test_requests_that_may_be_critical_are_left_to_the_teacher(fitted, plain):
    inputs, answers = requests(2_000, seed=1)
    critical = np.array([answer == "urgent" for answer in answers])
    _, confidence = fitted.student.answer(inputs)
    assert (confidence[critical] == 0).mean() > 0.95
    if fitted.student.rung == "linear":
        # Of the others it answers nearly all that the student alone would.
        alone = plain.answer(inputs).confidence > 0
        assert (confidence > 0)[~critical].sum() > 0.9 * alone[~critical].sum()


def test_inputs_that_were_seen_with_a_critical_answer_are_too(fitted):
    seen = [values for values, answer in zip(INPUTS, ANSWERS, strict=True) if answer == "urgent"]
    assert not fitted.student.answer(seen).confidence.any()


def test_the_plan_expects_what_will_be(fitted):
    critical = np.array([ANSWERS[row] == "urgent" for row in fitted.rows])
    assert (fitted.confidence[critical] > 0).mean() < 0.05


def test_one_input_is_answered_as_in_a_batch(fitted):
    inputs = [*INPUTS[:60], *HOSTILE]
    texts, confidence = fitted.student.answer(inputs)
    one = [fitted.student.answer_one(values) for values in inputs]
    assert [text for text, _ in one] == texts
    np.testing.assert_allclose([c for _, c in one], confidence, rtol=1e-5)


def test_a_screened_student_is_saved_and_loaded_with_its_screen(fitted, tmp_path):
    files = save_student(fitted.student, tmp_path / "one")
    loaded = load_student(tmp_path / "one", files)
    assert isinstance(loaded, ScreenedStudent)
    assert loaded.screen.answers == ("urgent",)
    np.testing.assert_array_equal(
        loaded.answer(INPUTS[:100]).confidence, fitted.student.answer(INPUTS[:100]).confidence
    )


@pytest.mark.parametrize("name", ["screen.json", "screen.safetensors"])
def test_a_screen_that_was_changed_or_lost_is_refused(fitted, tmp_path, name):
    files = save_student(fitted.student, tmp_path / "one")
    (tmp_path / "one" / name).write_bytes(b"{}")
    with pytest.raises(StudentFileError, match=name):
        load_student(tmp_path / "one", files)
    (tmp_path / "one" / name).unlink()
    with pytest.raises(StudentFileError, match=name):
        load_student(tmp_path / "one", files)


@pytest.mark.parametrize("number", [0, FEWEST_CRITICAL - 1])
def test_too_few_critical_inputs_show_nothing(number):
    answers = ["urgent" if i < number else "other" for i in range(len(INPUTS))]
    plain = train("exact", INPUTS, answers, variables=(0,))
    with pytest.raises(ValueError, match=f"{number} different inputs"):
        screened(plain, INPUTS, answers, critical=["urgent"], variables=(0,))
