import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from scipy import stats

from openwheel.gate import fallback, first_of_each, judge, make_plan
from openwheel.gate.judge import bound_of
from openwheel.gate.plan import Plan

TERMS = {"epsilon": 0.05, "delta": 0.03}


def even_plan(*thresholds):
    share = 1 / len(thresholds)
    ones = (share,) * len(thresholds)
    return Plan(thresholds, ones, ones, ones, 1_000)


def alone(n):
    return np.arange(n)


def spread_out(confidence, losses, clusters, *rest, **settings):
    """Judge exchanges in random order: neither losses nor repeats come in bursts."""
    order = np.random.default_rng(0).permutation(len(confidence))
    found = judge(confidence[order], losses[order], clusters[order], *rest, **settings)
    assert found.design_effect == 1
    return found


def test_the_first_of_each_cluster_in_order_of_arrival():
    clusters = np.array([b"x", b"a", b"x", b"b", b"a"])
    assert first_of_each(clusters).tolist() == [0, 1, 3]
    assert first_of_each(np.array([])).tolist() == []


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.2, 0.5, 0.8, 1.0]), st.booleans(), st.integers(0, 15)),
        max_size=80,
    ),
    st.sampled_from(["binomial", "anytime"]),
)
def test_counts_are_those_of_counting_by_hand(rows, method):
    plan = even_plan(1.0, 0.8, 0.4, 0.2)
    confidence = np.array([row[0] for row in rows], np.float64)
    agrees = np.array([row[1] for row in rows], np.bool_)
    clusters = np.array([row[2] for row in rows], np.int64)
    found = judge(confidence, 1.0 - agrees, clusters, plan, epsilon=0.4, delta=0.3, method=method)
    seen, first = set(), []
    for row in rows:
        if row[2] not in seen:
            seen.add(row[2])
            first.append(row)
    assert (found.n, found.exchanges) == (len(first), len(rows))
    for test in found.tests:
        for among, answered, wrong in (
            (first, test.answered, test.disagreements),
            (rows, test.answered_with_repeats, test.disagreements_with_repeats),
        ):
            there = [row for row in among if row[0] >= test.threshold]
            assert answered == len(there)
            assert wrong == sum(not row[1] for row in there)
        if test.level > 0 and abs(test.p_value - test.level) > 1e-9:
            assert (bound_of(test, method, found.design_effect) <= 0.4) == test.passed
    passed = [i for i, test in enumerate(found.tests) if test.passed]
    assert found.chosen == (passed[-1] if passed else None)


def test_the_p_value_is_that_of_scipy_for_the_weaker_of_the_two_counts():
    # 100 clusters agree once; one cluster disagrees 9 times.
    agrees = np.r_[np.ones(100, np.bool_), np.zeros(9, np.bool_)]
    clusters = np.r_[np.arange(100), np.full(9, 100)]
    (test,) = spread_out(np.ones(109), 1.0 - agrees, clusters, even_plan(0.5), **TERMS).tests
    assert (test.answered, test.disagreements) == (101, 1)
    assert (test.answered_with_repeats, test.disagreements_with_repeats) == (109, 9)
    assert test.p_value == pytest.approx(stats.binom.cdf(9, 109, 0.05))
    assert test.p_value > stats.binom.cdf(1, 101, 0.05)


def test_repeats_of_agreement_are_no_evidence():
    clusters = np.zeros(10_000, np.int64)
    found = judge(np.ones(10_000), np.zeros(10_000), clusters, even_plan(0.5), **TERMS)
    assert (found.n, found.exchanges) == (1, 10_000)
    assert found.chosen is None


def test_repeats_of_disagreement_veto_what_clusters_alone_would_pass():
    def judged(repeats):
        agrees = np.r_[np.ones(997, np.bool_), np.zeros(3 * repeats, np.bool_)]
        clusters = np.r_[np.arange(997), np.repeat([997, 998, 999], repeats)]
        return spread_out(np.ones(len(agrees)), 1.0 - agrees, clusters, even_plan(0.5), **TERMS)

    assert judged(1).chosen == 0
    assert judged(16).tests[0].disagreements == 3
    # 48 of 1,045 are below 5%, but not evidently.
    assert judged(16).tests[0].disagreements_with_repeats / 1_045 < 0.05
    assert judged(16).chosen is None
    assert judged(16).bound > 0.05


