"""The guard on a made-up task whose words say which answer it is."""

import random

import numpy as np
import pytest

from openwheel.errors import StudentFileError
from openwheel.students import load_student, save_student, train
from openwheel.students.fit import fit_model
from openwheel.students.left_out import CONFIDENT, KEPT

from .samples import HOSTILE, WORDS

COMMON = WORDS[:60]
"""Words that every answer's inputs have."""


def requests(n, answers, seed=0):
    """Return requests of two words of their answer among four common ones."""
    draw = random.Random(seed)
    found = []
    for i in range(n):
        answer = answers[i % len(answers)]
        own = [f"{answer}{kind}" for kind in draw.sample("abcdefgh", 2)]
        words = [*own, *draw.sample(COMMON, 4)]
        draw.shuffle(words)
        found.append(((" ".join(words),), answer))
    return found


def fitted(answers, n=600, **options):
    pairs = requests(n, answers)
    return fit_model([i for i, _ in pairs], [a for _, a in pairs], variables=(0,), **options)


KNOWN = ["pay", "ship", "refund", "login", "price", "stock"]


def answered(student, answers, seed=1):
    confidence = student.predict([i for i, _ in requests(300, answers, seed)]).confidence
    return (confidence > 0).mean()


def test_requests_for_unknown_answers_in_familiar_words_are_deferred():
    student = fitted(KNOWN).student
    assert answered(student, KNOWN) > KEPT - 0.05
    assert answered(student, ["visa", "menu"]) < 0.1


def test_without_a_guard_they_are_answered():
    """What the guard is for: the task is such that these would be answered."""
    student = fitted(KNOWN, guarded=False).student
    assert answered(student, ["visa", "menu"]) > 0.9


def test_the_share_of_unknown_requests_is_estimated_by_what_was_left_out():
    found = fitted(KNOWN)
    assert found.unknown is not None
    assert (found.unknown > 0).mean() < 0.1
    open_ = fitted(KNOWN, guarded=False)
    assert open_.unknown is not None
    assert (open_.unknown > 0).mean() > 0.9


def test_the_guard_lets_through_what_it_says_of_held_out_inputs():
    found = fitted(KNOWN)
    open_ = fitted(KNOWN, guarded=False)
    sure = open_.agrees & (open_.confidence >= CONFIDENT)
    assert (found.confidence[sure] > 0).mean() == pytest.approx(KEPT, abs=0.01)


@pytest.mark.parametrize("answers", [KNOWN[:1], KNOWN[:2], KNOWN[:3]], ids=["one", "two", "three"])
def test_few_answers(answers):
    found = fitted(answers, n=300)
    assert (found.unknown is None) == (len(answers) < 3)
    assert answered(found.student, answers) > 0.9
    assert not found.student.predict(HOSTILE).confidence.any()
    noise = [("zzgx qwrtp vvkj hhgf",), ("¿dónde está mi tarjeta nueva?",)]
    assert not found.student.predict(noise).confidence.any()


def test_it_is_saved_with_the_student(tmp_path):
    student = fitted(KNOWN).student
    hashes = save_student(student, tmp_path / "student")
    loaded = load_student(tmp_path / "student", hashes)
    unknown = [i for i, _ in requests(50, ["visa"], 1)]
    np.testing.assert_array_equal(
        loaded.predict(unknown).confidence, student.predict(unknown).confidence
    )


def test_a_student_from_before_the_guard_is_refused_clearly(tmp_path):
    import hashlib
    import json

    hashes = save_student(fitted(KNOWN).student, tmp_path / "student")
    path = tmp_path / "student" / "student.json"
    saved = json.loads(path.read_text())
    path.write_text(json.dumps({**saved, "format": 1}))
    hashes["student.json"] = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(StudentFileError, match="format 1; this version reads 2"):
        load_student(tmp_path / "student", hashes)


def test_answers_too_rare_to_learn_show_how_novelty_looks_too():
    pairs = requests(300, KNOWN)
    rare = [((f"{'xyz'[i % 3]}odd{i} {COMMON[i]} {COMMON[-i]}",), f"once {i}") for i in range(30)]
    every = [*pairs, *rare]
    found = train("linear", [i for i, _ in every], [a for _, a in every], variables=(0,))
    assert found.unknown is not None
    assert len(found.unknown) > 300
