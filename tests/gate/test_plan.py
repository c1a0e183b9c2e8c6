import itertools
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from openwheel.gate import growth_needed, make_plan, predicted_coverage
from openwheel.gate.betting import STEPS as LOSS_STEPS
from openwheel.gate.betting import one_look_binary_p_value, one_look_p_value
from openwheel.gate.plan import AIMS, SPREAD, STARTS, STEPS, Plan, chance_to_pass

TERMS = {"epsilon": 0.05, "delta": 0.03, "calibration": 1_000}


def training(n=3_000, err=0.1, power=2.0, seed=0):
    rng = np.random.default_rng(seed)
    rank = rng.random(n)
    return 1 - rank, rng.random(n) >= err * (power + 1) * rank**power


def test_predictions_are_the_counts_at_each_threshold():
    confidence, agrees = training()
    plan = make_plan(confidence, 1.0 - agrees, **TERMS)
    assert len(plan.thresholds) == STEPS - 1  # the first would answer less than is worth a student
    for threshold, coverage, rate in zip(
        plan.thresholds, plan.coverage, plan.disagreement, strict=True
    ):
        answered = confidence >= threshold
        assert coverage == pytest.approx(answered.mean())
        assert rate == pytest.approx((~agrees[answered]).mean())
    assert plan.coverage[-1] == 1.0
    assert plan.training == len(confidence)


def test_delta_starts_where_training_is_sure_and_a_little_everywhere():
    confidence, agrees = training()
    plan = make_plan(confidence, 1.0 - agrees, **TERMS)
    weights = np.array(plan.weights)
    assert weights.sum() == pytest.approx(1)
    expected = np.zeros(len(weights))
    spread = np.linspace(0, len(weights) - 1, STARTS).round().astype(int)
    np.add.at(expected, spread, SPREAD / STARTS)
    starts = []
    for share, sure, worse in AIMS:
        passing = chance_to_pass(
            np.array(plan.coverage),
            worse * np.array(plan.disagreement),
            1_000,
            len(confidence),
            epsilon=0.05,
            level=share * 0.03,
        )
        starts.append(int(np.flatnonzero(passing >= sure)[-1]))
        expected[starts[-1]] += share
    assert weights == pytest.approx(expected)
    # The more training is distrusted, the stricter the start.
    assert starts == sorted(starts, reverse=True)
    assert starts[0] > starts[-1]


def test_where_nothing_is_sure_delta_starts_at_the_likeliest():
    confidence, agrees = training(err=0.2, power=0.5)
    plan = make_plan(confidence, 1.0 - agrees, epsilon=0.05, delta=0.03, calibration=100)
    assert sum(plan.weights) == pytest.approx(1)
    assert max(plan.weights) >= AIMS[0][0]
    assert predicted_coverage(plan, epsilon=0.05, delta=0.03, calibration=100) == 0.0


@pytest.mark.parametrize(
    "confidence", [[], [0.0], [0.0, -1.0, 0.0]], ids=["no rows", "one row", "three rows"]
)
def test_nothing_answerable_gives_a_plan_without_thresholds(confidence):
    plan = make_plan(np.array(confidence), np.zeros(len(confidence)), **TERMS)
    assert plan == Plan((), (), (), (), len(confidence))
    assert predicted_coverage(plan, **TERMS) == 0.0
    assert growth_needed(plan, **TERMS) is None


def test_equal_confidences_are_one_threshold():
    agrees = np.arange(100) >= 3
    plan = make_plan(np.full(100, 0.7), 1.0 - agrees, **TERMS)
    assert plan.thresholds == (0.7,)
    assert plan.weights == (1.0,)
    assert plan.coverage == (1.0,)
    assert plan.disagreement == (0.03,)


def test_what_is_never_answered_has_no_threshold():
    confidence = np.repeat([0.9, 0.5, 0.0], [10, 10, 80])
    plan = make_plan(confidence, np.zeros(100), **TERMS)
    assert plan.thresholds == (0.9, 0.5)
    assert plan.coverage == (0.1, 0.2)


