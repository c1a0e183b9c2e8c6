import numpy as np
import pytest

from openwheel.students.agreement import (
    fit_agreement,
    fit_precision,
    out_of_fold_confidence,
    score_evidence,
)


def area_under_roc(confidence, agrees):
    """The chance that a right answer is surer than a wrong one."""
    right, wrong = confidence[agrees], confidence[~agrees]
    above = (right[:, None] > wrong).mean()
    return above + (right[:, None] == wrong).mean() / 2


def test_score_evidence_of_known_scores():
    labels, features = score_evidence(np.array([[0.1, 0.9, 0.4, -1.0, 0.2, 0.0]]))
    assert labels.tolist() == [1]
    assert features[0, :4] == pytest.approx([0.9, 0.5, 0.7, 0.9])
    exponentials = np.exp(3 * np.array([0.1, 0.9, 0.4, -1.0, 0.2, 0.0]))
    shares = exponentials / exponentials.sum()
    assert features[0, 4] == pytest.approx(-(shares * np.log(shares)).sum())
    assert features[0, 5] == pytest.approx(shares.max())
    assert features[0, 6] == pytest.approx(np.log(1 - shares.max()))


@pytest.mark.parametrize("answers", [1, 2, 3, 1_000])
def test_score_evidence_of_any_number_of_answers(answers):
    _, features = score_evidence(np.random.default_rng(0).normal(size=(4, answers)))
    assert features.shape == (4, 7)
    assert np.isfinite(features).all()
    assert score_evidence(np.zeros((0, answers)))[1].shape == (0, 7)


def test_ranks_better_than_chance():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(3_000, 6)) * [1, 5, 100, 1, 0.01, 1]
    logit = features[:, 0] + features[:, 1] / 5
    agrees = rng.random(3_000) < 1 / (1 + np.exp(-logit))
    model = fit_agreement(features[:2_000], agrees[:2_000])
    confidence = model.confidence(features[2_000:])
    assert area_under_roc(confidence, agrees[2_000:]) > 0.75
    # And means what it says.
    assert abs(confidence.mean() - agrees[2_000:].mean()) < 0.04


def test_agreement_may_be_a_matter_of_degree():
    features = np.column_stack((np.zeros(400), np.repeat([0.0, 1.0], 200), np.zeros((400, 3))))
    agreement = np.repeat([0.3, 0.8], 200)
    model = fit_agreement(features, agreement)
    assert model.confidence(features[[0, 399]]) == pytest.approx([0.3, 0.8], abs=0.02)


def test_coin_flips_give_no_confidence_to_rank_by():
    draw = np.random.default_rng(1)
    features = draw.normal(size=(200, 5))
    agrees = draw.random(200) < 0.5
    confidence = out_of_fold_confidence(features, agrees, np.arange(200) % 5)
    surest = np.argsort(-confidence)[:50]
    assert abs(agrees[surest].mean() - agrees.mean()) < 0.17


@pytest.mark.parametrize(("outcome", "near"), [(True, 0.95), (False, 0.05)])
def test_where_all_agree_or_none_does(outcome, near):
    features = np.random.default_rng(0).normal(size=(20, 5))
    model = fit_agreement(features, np.full(20, outcome))
    confidence = model.confidence(features)
    assert abs(np.median(confidence) - near) < 0.05
    assert np.array_equal(np.argsort(confidence), np.argsort(features[:, 1]))


def test_constant_features_and_none_at_all():
    constant = fit_agreement(np.ones((10, 5)), np.arange(10) % 2 == 0)
    assert constant.confidence(np.full((1, 5), 9.0)) == pytest.approx([0.5])
    nothing = fit_agreement(np.zeros((0, 5)), np.zeros(0, np.bool_))
    assert nothing.confidence(np.ones((1, 5)))[0] < 0.1


def test_precision_is_pulled_to_the_mean():
    labels = np.array([0] * 100 + [1])
    agrees = np.array([True] * 90 + [False] * 11)
    precision, _ = fit_precision(labels, agrees, np.array([100, 1, 7]), np.arange(101) % 5)
    shares = 1 / (1 + np.exp(-precision.log_odds))
    mean = 90 / 101
    assert shares == pytest.approx([(90 + 5 * mean) / 105, 5 * mean / 6, mean])
    assert precision.features(np.array([2])).tolist() == [[precision.log_odds[2], np.log1p(7)]]


def test_precision_features_do_not_know_their_own_outcome():
    rng = np.random.default_rng(0)
    labels, agrees = rng.integers(0, 2, 2_000), rng.random(2_000) < 0.5
    folds = rng.integers(0, 5, 2_000)
    _, own = fit_precision(labels, agrees, np.array([1_000, 1_000]), folds)
    changed = agrees.copy()
    changed[7] = not changed[7]
    _, other = fit_precision(labels, changed, np.array([1_000, 1_000]), folds)
    np.testing.assert_array_equal(own[folds == folds[7]], other[folds == folds[7]])
    # Coin flips cannot be told apart; with each row left out alone this was 0.99.
    confidence = out_of_fold_confidence(own, agrees, folds)
    assert area_under_roc(confidence, agrees) < 0.55
