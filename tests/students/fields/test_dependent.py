"""Labels that follow from a record's other fields."""

import json
import random

import numpy as np
import pytest

from openwheel.errors import StudentFileError
from openwheel.students import load_student, save_student, train
from openwheel.students.fields.dependent import evidently_better

RUSH = ("customer waits", "whole line waits", "delivery today")
TIME = ("no hurry", "not critical", "can wait")


def notes(n, seed=0):
    """Notes of which no word tells the priority: minutes, a stop and a remark together do."""
    rng = random.Random(seed)
    made = []
    for _ in range(n):
        machine, minutes = f"press {rng.randint(1, 9)}", rng.randint(3, 99)
        stopped, remark = rng.random() < 0.6, rng.choice(["", "", "", "rush", "time"])
        level = (2 if minutes >= 45 else 1) if stopped else 0
        level = min(2, max(0, level + (remark == "rush") - (remark == "time")))
        said = rng.choice(RUSH) if remark == "rush" else rng.choice(TIME) if remark else ""
        text = f"{machine} {'stood still' if stopped else 'kept running'}, {minutes} min, {said}"
        record = {
            "machine": machine,
            "minutes": minutes,
            "stopped": stopped,
            "priority": ("low", "medium", "high")[level],
        }
        made.append((text, json.dumps(record)))
    return made


@pytest.fixture(scope="module")
def fitted():
    rows = notes(500)
    answers = [json.dumps(json.loads(a), sort_keys=True, separators=(",", ":")) for _, a in rows]
    surfaces = dict(zip(answers, (answer for _, answer in rows), strict=True))
    inputs = [(text,) for text, _ in rows]
    return train("linear", inputs, answers, variables=(0,), form="record", surfaces=surfaces)


def test_a_priority_is_told_by_minutes_a_stop_and_a_remark(fitted):
    new = notes(200, seed=1)
    texts, confidence = fitted.student.answer([(text,) for text, _ in new])
    right = np.array([told == answer for told, (_, answer) in zip(texts, new, strict=True)])
    assert right.mean() > 0.93
    assert fitted.agrees.mean() > 0.93
    assert np.median(confidence[right]) > 0.9


def test_one_by_one_as_in_a_batch_and_after_loading(fitted, tmp_path):
    digest = save_student(fitted.student, tmp_path / "student")
    loaded = load_student(tmp_path / "student", expected=digest)
    new = [(text,) for text, _ in notes(40, seed=2)]
    texts, confidence = fitted.student.answer(new)
    for i, values in enumerate(new):
        text, sure = loaded.answer_one(values)
        assert text == texts[i]
        assert sure == pytest.approx(confidence[i], abs=1e-5)


@pytest.mark.parametrize(
    ("part", "broken"),
    [("feature", lambda a: a + 10_000), ("shares", lambda a: a[:, :, :-1]), ("left", np.negative)],
)
def test_forests_that_do_not_fit_are_named(fitted, part, broken):
    settings, arrays = fitted.student.state()
    name = f"dependent.0.{part}"
    with pytest.raises(StudentFileError, match="dependent"):
        type(fitted.student).from_state(settings, arrays | {name: broken(arrays[name])})
    with pytest.raises(StudentFileError, match=part):
        type(fitted.student).from_state(
            settings, {key: array for key, array in arrays.items() if key != name}
        )


def test_a_few_more_right_by_chance_are_no_evidence():
    before = np.array([True] * 90 + [False] * 10)
    assert not evidently_better(before, np.array([True] * 92 + [False] * 8))
    assert evidently_better(before, np.array([True] * 98 + [False] * 2))
