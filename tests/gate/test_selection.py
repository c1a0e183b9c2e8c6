import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from openwheel.gate import fallback, spent


def test_all_attempts_ever_made_spend_delta():
    shares = [spent(0.05, attempt) for attempt in range(1, 200_001)]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) < 0.05
    assert sum(shares) == pytest.approx(0.05, rel=1e-5)


@pytest.mark.parametrize("attempt", [0, -1])
def test_attempts_count_from_one(attempt):
    with pytest.raises(ValueError, match="attempt must be at least 1"):
        spent(0.05, attempt)


@pytest.mark.parametrize("weights", [[0.6, 0.6], [-0.1, 0.5]])
def test_weights_share_out_no_more_than_delta(weights):
    with pytest.raises(ValueError, match="non-negative and sum to at most 1"):
        fallback(np.array([0.1, 0.1]), np.array(weights), 0.05)


def test_no_thresholds_reject_nothing():
    rejected, levels = fallback(np.array([]), np.array([]), 0.05)
    assert rejected.tolist() == levels.tolist() == []


def test_a_threshold_without_delta_never_passes():
    rejected, levels = fallback(np.zeros(2), np.array([0.0, 1.0]), 0.05)
    assert rejected.tolist() == [False, True]
    assert levels.tolist() == [0.0, 0.05]


def test_delta_goes_on_while_thresholds_pass_and_is_lost_where_one_fails():
    p_values = np.array([0.01, 0.9, 0.02, 0.03])
    rejected, levels = fallback(p_values, np.array([0.4, 0, 0.3, 0.3]), 0.1)
    assert rejected.tolist() == [True, False, True, True]
    np.testing.assert_allclose(levels, [0.04, 0.04, 0.03, 0.06])


def test_by_hand_and_by_rule_agree_on_all_small_cases():
    def by_rule(p_values, weights, delta):
        """A hypothesis has the weights of the unbroken run of rejections before it, and its own."""
        found = []
        for i in range(len(p_values)):
            start = i
            while start > 0 and found[start - 1]:
                start -= 1
            level = delta * sum(weights[start : i + 1])
            found.append(bool(level > 0 and p_values[i] <= level))
        return found

    shares = (0.0, 0.25, 0.5)
    for weights in itertools.product(shares, repeat=4):
        if sum(weights) <= 1:
            for p_values in itertools.product((0.01, 0.03, 0.06, 0.2), repeat=4):
                found, _ = fallback(np.array(p_values), np.array(weights), 0.1)
                assert found.tolist() == by_rule(p_values, weights, 0.1)


p_value_lists = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@settings(deadline=None)
@given(p_value_lists, st.randoms(use_true_random=False))
def test_smaller_p_values_never_pass_less(p_values, random):
    weights = np.array([random.random() + 0.01 for _ in p_values])
    weights /= weights.sum()
    smaller = np.array(p_values) * random.random()
    before, _ = fallback(np.array(p_values), weights, 0.2)
    after, _ = fallback(smaller, weights, 0.2)
    assert (after >= before).all()


def dependent_p_values(rng, draws, hypotheses, dependence):
    """P-values that depend on each other, each uniform: every null hypothesis is true."""
    own = rng.standard_normal((draws, hypotheses))
    if dependence == "nested":  # means over ever more of the same exchanges, as thresholds are
        sums = np.cumsum(own, axis=1)
        return stats.norm.cdf(sums / np.sqrt(np.arange(1, hypotheses + 1)))
    if dependence == "disjoint":  # at most one is small: the most that dependence can do
        start = rng.random((draws, 1))
        return (start + np.arange(hypotheses) / hypotheses) % 1
    shared = rng.standard_normal((draws, 1))
    weight = {"independent": 0.0, "equal": 1.0, "correlated": 0.8}[dependence]
    return stats.norm.cdf(weight * shared + np.sqrt(1 - weight**2) * own)


@pytest.mark.parametrize("dependence", ["independent", "correlated", "equal", "nested", "disjoint"])
@pytest.mark.parametrize("starts", ["one", "even", "mixed"])
def test_false_rejections_stay_within_delta_whatever_the_dependence(dependence, starts):
    hypotheses, delta, draws = 10, 0.1, 4_000
    weights = {
        "one": np.eye(hypotheses)[3],
        "even": np.full(hypotheses, 1 / hypotheses),
        "mixed": 0.8 * np.eye(hypotheses)[6] + 0.2 / hypotheses,
    }[starts]
    rng = np.random.default_rng(11)
    p_values = dependent_p_values(rng, draws, hypotheses, dependence)
    false = sum(bool(fallback(row, weights, delta)[0].any()) for row in p_values)
    assert stats.binom.sf(false - 1, draws, delta) > 1e-4
    if (dependence, starts) == ("disjoint", "even"):
        assert false / draws > 0.08  # all of delta is used there, so the limit is tight


def test_false_rejections_stay_within_delta_after_true_ones():
    """Six thresholds that keep epsilon pass on what they have to the four that do not."""
    rng = np.random.default_rng(3)
    p_values = dependent_p_values(rng, 4_000, 10, "nested")
    p_values[:, :6] = 0.0
    false = sum(bool(fallback(row, np.full(10, 0.1), 0.1)[0][6:].any()) for row in p_values)
    assert stats.binom.sf(false - 1, 4_000, 0.1) > 1e-4
    assert false > 4_000 * 0.05
