import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from openwheel.gate import (
    anytime_p_value,
    binomial_p_value,
    bounded_anytime_p_value,
    in_steps,
    mean_bound,
    one_look_p_value,
    upper_bound,
)
from openwheel.gate.betting import (
    AIM,
    BOLDEST,
    SHARES,
    SPREADS,
    STEPS,
    as_counts,
    one_look_binary_p_value,
    weighed_anytime_p_value,
)
from openwheel.gate.bounds import anytime_upper_bound

TESTS = (one_look_p_value, bounded_anytime_p_value)


def counted(*losses):
    return np.bincount(in_steps(np.array(losses, float)), minlength=STEPS + 1)


limits = st.floats(0.005, 0.6)
levels = st.floats(1e-4, 0.3)
loss_lists = st.lists(st.sampled_from([0.0, 0.0, 0.001, 0.25, 0.5, 0.999, 1.0]), max_size=300)


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize("n", [1, 2, 5, 9])
@pytest.mark.parametrize(
    "epsilon_and_losses",
    [(0.05, (0, 0.5, 1)), (0.3, (0, 0.5, 1)), (0.3, (0, 0.1, 0.7)), (0.6, (0.2, 0.5, 1))],
)
def test_p_values_are_super_uniform_by_counting_all_outcomes(test, n, epsilon_and_losses):
    """Over all distributions on a grid whose mean is the limit or above: the worst there can be."""
    epsilon, values = epsilon_and_losses
    outcomes = [c for c in itertools.product(range(n + 1), repeat=3) if sum(c) == n]
    counts = np.zeros((len(outcomes), STEPS + 1), np.int64)
    counts[:, in_steps(np.array(values))] = outcomes
    p_values = test(counts, epsilon)
    order = np.argsort(p_values)
    grid = np.linspace(0, 1, 41)
    tried = 0
    for second, third in itertools.product(grid, grid):
        chances = np.array([1 - second - third, second, third])
        if chances[0] < -1e-12 or chances @ values < epsilon - 1e-12:
            continue
        tried += 1
        likely = stats.multinomial.pmf(outcomes, n, np.clip(chances, 0, 1))
        cumulated = np.cumsum(likely[order])
        # At the last of equal p-values the sum holds all of them.
        assert (cumulated <= p_values[order] + 1e-9).all()
    assert tried > 100


@pytest.mark.parametrize("epsilon", [0.02, 0.05, 0.4])
@pytest.mark.parametrize("losses", [(1.0,), (0.5,), (0.0, 1.0), (0.0, 0.5, 1.0), (0.1, 0.9)])
def test_wealth_does_not_grow_on_average_from_any_state(epsilon, losses):
    """One more answer, whose mean loss is just the limit: a supermartingale, state by state."""
    values = np.array(losses)
    if values.max() < epsilon or values.min() > epsilon:
        values = np.append(values, 0.0)
    # Two values, mixed so that the mean is the limit.
    low, high = values.min(), values.max()
    chance = (epsilon - low) / (high - low)
    rng = np.random.default_rng(3)
    readable = 0
    for n in (20, 60, 150, 400):
        for _ in range(5):
            now = counted(
                *rng.choice([0.0, 0.5, 1.0], n, p=[1 - epsilon / 2, epsilon / 4, epsilon / 4])
            )
            after = [now + counted(loss) for loss in (low, high)]
            before, *then = (float(bounded_anytime_p_value(c, epsilon)) for c in (now, *after))
            if max(before, *then) < 1:
                readable += 1
                assert ((1 - chance) / then[0] + chance / then[1]) * before <= 1 + 1e-9
    assert readable > 3 or epsilon < 0.05


@settings(deadline=None)
@given(st.integers(0, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), limits)
def test_with_losses_of_0_and_1_looking_at_any_time_is_the_test_there_was(pair, epsilon):
    counts = as_counts(pair[1], pair[0], ())
    expected = float(anytime_p_value(*pair, epsilon))
    assert float(bounded_anytime_p_value(counts, epsilon)) == pytest.approx(expected, rel=1e-6)
    expected = float(anytime_p_value(*pair, epsilon, rate=0.03))
    found = float(bounded_anytime_p_value(counts, epsilon, rate=0.03))
    assert found == pytest.approx(expected, rel=1e-6)
    binary = float(one_look_binary_p_value(*pair, epsilon))
    assert float(one_look_p_value(counts, epsilon)) == pytest.approx(binary, rel=1e-9)


