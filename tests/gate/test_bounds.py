import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from openwheel.gate import (
    anytime_p_value,
    binomial_p_value,
    clopper_pearson,
    upper_bound,
)
from openwheel.gate.bounds import anytime_upper_bound

EXPECTED = 0.02


def expecting(k, n, epsilon):
    return anytime_p_value(k, n, epsilon, rate=EXPECTED)


def expecting_bound(k, n, alpha):
    return anytime_upper_bound(k, n, alpha, rate=EXPECTED)


P_VALUES = (binomial_p_value, anytime_p_value, expecting)
BOUNDS = (upper_bound, anytime_upper_bound, expecting_bound)

counts = st.integers(0, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
limits = st.floats(0.001, 0.6)
levels = st.floats(1e-4, 0.3)


@pytest.mark.parametrize("epsilon", [1e-6, 0.01, 0.05, 0.5, 0.99])
def test_the_binomial_p_value_is_that_of_scipy(epsilon):
    k, n = np.meshgrid(np.arange(40), np.array([40, 200, 5_000, 100_000]))
    expected = stats.binom.cdf(k, n, epsilon)
    np.testing.assert_allclose(binomial_p_value(k, n, epsilon), expected, rtol=1e-9, atol=1e-250)


def test_the_binomial_p_value_is_the_sum_over_all_outcomes():
    epsilon, n = 0.3, 10
    chance = [0.0] * (n + 1)
    for outcome in range(2**n):
        k = outcome.bit_count()
        chance[k] += epsilon**k * (1 - epsilon) ** (n - k)
    found = binomial_p_value(np.arange(n + 1), n, epsilon)
    np.testing.assert_allclose(found, np.cumsum(chance), rtol=1e-12)


@pytest.mark.parametrize(("k", "n", "epsilon"), [(0, 30, 0.1), (3, 100, 0.05), (9, 60, 0.05)])
def test_the_wealth_is_the_mean_likelihood_ratio(k, n, epsilon):
    def ratio(q):
        return (q / epsilon) ** k * ((1 - q) / (1 - epsilon)) ** (n - k)

    below = integrate.quad(ratio, 0, epsilon)[0] / epsilon
    assert float(anytime_p_value(k, n, epsilon)) == pytest.approx(min(1, 1 / below))


@pytest.mark.parametrize("epsilon", [0.01, 0.05, 0.4])
@pytest.mark.parametrize("rate", [0, 0.001, 0.02, 0.2])
def test_wealth_does_not_grow_on_average_from_any_state(epsilon, rate):
    """One more answer, at the limit or on the wrong side of it: a supermartingale, state by state.

    Wealth is not clipped at 1 as the p-value is, so only states with p-values below 1 can be read.
    """
    k, n = np.array([(k, n) for n in range(1, 300) for k in range(min(n, 59) + 1)]).T
    true = epsilon + rate
    for test in (anytime_p_value, expecting):
        now, right, wrong = (
            test(k, n, epsilon),
            test(k, n + 1, epsilon),
            test(k + 1, n + 1, epsilon),
        )
        readable = (now < 1) & (right < 1) & (wrong < 1)
        assert readable.sum() > 20
        growth = (true / wrong + (1 - true) / right) * now
        assert growth[readable].max() <= 1 + 1e-9
        if rate == 0:
            assert growth[readable].min() >= 1 - 1e-9


@pytest.mark.parametrize(
    ("test", "rate"),
    [
        (anytime_p_value, 0.05),
        (anytime_p_value, 0.052),
        (expecting, 0.05),
    ],
)
@pytest.mark.parametrize("draws", [400, pytest.param(1_200, marks=pytest.mark.evidence)])
def test_looking_after_every_answer_crosses_alpha_rarely_enough(test, rate, draws):
    rng = np.random.default_rng(7)
    wrong = np.cumsum(rng.random((draws, 1_500)) < rate, axis=1)
    lowest = test(wrong, np.arange(1, 1_501), 0.05).min(axis=1)
    for alpha in (0.3, 0.1, 0.05):
        crossed = int((lowest <= alpha).sum())
        assert stats.binom.sf(crossed - 1, len(lowest), alpha) > 1e-4
    assert (lowest <= 0.3).any()  # it does bet: the simulation could have failed


def test_looking_again_and_again_at_the_binomial_test_would_cross_it_too_often():
    rng = np.random.default_rng(7)
    wrong = np.cumsum(rng.random((1_000, 2_000)) < 0.05, axis=1)
    lowest = binomial_p_value(wrong, np.arange(1, 2_001), 0.05).min(axis=1)
    assert (lowest <= 0.05).mean() > 0.15


def test_an_evidently_good_rate_is_found_out():
    rng = np.random.default_rng(1)
    n = np.arange(1, 3_001)
    good = np.cumsum(rng.random((60, 3_000)) < 0.02, axis=1)
    assert (anytime_p_value(good, n, 0.05).min(axis=1) <= 0.01).mean() > 0.95


@pytest.mark.parametrize("test", P_VALUES)
def test_no_answers_are_no_evidence(test):
    assert float(test(0, 0, 0.05)) == 1.0


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("n", [0, 1, 50, 10_000])
def test_the_bound_is_vacuous_where_nothing_agreed(bound, n):
    assert bound(n, n, 0.05) == 1.0


@pytest.mark.parametrize("n", [1, 50, 10_000])
def test_nothing_but_disagreement_is_no_evidence_for_a_student(n):
    assert float(binomial_p_value(n, n, 0.05)) == pytest.approx(1.0)
    assert float(anytime_p_value(n, n, 0.05)) == 1.0


@pytest.mark.parametrize("epsilon", [1e-12, 1e-6, 1 - 1e-9])
def test_limits_near_the_ends_give_numbers(epsilon):
    k, n = np.array([0, 0, 1, 5, 1_000, 0]), np.array([0, 1_000, 1, 1_000, 1_000, 10**7])
    for test in P_VALUES:
        found = test(k, n, epsilon)
        assert np.isfinite(found).all()
        assert ((found >= 0) & (found <= 1 + 1e-12)).all()


@settings(deadline=None)
@given(counts, limits, levels)
def test_p_values_and_bounds_are_numbers_between_0_and_1(pair, epsilon, alpha):
    found = [float(test(*pair, epsilon)) for test in P_VALUES]
    found += [bound(*pair, alpha) for bound in BOUNDS]
    assert all(0 <= value <= 1 + 1e-12 for value in found)


@settings(deadline=None)
@given(counts, limits)
def test_more_disagreement_is_less_evidence(pair, epsilon):
    k, n = pair
    if k < n:
        assert binomial_p_value(k, n, epsilon) <= binomial_p_value(k + 1, n, epsilon)
        assert anytime_p_value(k, n, epsilon) <= anytime_p_value(k + 1, n, epsilon)
        assert expecting(k, n, epsilon) <= expecting(k + 1, n, epsilon)


@settings(deadline=None)
@given(counts, limits)
def test_another_agreement_is_more_evidence(pair, epsilon):
    k, n = pair
    assert binomial_p_value(k, n + 1, epsilon) <= binomial_p_value(k, n, epsilon)
    assert anytime_p_value(k, n + 1, epsilon) <= anytime_p_value(k, n, epsilon) * (1 + 1e-9)


@settings(deadline=None)
@given(counts, limits, st.floats(1.001, 1.5))
def test_a_laxer_limit_is_easier_to_keep(pair, epsilon, factor):
    for test in (binomial_p_value, anytime_p_value, expecting):
        assert test(*pair, epsilon * factor) <= test(*pair, epsilon) * (1 + 1e-9)


@settings(deadline=None)
@given(counts, levels, limits)
def test_the_bound_is_at_most_epsilon_exactly_when_the_test_passes(pair, alpha, epsilon):
    for test, bound in zip(P_VALUES, BOUNDS, strict=False):
        found, p_value = bound(*pair, alpha), float(test(*pair, epsilon))
        if abs(p_value - alpha) > 1e-9 * alpha:  # beyond rounding
            assert (found <= epsilon) == (p_value <= alpha)


@settings(deadline=None)
@given(counts, levels)
def test_looking_at_any_time_costs_width(pair, alpha):
    assert anytime_upper_bound(*pair, alpha) >= upper_bound(*pair, alpha) - 1e-12


def test_a_rate_that_was_expected_is_found_sooner_and_costs_little_where_it_was_wrong():
    n = np.arange(1, 3_001)
    level = 0.01

    def first(test, rate):
        wrong = np.cumsum(np.random.default_rng(3).random((200, 3_000)) < rate, axis=1)
        passed = test(wrong, n, 0.05) <= level
        return np.median(np.where(passed.any(1), passed.argmax(1), 3_000))

    assert first(expecting, EXPECTED) < 0.95 * first(anytime_p_value, EXPECTED)
    # At worst half of the wealth is lost.
    k, n = np.arange(200)[:, None], np.arange(200, 3_001)
    assert (expecting(k, n, 0.05) <= 2 * anytime_p_value(k, n, 0.05) * (1 + 1e-9)).all()


def test_bounds_are_wrong_as_often_as_they_may_be():
    n, alpha = 120, 0.1
    bounds = np.array([upper_bound(k, n, alpha) for k in range(n + 1)])
    for rate in (0.01, 0.05, 0.3):
        missed = stats.binom.pmf(np.arange(n + 1), n, rate)[bounds < rate].sum()
        assert missed <= alpha


@pytest.mark.parametrize(("k", "n"), [(0, 10), (2, 200), (10, 10), (7, 9)])
def test_the_interval_is_that_of_scipy(k, n):
    expected = stats.binomtest(k, n).proportion_ci(0.9, method="exact")
    assert clopper_pearson(k, n, 0.9) == pytest.approx((expected.low, expected.high))


def test_the_interval_of_nothing_is_everything():
    assert clopper_pearson(0, 0) == (0.0, 1.0)