def test_a_very_small_share_is_still_tried_if_there_is_no_more():
    confidence = np.r_[0.8, np.zeros(999)]
    plan = make_plan(confidence, np.zeros(1_000), **TERMS)
    assert plan.thresholds == (0.8,)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.1, 0.5, 0.5000001, 0.9, 1.0]), st.booleans()),
        max_size=60,
    ),
    st.sampled_from([1e-6, 0.01, 0.05, 0.5]),
    st.integers(1, 5_000),
)
def test_any_training_gives_a_plan_that_makes_sense(rows, epsilon, calibration):
    confidence = np.array([row[0] for row in rows])
    agrees = np.array([row[1] for row in rows], np.bool_)
    terms = {"epsilon": epsilon, "delta": 0.03, "calibration": calibration}
    plan = make_plan(confidence, 1.0 - agrees, **terms)
    assert all(high > low > 0 for high, low in itertools.pairwise((*plan.thresholds, 1e-9)))
    assert all(low < high for low, high in itertools.pairwise(plan.coverage))
    assert not plan.weights or sum(plan.weights) == pytest.approx(1)
    numbers = plan.thresholds + plan.weights + plan.coverage + plan.disagreement
    assert all(math.isfinite(number) and number >= 0 for number in numbers)
    assert 0 <= predicted_coverage(plan, **terms) <= 1
    needed = growth_needed(plan, **terms)
    assert needed is None or needed >= 1


def test_the_chance_to_pass_is_about_the_exact_one():
    """With unlimited training the prediction is the binomial's own, but for a normal curve."""
    coverage, rate = np.array([0.2, 0.5, 0.9]), np.array([0.01, 0.03, 0.047])
    found = chance_to_pass(coverage, rate, 2_000, 10**8, epsilon=0.05, level=0.03)
    answered = (coverage * 2_000).astype(int)
    for i, n in enumerate(answered):
        passing = stats.binom.cdf(np.arange(n + 1), n, 0.05) <= 0.03
        exact = stats.binom.pmf(np.arange(n + 1), n, rate[i])[passing].sum()
        assert found[i] == pytest.approx(exact, abs=0.02)


def test_no_chance_to_pass_where_even_no_disagreement_would_not():
    found = chance_to_pass(np.array([1.0]), np.array([0.0]), 50, 1_000, epsilon=0.05, level=0.03)
    assert found.tolist() == [0.0]


def test_more_calibration_is_predicted_to_cover_more():
    confidence, agrees = training()
    plan = make_plan(confidence, 1.0 - agrees, **TERMS)
    covered = [
        predicted_coverage(plan, epsilon=0.05, delta=0.03, calibration=n)
        for n in (50, 300, 1_000, 5_000)
    ]
    assert covered == sorted(covered)
    assert covered[0] == 0.0
    assert 0.6 < covered[-1] < 0.72  # the oracle's is 0.707


def test_growth_is_none_needed_some_or_hopeless():
    def plan(rate):
        return Plan((0.5,), (1.0,), (1.0,), (rate,), 1_000)

    terms = {"epsilon": 0.05, "delta": 0.03}
    assert growth_needed(plan(0.01), calibration=1_000, **terms) == 1.0
    some = growth_needed(plan(0.04), calibration=1_000, **terms)
    assert some is not None
    assert 1.0 < some < 10.0
    assert growth_needed(plan(0.051), calibration=1_000, **terms) is None
    learning = growth_needed(plan(0.051), calibration=1_000, exponent=0.35, **terms)
    assert learning is not None
    peeking = growth_needed(plan(0.04), calibration=1_000, anytime=True, **terms)
    assert peeking is not None
    assert peeking > some


def test_growth_said_to_be_needed_is_about_enough():
    plan = Plan((0.5,), (1.0,), (1.0,), (0.03,), 10**6)
    needed = growth_needed(plan, calibration=100, epsilon=0.05, delta=0.03)
    n = int(100 * needed)
    passing = stats.binom.cdf(np.arange(n + 1), n, 0.05) <= 0.03
    chance = stats.binom.pmf(np.arange(n + 1), n, 0.03)[passing].sum()
    assert 0.75 < chance < 0.95


def test_losses_between_0_and_1_are_predicted_by_their_mean():
    confidence = np.r_[np.full(100, 0.9), np.full(100, 0.5)]
    losses = np.r_[np.zeros(100), np.full(50, 0.5), np.full(50, 0.1)]
    plan = make_plan(confidence, losses, **TERMS, bounded=True)
    assert plan.disagreement == pytest.approx((0.0, 0.15))


def test_where_losses_may_lie_between_it_takes_more_evidence():
    confidence, agrees = training()
    plain = make_plan(confidence, 1.0 - agrees, **TERMS)
    bounded = make_plan(confidence, 1.0 - agrees, **TERMS, bounded=True)
    assert bounded.thresholds == plain.thresholds
    starts = [int(np.argmax(plan.weights)) for plan in (bounded, plain)]
    assert starts[0] < starts[1]
    some, more = (
        growth_needed(plain, calibration=150, epsilon=0.05, delta=0.03, bounded=bounded)
        for bounded in (False, True)
    )
    assert some <= more
    assert predicted_coverage(plain, **TERMS, bounded=True) < predicted_coverage(plain, **TERMS)


