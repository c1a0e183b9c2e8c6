"""What every rung must do, whatever it is made of; a new rung passes all of it.

``check_student(rung)`` runs every check; ``CHECKS`` lists them, so that tests can name the one
that fails.
"""

import random
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from openwheel.students import (
    Answers,
    Fitted,
    LabelStudent,
    Student,
    load_student,
    save_student,
    train,
)
from openwheel.students.encoder import TextEncoder

from .samples import HOSTILE, WORDS, Inputs, traffic


class Rung(NamedTuple):
    """A rung under test; ``learns`` if it answers inputs that it has not seen."""

    name: str
    learns: bool
    encoder: TextEncoder | None = None

    def train(self, inputs: Sequence[Inputs], answers: Sequence[str]) -> Fitted:
        return train(self.name, inputs, answers, variables=(0,), encoder=self.encoder)


def assert_well_formed(student: Student, answers: Answers, n: int) -> None:
    texts, confidence = answers
    assert len(texts) == n
    assert confidence.shape == (n,)
    assert confidence.dtype == np.float64
    assert ((confidence >= 0) & (confidence <= 1)).all()
    assert set(texts) <= {"", *student.answers}
    assert (confidence[[not text for text in texts]] == 0).all()


def assert_same(one: Answers, other: Answers) -> None:
    assert one.texts == other.texts
    np.testing.assert_array_equal(one.confidence, other.confidence)


def check_predictions(rung: Rung) -> None:
    inputs, answers = traffic(120, 4)
    student = rung.train(inputs, answers).student
    assert student.rung == rung.name
    unseen, truth = traffic(60, 4, seed=1)
    for batch in ([], inputs[:1], inputs, unseen):
        assert_well_formed(student, student.answer(batch), len(batch))
    again = student.answer(inputs).texts
    assert np.mean([a == b for a, b in zip(again, answers, strict=True)]) > 0.95
    new = student.answer(unseen).texts
    right = np.mean([a == b for a, b in zip(new, truth, strict=True)])
    assert right > 0.8 if rung.learns else right == 0


def check_batch_equals_one_by_one(rung: Rung) -> None:
    inputs, answers = traffic(150, 5)
    student = rung.train(inputs, answers).student
    batch = [*inputs, *traffic(60, 5, seed=1)[0], *HOSTILE]
    texts, confidence = student.answer(batch)
    for i, values in enumerate(batch):
        text, sure = student.answer_one(values)
        assert isinstance(sure, float)
        assert text == texts[i]
        assert abs(sure - confidence[i]) < 1e-5


def check_probabilities(rung: Rung) -> None:
    inputs, answers = traffic(150, 5)
    student = rung.train(inputs, answers).student
    if not isinstance(student, LabelStudent):
        return
    batch = [*inputs[:50], *traffic(20, 5, seed=1)[0], *HOSTILE]
    chances = student.probabilities(batch)
    assert chances.shape == (len(batch), len(student.answers))
    np.testing.assert_allclose(chances.sum(axis=1), 1.0)
    assert student.probabilities([]).shape == (0, len(student.answers))
    for row, values in zip(chances, batch, strict=True):
        text, sure, alone = student.weigh_one(values)
        assert (text, sure) == student.answer_one(values)
        np.testing.assert_allclose(alone, row, atol=1e-5)
        if text:
            assert student.answers[int(row.argmax())] == text or row.max() < 0.5
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "student"
        loaded = load_student(folder, save_student(student, folder), rung.encoder)
    assert isinstance(loaded, LabelStudent)
    np.testing.assert_array_equal(loaded.probabilities(batch), chances)


def check_deterministic(rung: Rung) -> None:
    inputs, answers = traffic(150, 5)
    one, other = rung.train(inputs, answers), rung.train(inputs, answers)
    unseen = traffic(60, 5, seed=1)[0]
    assert one.student.answers == other.student.answers
    assert_same(one.student.answer(unseen), other.student.answer(unseen))
    np.testing.assert_array_equal(one.confidence, other.confidence)