def test_the_bound_at_any_time_is_the_one_there_was():
    for k, n in [(0, 50), (3, 200), (40, 1_000)]:
        found = mean_bound(bounded_anytime_p_value, as_counts(n, k, ()), 0.03)
        assert found == pytest.approx(anytime_upper_bound(k, n, 0.03), rel=1e-6)


def test_the_wealth_is_that_of_the_stakes_it_says():
    losses = np.array([0.0] * 80 + [0.5] * 3 + [1.0] * 2 + [0.125])
    epsilon = 0.2

    def wealth(stake):
        return float(np.prod(1 + stake * (epsilon - losses)))

    even = integrate.quad(wealth, 0, 1 / (1 - epsilon), epsabs=0, limit=200)[0] * (1 - epsilon)
    found = float(bounded_anytime_p_value(counted(*losses), epsilon))
    assert found == pytest.approx(1 / even, rel=1e-6)
    best = math.sqrt(2 * math.log(1 / AIM) / len(losses))
    stakes = [
        min(best / math.sqrt(epsilon * (1 - epsilon) * spread), BOLDEST / (1 - epsilon))
        for spread in SPREADS
    ]
    mixed = sum(share * wealth(stake) for share, stake in zip(SHARES, stakes, strict=True))
    assert float(one_look_p_value(counted(*losses), epsilon)) == pytest.approx(1 / mixed, rel=1e-9)
    assert sum(SHARES) == pytest.approx(1)


@pytest.mark.parametrize("test", TESTS)
def test_no_answers_are_no_evidence(test):
    nothing = np.zeros(STEPS + 1, np.int64)
    assert float(test(nothing, 0.05)) == 1.0
    assert mean_bound(test, nothing, 0.05) == 1.0
    assert test(np.zeros((3, STEPS + 1), np.int64), 0.05) == pytest.approx(1.0)


@pytest.mark.parametrize("test", TESTS)
def test_nothing_but_loss_is_no_evidence(test):
    for n in (1, 50, 5_000):
        counts = as_counts(n, n, ())
        assert float(test(counts, 0.05)) == 1.0
        assert mean_bound(test, counts, 0.05) == 1.0


@pytest.mark.parametrize("test", TESTS)
@settings(deadline=None)
@given(loss_lists, limits)
def test_more_loss_is_less_evidence_and_agreement_more(test, losses, epsilon):
    now = float(test(counted(*losses), epsilon))
    assert 0 <= now <= 1
    if losses:
        worse = [*losses[1:], min(1.0, losses[0] + 0.3)]
        assert float(test(counted(*worse), epsilon)) >= now * (1 - 1e-9)


@pytest.mark.parametrize("test", TESTS)
@settings(deadline=None)
@given(loss_lists, limits, st.floats(1.001, 1.5))
def test_a_laxer_limit_is_easier_to_keep(test, losses, epsilon, factor):
    counts = counted(*losses)
    assert test(counts, epsilon * factor) <= test(counts, epsilon) * (1 + 1e-9)


@pytest.mark.parametrize("test", TESTS)
@settings(deadline=None, max_examples=50)
@given(loss_lists, levels, limits)
def test_the_bound_is_at_most_epsilon_exactly_when_the_test_passes(test, losses, alpha, epsilon):
    counts = counted(*losses)
    found, p_value = mean_bound(test, counts, alpha), float(test(counts, epsilon))
    if abs(p_value - alpha) > 1e-9 * alpha:
        assert (found <= epsilon) == (p_value <= alpha)
    if losses:
        assert found >= float(np.mean(losses))