def test_a_vetoed_threshold_leaves_a_stricter_one_standing():
    confidence = np.r_[np.full(500, 0.9), np.full(120, 0.5)]
    agrees = np.r_[np.ones(500, np.bool_), np.zeros(120, np.bool_)]
    clusters = np.r_[np.arange(500), np.full(120, 500)]
    found = spread_out(confidence, 1.0 - agrees, clusters, even_plan(0.9, 0.5), **TERMS)
    assert [test.passed for test in found.tests] == [True, False]
    assert found.chosen == 0
    assert found.repeat_disagreement == 0.0


def test_a_cluster_speaks_by_its_first_member_whatever_the_threshold():
    """The first member is not answered at 0.9, so the cluster is silent there."""
    confidence = np.array([0.5, 0.95, 0.95])
    agrees = np.array([True, False, True])
    found = judge(confidence, 1.0 - agrees, np.array([7, 7, 8]), even_plan(0.9, 0.5), **TERMS)
    assert [(test.answered, test.disagreements) for test in found.tests] == [(1, 0), (2, 0)]
    repeats = [(t.answered_with_repeats, t.disagreements_with_repeats) for t in found.tests]
    assert repeats == [(2, 1), (3, 1)]


@pytest.mark.parametrize("method", ["binomial", "anytime"])
def test_nothing_to_look_at_passes_nothing(method):
    nothing = np.array([]), np.array([]), np.array([])
    found = judge(*nothing, even_plan(0.9, 0.5), **TERMS, method=method)
    assert found.chosen is None
    assert (found.n, found.bound, found.repeat_disagreement) == (0, 1.0, 0.0)
    assert [test.p_value for test in found.tests] == [1.0, 1.0]
    unplanned = judge(np.ones(5), np.zeros(5), alone(5), Plan((), (), (), (), 0), **TERMS)
    assert unplanned.tests == ()
    assert unplanned.best is None
    assert unplanned.bound == 1.0


def test_a_student_always_wrong_is_told_so():
    found = judge(np.ones(500), np.ones(500), alone(500), even_plan(0.5), **TERMS)
    assert found.chosen is None
    assert found.bound == 1.0
    assert found.best.disagreements == 500


def test_a_tiny_epsilon_passes_nothing_on_little_evidence():
    n = 5_000
    found = judge(np.ones(n), np.zeros(n), alone(n), even_plan(0.5), epsilon=1e-9, delta=0.03)
    assert found.chosen is None
    assert 0 < found.bound < 0.001


def test_the_bound_is_that_of_the_level_it_was_tested_at():
    n, wrong = 400, 6
    plan = Plan((0.9, 0.5), (0.5, 0.5), (0.5, 1.0), (0.0, 0.0), 100)
    confidence = np.r_[np.full(300, 0.95), np.full(100, 0.6)]
    agrees = np.arange(n) < n - wrong
    found = spread_out(confidence, 1.0 - agrees, alone(n), plan, **TERMS)
    assert found.chosen == 1
    assert found.tests[1].level == pytest.approx(0.03)  # its own half and the one passed on
    assert found.bound == pytest.approx(stats.beta.ppf(1 - 0.03, wrong + 1, n - wrong))
    assert found.bound <= 0.05


def test_the_outcome_is_that_of_the_fallback_procedure():
    rng = np.random.default_rng(5)
    confidence, agrees = rng.random(800), rng.random(800) < 0.965
    plan = make_plan(confidence, 1.0 - agrees, **TERMS, calibration=800)
    found = judge(confidence, 1.0 - agrees, alone(800), plan, **TERMS)
    p_values = np.array([test.p_value for test in found.tests])
    passed, levels = fallback(p_values, np.array(plan.weights), 0.03)
    assert [test.passed for test in found.tests] == passed.tolist()
    np.testing.assert_allclose([test.level for test in found.tests], levels)


def test_unconfident_never_answers_even_as_not_a_number():
    confidence = np.array([0.9, np.nan, 0.9, np.nan])
    found = judge(confidence, np.ones(4), alone(4), even_plan(0.5), **TERMS)
    assert (found.tests[0].answered, found.tests[0].disagreements) == (2, 2)