def check_saves_and_loads(rung: Rung) -> None:
    inputs, answers = traffic(150, 5)
    student = rung.train(inputs, answers).student
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "student"
        hashes = save_student(student, folder)
        loaded = load_student(folder, hashes, rung.encoder)
        assert {path.name for path in folder.iterdir()} == set(hashes)
    assert (loaded.rung, loaded.answers) == (student.rung, student.answers)
    batch = [*inputs, *traffic(60, 5, seed=1)[0], *HOSTILE]
    assert_same(loaded.answer(batch), student.answer(batch))
    assert loaded.answer_one(inputs[0]) == student.answer_one(inputs[0])


def check_hostile_inputs(rung: Rung) -> None:
    inputs, answers = traffic(200, 4)
    student = rung.train(inputs, answers).student
    given = student.answer(HOSTILE)
    assert_well_formed(student, given, len(HOSTILE))
    usual = np.median(student.answer(inputs).confidence)
    if rung.encoder is None:  # a random encoder knows of no meaning, so of nothing unlike it
        assert (given.confidence == 0).all()
        assert usual > 0.4
    # And as training inputs.
    odd = [*inputs, *HOSTILE, *HOSTILE]
    fitted = rung.train(odd, [*answers, *["odd"] * (2 * len(HOSTILE))])
    assert_well_formed(fitted.student, fitted.student.answer(odd), len(odd))


def check_unknown_answers(rung: Rung) -> None:
    """What a student was taught nothing of it answers less often than what it was taught."""
    inputs, answers = traffic(300, 6)
    taught = [i for i, answer in enumerate(answers) if answer != "answer 5"]
    student = rung.train([inputs[i] for i in taught], [answers[i] for i in taught]).student
    unseen, truth = traffic(300, 6, seed=1)
    given = student.answer(unseen).confidence > 0
    known = np.array([answer != "answer 5" for answer in truth])
    assert given[~known].mean() <= given[known].mean()
    if rung.learns:
        assert given[known].mean() > 0.85
        if rung.encoder is None:  # a random encoder knows of no meaning
            assert given[~known].mean() < 0.1


def check_threads(rung: Rung) -> None:
    inputs, answers = traffic(100, 4)
    student = rung.train(inputs, answers).student
    alone = [student.answer_one(values) for values in inputs]
    wrong: list[object] = []

    def ask() -> None:
        wrong.extend(
            values
            for values, expected in zip(inputs, alone, strict=True)
            if student.answer_one(values) != expected
        )

    failures: list[object] = []
    before, threading.excepthook = threading.excepthook, failures.append
    try:
        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        threading.excepthook = before
    assert not wrong
    assert not failures


def check_out_of_fold(rung: Rung) -> None:
    inputs, answers = traffic(200, 4)
    fitted = rung.train(inputs, answers)
    rows = fitted.rows
    assert len(rows) == len(fitted.confidence) == len(fitted.agrees) > 0
    assert fitted.agrees.dtype == np.bool_
    assert ((rows >= 0) & (rows < len(inputs))).all()
    assert len(np.unique(rows)) == len(rows)
    assert ((fitted.confidence >= 0) & (fitted.confidence <= 1)).all()
    if rung.learns:
        # One row for each distinct input, and what was learned shows on unseen ones.
        assert len(rows) == len(set(zip(inputs, answers, strict=True)))
        assert fitted.agrees.mean() > 0.8