def test_the_chance_to_bet_well_is_about_the_exact_one():
    coverage, rate = np.array([0.2, 0.5, 0.9]), np.array([0.01, 0.03, 0.04])
    found = chance_to_pass(coverage, rate, 2_000, 10**8, epsilon=0.05, level=0.03, bounded=True)
    for i, n in enumerate((coverage * 2_000).astype(int)):
        passing = one_look_binary_p_value(np.arange(n + 1), n, 0.05) <= 0.03
        exact = stats.binom.pmf(np.arange(n + 1), n, rate[i])[passing].sum()
        assert found[i] == pytest.approx(exact, abs=0.02)
    none = chance_to_pass(
        np.array([1.0]), np.array([0.0]), 50, 1_000, epsilon=0.05, level=0.03, bounded=True
    )
    assert none.tolist() == [0.0]


def test_no_threshold_is_below_the_floor():
    """The mean would allow more: 40 sure answers for each that is a coin flip."""
    confidence = np.repeat([0.9, 0.3], [4_000, 100])
    losses = np.concatenate((np.zeros(4_000), np.tile([0.0, 1.0], 50)))
    assert make_plan(confidence, losses, **TERMS).thresholds == (0.9, 0.3)
    plan = make_plan(confidence, losses, **TERMS, floor=0.5)
    assert plan.thresholds == (0.9,)
    assert plan.coverage == pytest.approx((4_000 / 4_100,))
    assert plan.floor == 0.5


def test_the_share_of_unknown_requests_stands_beside_each_threshold():
    confidence, agrees = training()
    unknown = np.linspace(0, 0.999, 1_000)
    plan = make_plan(confidence, 1.0 - agrees, **TERMS, unknown=unknown)
    assert plan.unknown == pytest.approx([1 - t for t in plan.thresholds], abs=0.002)


def test_a_plan_from_before_floors_can_be_read():
    old = b'{"thresholds":[0.9],"weights":[1],"coverage":[0.5],"disagreement":[0.01],"training":9}'
    plan = msgspec.json.decode(old, type=Plan)
    assert plan.floor == 0.0
    assert plan.unknown == ()


def test_losses_that_vary_less_are_predicted_to_need_less_evidence():
    confidence, agrees = training()
    whole = make_plan(confidence, 1.0 - agrees, **TERMS, bounded=True)
    fifths = make_plan(confidence, (1.0 - agrees) / 5, **TERMS, bounded=True)
    assert (whole.size, fifths.size) == (1.0, pytest.approx(0.2))
    # As many disagreements of a fifth each as of one: a fifth of the mean, and less variance yet.
    terms = {"calibration": 300, "epsilon": 0.01, "delta": 0.03, "bounded": True}
    as_ones = msgspec.structs.replace(fifths, size=1.0)
    for anytime in (False, True):
        some, more = (growth_needed(plan, **terms, anytime=anytime) for plan in (fifths, as_ones))
        assert some < more
    terms |= {"epsilon": 0.02, "calibration": 1_000}
    assert predicted_coverage(fifths, **terms) > predicted_coverage(as_ones, **terms)
    never = make_plan(confidence, np.zeros(len(confidence)), **TERMS, bounded=True)
    assert never.size == 1.0


def test_the_chance_to_bet_well_on_parts_is_about_the_exact_one():
    coverage, rate, size = np.array([0.2, 0.5, 0.9]), np.array([0.01, 0.03, 0.045]), 0.25
    found = chance_to_pass(
        coverage, rate, 600, 10**8, epsilon=0.05, level=0.03, bounded=True, size=size
    )
    for i, n in enumerate((coverage * 600).astype(int)):
        passing = one_look_binary_p_value(np.arange(n + 1), n, 0.05, size) <= 0.03
        exact = stats.binom.pmf(np.arange(n + 1), n, rate[i] / size)[passing].sum()
        assert found[i] == pytest.approx(exact, abs=0.03)
    counts = np.zeros(LOSS_STEPS + 1, np.int64)
    counts[[0, 250]] = 90, 10
    binary = one_look_binary_p_value(10, 100, 0.05, size)
    assert binary == pytest.approx(one_look_p_value(counts, 0.05))
