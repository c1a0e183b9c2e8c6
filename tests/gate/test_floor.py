import numpy as np
import pytest

from openwheel.gate import least_confidence, make_plan

TERMS = {"epsilon": 0.05, "delta": 0.03, "calibration": 1_000}


def test_it_finds_where_answers_become_too_often_wrong():
    rng = np.random.default_rng(0)
    confidence = rng.random(20_000)
    losses = (rng.random(20_000) < 1 - confidence).astype(float)
    # At a confidence of 0.7 three in ten are wrong; the mean above it is 15%.
    assert least_confidence(confidence, losses, 0.3) == pytest.approx(0.7, abs=0.05)
    assert least_confidence(confidence, losses, 0.1) == pytest.approx(0.9, abs=0.05)


def test_confidence_is_a_rank_and_no_probability():
    rng = np.random.default_rng(0)
    confidence = rng.random(5_000)
    losses = (rng.random(5_000) < 1 - confidence).astype(float)
    floor = least_confidence(confidence, losses, 0.3)
    assert least_confidence(confidence**4, losses, 0.3) == pytest.approx(floor**4)


def test_losses_between_0_and_1_count_by_their_mean():
    confidence = np.repeat([0.3, 0.6, 0.9], 100)
    losses = np.repeat([0.5, 0.25, 0.0], 100)
    assert least_confidence(confidence, losses, 0.3) == 0.6


def test_equal_confidences_are_answered_together():
    confidence = np.array([0.5] * 10 + [0.9] * 10)
    losses = np.array([0.0] * 5 + [1.0] * 5 + [0.0] * 10)
    assert least_confidence(confidence, losses, 0.3) == 0.9
    assert least_confidence(confidence, losses, 0.5) == 0.0


@pytest.mark.parametrize("confidence", [[], [0.0, 0.0]], ids=["no rows", "never answered"])
def test_without_answers_there_is_no_floor(confidence):
    assert least_confidence(np.array(confidence), np.zeros(len(confidence)), 0.3) == 0.0


def test_what_is_never_answered_says_nothing_of_the_rest():
    confidence = np.array([0.0] * 50 + [0.5] * 50)
    assert least_confidence(confidence, np.repeat([1.0, 0.0], 50), 0.3) == 0.0


def test_where_all_are_wrong_nothing_is_answered():
    confidence = np.linspace(0.5, 1, 100)
    floor = least_confidence(confidence, np.ones(100), 0.3)
    plan = make_plan(confidence, np.ones(100), **TERMS, floor=floor)
    assert plan.thresholds == ()
    assert plan.floor == floor