def test_losses_that_vary_little_are_found_out_sooner_than_as_yes_and_no():
    """Halves have half the variance of as much loss in ones."""
    for n, loss in ((1_000, 34), (5_000, 205)):
        halves, ones = counted(*[0.5] * 2 * loss, *[0.0] * (n - 2 * loss)), as_counts(n, loss, ())
        for test in TESTS:
            assert mean_bound(test, halves, 0.03) < mean_bound(test, ones, 0.03)
    tenths = counted(*[0.1] * 400, *[0.0] * 600)
    assert mean_bound(one_look_p_value, tenths, 0.03) < upper_bound(40, 1_000, 0.03)


def test_what_betting_costs_where_losses_are_0_and_1():
    """docs/gate.md: of the disagreements that the binomial test allows, betting allows so many."""
    for n, least in ((200, 0.5), (1_000, 0.85), (10_000, 0.95)):
        k = np.arange(n // 10)
        allowed = [
            int(np.flatnonzero(p <= 0.03)[-1])
            for p in (binomial_p_value(k, n, 0.05), one_look_binary_p_value(k, n, 0.05))
        ]
        assert least * allowed[0] <= allowed[1] < allowed[0]


def test_halves_just_above_the_limit_hardly_ever_pass():
    rng = np.random.default_rng(5)
    n, draws, alpha, epsilon = 800, 1_500, 0.1, 0.05
    losses = rng.choice([0.0, 0.5, 1.0], (draws, n), p=[1 - 0.076, 0.05, 0.026])
    counts = np.stack([(losses == v).sum(1) for v in (0.0, 0.5, 1.0)], axis=1)
    full = np.zeros((draws, STEPS + 1), np.int64)
    full[:, [0, 500, 1000]] = counts
    false = int((one_look_p_value(full, epsilon) <= alpha).sum())
    assert stats.binom.sf(false - 1, draws, alpha) > 1e-4
    assert false > 0


def test_losses_are_rounded_up_and_never_guessed():
    assert in_steps(np.array([0.0004, 0.1 + 0.2, 2 / 3, 0.9999])).tolist() == [1, 300, 667, 1000]
    for wrong in (-0.01, 1.01, math.nan, math.inf):
        with pytest.raises(ValueError, match="a loss must be a number from 0 to 1"):
            in_steps(np.array([0.5, wrong]))
    with pytest.raises(TypeError, match="booleans"):
        in_steps(np.array([True, False]))


@pytest.mark.parametrize("share", [0.02, 0.3, 1.0])
@pytest.mark.parametrize("deferred", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("wrong_deferred", [0.0, 0.05, 0.055])
def test_weighed_wealth_does_not_grow_on_average(share, deferred, wrong_deferred):
    """One more request, deferred or not: seen for certain at the audit's share, or with it."""
    epsilon = 0.05
    wrong = (epsilon - deferred * wrong_deferred) / (1 - deferred)  # together just the limit
    weights, steps = np.array([1.0, 1.0, share, share]), np.array([0, STEPS, 0, STEPS])
    chances = [
        (1 - deferred) * share * (1 - wrong),
        (1 - deferred) * share * wrong,
        deferred * (1 - wrong_deferred),
        deferred * wrong_deferred,
    ]
    for before in ((0, 0, 0, 0), (300, 2, 500, 9), (5, 3, 0, 0), (0, 0, 4_000, 10)):
        for rate in (0.0, 0.02):
            now = weighed_anytime_p_value(before, weights, steps, epsilon, rate)
            later = [
                weighed_anytime_p_value(np.add(before, one), weights, steps, epsilon, rate)
                for one in np.eye(4)
            ]
            if now == 1 or max(later) == 1:  # at most 1: the wealth is not to be read off
                continue
            grown = np.dot(chances, 1 / np.array(later)) + (1 - sum(chances)) / now
            assert grown <= 1 / now * (1 + 1e-9)


def test_weights_of_one_change_nothing():
    counts = counted(*[0.0] * 300, 0.5, *[1.0] * 4)
    steps = np.flatnonzero(counts)
    for rate in (0.0, 0.01):
        weighed = weighed_anytime_p_value(counts[steps], np.ones(len(steps)), steps, 0.05, rate)
        assert weighed == pytest.approx(bounded_anytime_p_value(counts, 0.05, rate))