def check_no_leakage(rung: Rung) -> None:
    """With answers drawn at random nothing can be right more often than chance."""
    if not rung.learns:
        return  # what it repeats it may well have seen: that is the rung
    draw = random.Random(5)
    distinct = [" ".join(draw.sample(WORDS, 5)) for _ in range(250)]
    truth = [draw.choice("ab") for _ in distinct]
    inputs, answers = [], []
    for _ in range(1_000):  # each about four times, in other cases and spaces
        i = draw.randrange(len(distinct))
        text = draw.choice((str.upper, str.lower, str.title))(distinct[i])
        inputs.append((text.replace(" ", draw.choice((" ", "  ", "\t"))),))
        answers.append(truth[i])
    fitted = rung.train(inputs, answers)
    # 250 coin flips: 0.5 with a standard deviation of 0.032.
    assert abs(fitted.agrees.mean() - 0.5) < 0.13
    # Nor can confidence tell which flips fell right.
    order = np.argsort(-fitted.confidence)
    surest = fitted.agrees[order[: len(order) // 5]].mean()
    assert surest < fitted.agrees.mean() + 0.17


def check_one_answer(rung: Rung) -> None:
    inputs = [(f"{a} {b}",) for a in WORDS[:6] for b in WORDS[6:9]]
    student = rung.train(inputs, ["only"] * len(inputs)).student
    assert student.answers == ("only",)
    assert student.answer(inputs).texts == ["only"] * len(inputs)
    if rung.encoder is None:
        assert student.answer([("",), ("!!",)]).confidence.tolist() == [0, 0]


def check_two_answers(rung: Rung) -> None:
    inputs, answers = traffic(100, 2)
    student = rung.train(inputs, answers).student
    assert student.answers == ("answer 0", "answer 1")
    assert student.answer(inputs).texts == answers


def check_hundreds_of_answers(rung: Rung) -> None:
    inputs, answers = traffic(900, 200)
    fitted = rung.train(inputs, answers)
    assert len(fitted.student.answers) == 200
    assert_well_formed(fitted.student, fitted.student.answer(inputs), len(inputs))


def check_tiny_data(rung: Rung) -> None:
    for n in (2, 5, 20):
        inputs = [(f"{WORDS[i]} {WORDS[-i]}",) for i in range(1, n + 1)]
        for answers in (["same"] * n, ["one" if i % 2 else "two" for i in range(n)]):
            if rung.learns and max(map(answers.count, answers)) < 2:
                continue
            fitted = rung.train(inputs, answers)
            given = fitted.student.answer([*inputs, *HOSTILE])
            assert_well_formed(fitted.student, given, n + len(HOSTILE))
            assert set(fitted.rows) <= set(range(n))


def check_all_answers_distinct(rung: Rung) -> None:
    inputs = [(word,) for word in WORDS[:10]]
    answers = [f"answer {i}" for i in range(10)]
    if not rung.learns:
        assert rung.train(inputs, answers).student.answer(inputs).texts == answers
        return
    for case in ((inputs, answers), ([("same",)] * 4, ["a"] * 4), ([], [])):
        with pytest.raises(ValueError, match="nothing to learn"):
            rung.train(*case)


def check_contradictions(rung: Rung) -> None:
    inputs, answers = traffic(100, 3)
    torn = ("topic0 kind0 topic1 kind1",)
    student = rung.train([*inputs, *[torn] * 6], [*answers, *["answer 0", "answer 1"] * 3]).student
    text, confidence = student.answer_one(torn)
    if rung.learns:
        assert text in {"answer 0", "answer 1"}
        assert confidence < np.quantile(student.answer(inputs).confidence, 0.9)
    else:
        assert (text, confidence) == ("", 0.0)


def check_repeats_weigh(rung: Rung) -> None:
    """Ten exchanges say more than one, whether a memory counts them or a model weighs them."""
    inputs, answers = traffic(60, 3)
    often, once = ("zug zeg",), ("zug zog",)
    student = rung.train(
        [*inputs, *[often] * 30, ("zug zig",), once],
        [*answers, *["answer 0"] * 30, "answer 1", "answer 1"],
    ).student
    assert student.answer_one(often)[0] == "answer 0"
    if not rung.learns:
        assert student.answer_one(often)[1] > student.answer_one(once)[1]


def check_rare_answers(rung: Rung) -> None:
    inputs, answers = traffic(100, 3)
    rare = ("a thing that came three times",)
    fitted = rung.train([*inputs, rare, rare, rare], [*answers, *["rare"] * 3])
    assert ("rare" in fitted.student.answers) == (not rung.learns)
    if rung.learns:  # it still counts as a disagreement, since it will in traffic
        assert not fitted.agrees[fitted.rows == len(inputs)].any()


CHECKS: list[Callable[[Rung], None]] = [
    check_probabilities,
    check_predictions,
    check_batch_equals_one_by_one,
    check_deterministic,
    check_saves_and_loads,
    check_hostile_inputs,
    check_unknown_answers,
    check_threads,
    check_out_of_fold,
    check_no_leakage,
    check_one_answer,
    check_two_answers,
    check_hundreds_of_answers,
    check_tiny_data,
    check_all_answers_distinct,
    check_contradictions,
    check_repeats_weigh,
    check_rare_answers,
]


def check_student(rung: Rung) -> None:
    """Run every check."""
    for check in CHECKS:
        check(rung)