def false_share(method, looks, *, clusters=1, draws=300, rate=0.0501):
    """How often a student that is everywhere just above epsilon passes, with even starts."""
    plan = even_plan(0.9, 0.6, 0.3, 0.01)
    delta, false = 0.2, 0
    for draw in range(draws):
        rng = np.random.default_rng([9, draw])
        agrees = np.repeat(rng.random(looks[-1] // clusters) >= rate, clusters)
        names = np.repeat(np.arange(looks[-1] // clusters), clusters)
        confidence = rng.random(looks[-1])
        order = rng.permutation(looks[-1])
        agrees, names = agrees[order], names[order]
        false += any(
            judge(
                confidence[:n],
                1.0 - agrees[:n],
                names[:n],
                plan,
                epsilon=0.05,
                delta=delta,
                method=method,
            ).chosen
            is not None
            for n in looks
        )
    return false / draws, stats.binom.sf(false - 1, draws, delta)


LOOKS = (100, 200, 400, 700, 1_000, 1_400, 2_000)
OFTEN = pytest.param(range(100, 2_001, 100), 300, marks=pytest.mark.evidence)


@pytest.mark.parametrize("clusters", [1, 5])
def test_what_is_just_above_epsilon_hardly_ever_passes(clusters):
    share, chance = false_share("binomial", [1_000], clusters=clusters)
    assert chance > 1e-4
    assert share > 0.01  # the simulation is one in which it could


@pytest.mark.parametrize(("looks", "draws"), [(LOOKS, 80), OFTEN])
def test_nor_does_it_where_it_is_looked_at_as_evidence_comes(looks, draws):
    share, chance = false_share("anytime", looks, draws=draws)
    assert chance > 1e-4
    assert share > 0.01


@pytest.mark.parametrize(("looks", "draws"), [(LOOKS, 40), OFTEN])
def test_what_the_methods_protect_from_does_happen(looks, draws):
    peeked, _ = false_share("binomial", looks, draws=draws)
    assert peeked > 0.3


HALVES = st.tuples(
    st.sampled_from([0.0, 0.2, 0.5, 0.8, 1.0]),
    st.sampled_from([0.0, 0.0, 0.25, 0.5, 1.0]),
    st.integers(0, 15),
)


@settings(max_examples=50, deadline=None)
@given(st.lists(HALVES, max_size=80), st.sampled_from(["betting", "anytime"]))
def test_losses_between_0_and_1_are_those_of_counting_by_hand(rows, method):
    plan = even_plan(1.0, 0.8, 0.4, 0.2)
    confidence, losses = (np.array([row[i] for row in rows], np.float64) for i in (0, 1))
    clusters = np.array([row[2] for row in rows], np.int64)
    found = judge(confidence, losses, clusters, plan, epsilon=0.4, delta=0.3, method=method)
    first = [rows[i] for i in first_of_each(clusters)]
    for test in found.tests:
        for among, answered, wrong, loss, partial in (
            (first, test.answered, test.disagreements, test.loss, test.partial),
            (
                rows,
                test.answered_with_repeats,
                test.disagreements_with_repeats,
                test.loss_with_repeats,
                test.partial_with_repeats,
            ),
        ):
            there = [row[1] for row in among if row[0] >= test.threshold]
            assert (answered, wrong) == (len(there), sum(loss > 0 for loss in there))
            assert loss == pytest.approx(sum(there))
            between = [loss for loss in there if 0 < loss < 1]
            assert dict(partial) == {
                round(1000 * loss): between.count(loss) for loss in set(between)
            }
        if test.level > 0 and abs(test.p_value - test.level) > 1e-9:
            assert (bound_of(test, method, found.design_effect) <= 0.4) == test.passed
    if found.chosen is not None:
        chosen = found.tests[found.chosen]
        assert found.repeat_disagreement == pytest.approx(
            chosen.loss_with_repeats / chosen.answered_with_repeats
        )


def test_with_losses_of_0_and_1_betting_as_it_goes_finds_what_it_found():
    rng = np.random.default_rng(6)
    confidence, losses = rng.random(800), (rng.random(800) < 0.02) * 1.0
    plan = make_plan(confidence, losses, **TERMS, calibration=800)
    before = judge(confidence, losses, alone(800), plan, **TERMS, method="anytime")
    assert before.tests[0].partial == ()
    # One answer at the very end has a loss between: all thresholds but the laxest are as before.
    changed = losses.copy()
    changed[np.argmin(confidence)] = 0.5
    after = judge(confidence, changed, alone(800), plan, **TERMS, method="anytime")
    same = [t.answered < 800 for t in before.tests]
    assert any(same)
    assert [t for t, kept in zip(after.tests, same, strict=True) if kept] == [
        t for t, kept in zip(before.tests, same, strict=True) if kept
    ]


def test_one_look_at_halves_passes_what_yes_and_no_would_not():
    """400 answers, ten of them off by a half: as ones they would be too many."""
    plan = even_plan(0.5)
    halves = np.r_[np.zeros(380), np.full(20, 0.5)]
    ones = np.r_[np.zeros(380), np.ones(20)]
    passed = spread_out(np.ones(400), halves, alone(400), plan, **TERMS, method="betting")
    assert passed.chosen == 0
    assert passed.tests[0].partial == ((500, 20),)
    assert passed.bound <= 0.05
    assert spread_out(np.ones(400), ones, alone(400), plan, **TERMS).chosen is None


@pytest.mark.parametrize(
    ("losses", "method", "error", "said"),
    [
        ([0.0, 0.5], "binomial", ValueError, "takes losses of 0 and 1"),
        ([0.0, 1.5], "betting", ValueError, "a loss must be a number from 0 to 1, was 1.5"),
        ([0.0, np.nan], "anytime", ValueError, "a loss must be a number from 0 to 1"),
        ([True, False], "binomial", TypeError, "were booleans"),
    ],
)
def test_losses_that_a_method_cannot_take_are_refused(losses, method, error, said):
    with pytest.raises(error, match=said):
        judge(np.ones(2), np.array(losses), alone(2), even_plan(0.5), **TERMS, method=method)


def test_repeats_of_a_half_veto_like_any_other():
    losses = np.r_[np.zeros(997), np.full(200, 0.5)]
    clusters = np.r_[np.arange(997), np.full(200, 997)]
    found = spread_out(np.ones(1_197), losses, clusters, even_plan(0.5), **TERMS, method="betting")
    assert found.tests[0].loss == 0.5
    assert found.chosen is None


def test_hours_that_were_audited_less_speak_for_as_many_requests_as_they_had():
    # A thousand exchanges from when the teacher answered everything, sure and right; then fifty
    # of a thousand, of which the less confident half is as often wrong as right.
    confidence = np.concatenate([np.full(1_000, 0.9), np.full(25, 0.9), np.full(25, 0.5)])
    losses = np.concatenate([np.zeros(1_025), np.tile([0.0, 1.0], 13)[:25]])
    probabilities = np.concatenate([np.ones(1_000), np.full(50, 0.05)])
    order = np.random.default_rng(0).permutation(1_050)
    confidence, losses, probabilities = confidence[order], losses[order], probabilities[order]
    settings = {"epsilon": 0.05, "delta": 0.05, "method": "anytime"}
    plan, each = even_plan(0.8, 0.4), alone(1_050)
    loose = judge(confidence, losses, each, plan, **settings)
    assert [test.passed for test in loose.tests] == [True, True]
    assert (loose.chosen, loose.weighted_disagreement) == (1, None)
    strict = judge(confidence, losses, each, plan, probabilities=probabilities, **settings)
    assert strict.tests == loose.tests
    assert (strict.chosen, strict.weighted_disagreement) == (0, 0.0)
    assert not strict.outweighed
    laxer = judge(confidence, losses, each, even_plan(0.4), probabilities=probabilities, **settings)
    assert laxer.chosen is None
    assert laxer.outweighed


def test_disagreements_in_bursts_are_worth_less_than_as_many_apart():
    """2,000 exchanges, 40 disagreements: two incidents of twenty, or forty single ones."""
    apart = np.zeros(2_000)
    apart[np.random.default_rng(1).permutation(2_000)[:40]] = 1.0
    together = np.zeros(2_000)
    together[300:320] = together[1_500:1_520] = 1.0
    plan = even_plan(0.5)
    assert judge(np.ones(2_000), apart, alone(2_000), plan, **TERMS).chosen == 0
    found = judge(np.ones(2_000), together, alone(2_000), plan, **TERMS)
    assert found.chosen is None
    assert found.design_effect > 15
    assert found.best.p_value == pytest.approx(
        judge(np.ones(2_000), apart, alone(2_000), with_effect(plan, found), **TERMS).best.p_value
    )


def with_effect(plan, found):
    return structs.replace(plan, design_effect=found.design_effect)


def test_the_larger_of_two_design_effects_counts():
    plan = structs.replace(even_plan(0.5), design_effect=4.0)
    found = judge(np.ones(200), np.zeros(200), alone(200), plan, **TERMS)
    assert found.design_effect == 4.0
    # 200 agreements are worth 50, and count as votes as well: the weaker decides.
    assert found.tests[0].p_value == pytest.approx(0.95**50)


def test_a_student_evidently_wrong_on_new_inputs_is_held_back():
    """Right on 1,800 inputs that come again, wrong on 30 of 200 new ones: 1.5% of all."""
    rng = np.random.default_rng(2)
    new = np.arange(2_000) < 200
    losses = (np.arange(2_000) < 30).astype(float)
    order = rng.permutation(2_000)
    new, losses = new[order], losses[order]
    plan = even_plan(0.5)
    assert judge(np.ones(2_000), losses, alone(2_000), plan, **TERMS).chosen == 0
    held = judge(np.ones(2_000), losses, alone(2_000), plan, **TERMS, new=new)
    assert held.chosen is None
    assert held.vetoed
    assert not held.outweighed
    fewer = np.where(np.cumsum(losses) > 12, 0.0, losses)
    assert judge(np.ones(2_000), fewer, alone(2_000), plan, **TERMS, new=new).chosen == 0


@given(st.floats(0.01, 1.0), st.integers(0, 60))
def test_where_all_were_as_likely_weights_change_nothing(probability, n):
    rng = np.random.default_rng(n)
    confidence, losses = rng.random(n), (rng.random(n) < 0.1).astype(float)
    plain = judge(confidence, losses, alone(n), even_plan(0.8, 0.4), **TERMS)
    alike = np.full(n, probability)
    assert plain == judge(
        confidence, losses, alone(n), even_plan(0.8, 0.4), probabilities=alike, **TERMS
    )


def test_the_weighted_disagreement_is_that_of_counting_by_hand():
    confidence = np.array([0.9, 0.7, 0.9, 0.3, 0.7])
    losses = np.array([0.0, 1.0, 0.5, 1.0, 0.0])
    probabilities = np.array([1.0, 0.5, 0.25, 0.1, 1.0])
    found = judge(
        confidence,
        losses,
        alone(5),
        even_plan(0.6),
        epsilon=0.9,
        delta=0.99,
        method="anytime",
        probabilities=probabilities,
    )
    assert found.chosen == 0
    assert found.weighted_disagreement == pytest.approx((2 * 1 + 4 * 0.5) / (1 + 2 + 4 + 1))


def deferring(rng, n, share=0.05, answered=0.3, rate=0.02):
    """Requests of which a student answers the surest, what an audit picked, and all weights."""
    confidence, losses = rng.random(n), (rng.random(n) < rate).astype(float)
    picked = rng.random(n) < share
    weights = np.where(confidence < 1 - answered, share, picked.astype(float))
    return confidence, losses, picked, weights


def test_deferred_requests_are_evidence_by_their_weight():
    confidence, losses, picked, weights = deferring(np.random.default_rng(5), 12_000)
    plan = even_plan(0.8, 0.4, 0.2)
    known = picked | (weights > 0)

    def judged(rows, **more):
        return judge(
            confidence[rows], losses[rows], alone(int(rows.sum())), plan,
            epsilon=0.05, delta=0.05, method="anytime", **more,
        )  # fmt: skip

    audits = judged(picked)
    both = judged(known, weights=weights[known], unbiased=picked[known])
    # What is told of coverage is of what was picked: the deferred are more than their share.
    for one, other in zip(audits.tests, both.tests, strict=True):
        assert one.answered == other.answered
        assert one.disagreements == other.disagreements
    assert (both.n, both.exchanges) == (audits.n, audits.exchanges)
    assert all(
        other.p_value < one.p_value
        for one, other in zip(audits.tests[1:], both.tests[1:], strict=True)
    )
    assert audits.chosen == 1
    assert both.chosen == 2
    counted = {(weight, step): n for weight, step, n in both.tests[2].weighed_with_repeats}
    wide = known & (confidence >= 0.2)
    assert counted[0.05, 1_000] == losses[wide & (weights == 0.05)].sum()
    assert counted[1.0, 0] == (1 - losses)[wide & (weights == 1)].sum()
    assert bound_of(both.tests[2], "anytime", both.design_effect) <= 0.05


def test_weights_are_for_tests_that_may_be_looked_at_again():
    confidence, losses, picked, weights = deferring(np.random.default_rng(3), 500)
    with pytest.raises(ValueError, match="weights are for the method anytime, not binomial"):
        judge(
            confidence, losses, alone(500), even_plan(0.5), epsilon=0.05, delta=0.05,
            weights=weights, unbiased=picked,
        )  # fmt: skip


def test_bursts_among_deferred_requests_count_though_the_audit_sees_one_of_each():
    rng = np.random.default_rng(0)
    losses = np.repeat((rng.random(400) < 0.03).astype(float), 20)
    n = len(losses)
    picked = np.arange(n) % 20 == 0
    weights = np.where(picked & (np.arange(n) % 40 == 0), 1.0, 0.05)
    found = judge(
        np.full(n, 0.5), losses, alone(n), even_plan(0.4), epsilon=0.05, delta=0.05,
        method="anytime", weights=weights, unbiased=picked,
    )  # fmt: skip
    assert found.design_effect > 10
