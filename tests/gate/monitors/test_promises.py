"""What the monitors promise, by simulation with fixed seeds, at a size that a test can take."""

import math

import numpy as np
import pytest

from openwheel.gate import clopper_pearson
from openwheel.gate.monitors import ConfidenceSequence, EProcess, JumpDetector, edetector, eprocess

EPSILON, DELTA = 0.05, 0.05
ROUNDED = 1 - 1e-12


def kl(q, epsilon=EPSILON):
    return q * math.log(q / epsilon) + (1 - q) * math.log((1 - q) / (1 - epsilon))


def alarms(draw, runs, answers, seed=0):
    """How many of some e-processes ever raised an alarm."""
    rng = np.random.default_rng(seed)
    wealth = np.tile(eprocess.at_start(EPSILON), (runs, 1))
    ever = np.zeros(runs, bool)
    for t in range(answers):
        losses, weights = draw(rng, runs)
        wealth, total = eprocess.step(wealth, t, losses, weights, epsilon=EPSILON, delta=DELTA)
        ever |= total >= ROUNDED / DELTA
    return int(ever.sum())


def test_the_steps_of_many_streams_are_those_of_the_monitor():
    losses = (np.random.default_rng(1).random((3, 400)) < 0.12).astype(float)
    wealth = np.tile(eprocess.at_start(EPSILON), (3, 1))
    first = np.full(3, -1)
    for t in range(400):
        wealth, total = eprocess.step(wealth, t, losses[:, t], 1.0, epsilon=EPSILON, delta=DELTA)
        first[(first < 0) & (total >= ROUNDED / DELTA)] = t + 1
    for run in range(3):
        assert EProcess(EPSILON, DELTA).update(losses[run]).alarmed_at == first[run]


@pytest.mark.parametrize("low", [0.0, 0.04])
def test_false_alarms_with_losses_between_zero_and_one(low):
    """Two losses with a mean of epsilon."""

    def fair(rng, runs):
        high = low + (EPSILON - low) / 0.1
        return np.where(rng.random(runs) < 0.1, high, low), np.ones(runs)

    assert clopper_pearson(alarms(fair, 400, 1_500), 400, 0.999)[0] <= DELTA


def requests(rng, runs):
    """Audited answers of a task whose hard half is audited ten times as much as its easy half.

    The mean loss over all answers is epsilon, and that of an audited one 9.1%.
    """
    hard = rng.random(runs) < 10 / 11
    losses = hard & (rng.random(runs) < 2 * EPSILON)
    return losses.astype(float), np.where(hard, 0.1, 1.0)


def test_weights_make_audits_that_chase_hard_requests_harmless():
    weighted = alarms(requests, 300, 2_000)
    assert clopper_pearson(weighted, 300, 0.999)[0] <= DELTA

    def unweighted(rng, runs):
        return requests(rng, runs)[0], np.ones(runs)

    assert alarms(unweighted, 300, 2_000) > 250


def test_weighted_audits_still_notice():
    def worse(rng, runs):
        hard = rng.random(runs) < 10 / 11
        return (hard & (rng.random(runs) < 0.6)).astype(float), np.where(hard, 0.1, 1.0)

    assert alarms(worse, 100, 1_500) == 100


@pytest.mark.parametrize("q", [0.1, 0.2, 0.3])
def test_a_jump_from_a_fresh_start_takes_at_most_1_35_times_the_least(q):
    rng, runs = np.random.default_rng(3), 2_000
    wealth, times, t = np.tile(eprocess.at_start(EPSILON), (runs, 1)), [], 0
    while len(wealth):
        losses = (rng.random(len(wealth)) < q).astype(float)
        wealth, total = eprocess.step(wealth, t, losses, 1.0, epsilon=EPSILON, delta=DELTA)
        t += 1
        hit = total >= ROUNDED / DELTA
        times += [t] * int(hit.sum())
        wealth = wealth[~hit]
    assert np.mean(times) * kl(q) / math.log(1 / DELTA) <= 1.35


def test_the_e_process_is_never_blind():
    """Plain wealth would have shrunk by hundreds of powers of ten."""
    monitor = EProcess(EPSILON, DELTA).update(np.zeros(20_000))
    jump = (np.arange(1_000) % 4 == 0).astype(float)
    alarmed = monitor.update(jump)
    assert alarmed.alarm
    assert alarmed.alarmed_at < 20_300


def test_a_rate_barely_above_epsilon_is_noticed_in_the_end():
    rng = np.random.default_rng(5)
    wealth, found = np.tile(eprocess.at_start(0.2), (40, 1)), np.zeros(40, bool)
    for t in range(20_000):
        losses = (rng.random(40) < 0.22).astype(float)
        wealth, total = eprocess.step(wealth, t, losses, 1.0, epsilon=0.2, delta=DELTA)
        found |= total >= ROUNDED / DELTA
    assert found.mean() > 0.9


def test_the_detector_runs_as_long_as_it_says_between_false_alarms():
    rng, runs, length = np.random.default_rng(6), 400, 300
    wealth, times, t = np.tile(edetector.at_start(EPSILON), (runs, 1)), [], 0
    early = 0
    while len(wealth):
        losses = (rng.random(len(wealth)) < EPSILON).astype(float)
        wealth, total = edetector.step(wealth, losses, 1.0, epsilon=EPSILON, limit=length)
        t += 1
        hit = total >= ROUNDED * length
        early += int(hit.sum()) if t <= 60 else 0
        times += [t] * int(hit.sum())
        wealth = wealth[~hit]
    assert np.mean(times) + 3.3 * np.std(times) / runs**0.5 >= length
    assert clopper_pearson(early, runs, 0.999)[0] <= 60 / length


def test_the_detector_is_as_quick_after_a_long_good_time():
    rng, runs, length = np.random.default_rng(7), 200, 100_000
    wealth = np.tile(edetector.at_start(EPSILON), (runs, 1))
    for _ in range(5_000):
        losses = (rng.random(runs) < 0.02).astype(float)
        wealth, total = edetector.step(wealth, losses, 1.0, epsilon=EPSILON, limit=length)
        assert (total < length).all()
    times, t = [], 0
    while len(wealth):
        losses = (rng.random(len(wealth)) < 0.15).astype(float)
        wealth, total = edetector.step(wealth, losses, 1.0, epsilon=EPSILON, limit=length)
        t += 1
        hit = total >= ROUNDED * length
        times += [t] * int(hit.sum())
        wealth = wealth[~hit]
    assert np.mean(times) * kl(0.15) / math.log(length) <= 1.6


def covered_always(monitor, means, losses, weights=None, floors=None):
    """Whether the interval covers the weighted mean of the means at each of many looks."""
    total = count = 0.0
    for i in range(0, len(losses), 25):
        part = slice(i, i + 25)
        if weights is None:
            monitor = monitor.update(losses[part])
            total, count = total + means[part].sum(), count + len(means[part])
        else:
            audited = weights[part] > 0
            monitor = monitor.update(losses[part][audited], weights[part][audited], floors)
            total, count = total + means[part].sum(), count + len(means[part])
        low, high = monitor.interval
        if not low <= total / count <= high:
            return False
    return True


@pytest.mark.parametrize("kind", ["steady", "jumps", "between"])
def test_the_confidence_sequence_covers_a_rate_that_moves(kind):
    misses, runs, n = 0, 60, 500
    for run in range(runs):
        rng = np.random.default_rng([8, run])
        means = np.where(np.arange(n) < 250, 0.02, 0.3 if kind == "jumps" else 0.02)
        losses = (rng.random(n) < means).astype(float)
        if kind == "between":
            means, losses = np.full(n, 0.4), 0.4 + rng.uniform(-0.05, 0.05, n)
        misses += not covered_always(ConfidenceSequence(EPSILON, 0.9), means, losses)
    assert clopper_pearson(misses, runs, 0.999)[0] <= 0.1


def test_the_weighted_confidence_sequence_covers_the_mean_over_all_answers():
    """Hard answers are audited eight times as often; the target is over audited and unaudited."""
    misses, runs, n, floor = 0, 40, 2_000, 0.1
    for run in range(runs):
        rng = np.random.default_rng([9, run])
        hard = rng.random(n) < np.where(np.arange(n) < 1_000, 0.1, 0.5)
        means = np.where(hard, 0.4, 0.02)
        losses = (rng.random(n) < means).astype(float)
        chance = np.where(hard, 0.8, floor)
        shares = np.where(rng.random(n) < chance, chance, 0.0)
        monitor = ConfidenceSequence(EPSILON, 0.9, weighted=True)
        misses += not covered_always(monitor, means, losses, shares, floor)
    assert clopper_pearson(misses, runs, 0.999)[0] <= 0.1


def test_the_confidence_sequence_narrows():
    widths = []
    for n in (1_000, 4_000, 16_000):
        losses = (np.arange(n) % 25 == 0).astype(float)
        low, high = ConfidenceSequence(EPSILON).update(losses).interval
        assert low <= 0.04 <= high
        widths.append((high - low) * math.sqrt(n))
    # Times sqrt(n): at most the logarithm of a logarithm is left.
    assert widths[2] < 1.1 * widths[0]
    # Within twice what a single look at the end could have known.
    low, high = clopper_pearson(640, 16_000)
    assert widths[2] / math.sqrt(16_000) < 2 * (high - low)


def test_losses_that_vary_little_make_a_narrow_interval():
    ends = {}
    for name, losses in (("yes or no", [0.0, 1.0] * 1_000), ("alike", [0.45, 0.55] * 1_000)):
        low, high = ConfidenceSequence(EPSILON).update(losses).interval
        ends[name] = high - low
    assert ends["alike"] < ends["yes or no"] / 4


def test_a_teacher_that_changes_is_noticed_and_one_that_does_not_is_left_alone():
    noticed = false = fell = 0
    for run in range(20):
        rng = np.random.default_rng([10, run])
        steady = (rng.random(800) < 0.2).astype(float)
        learned = JumpDetector(20_000).update(steady)
        false += learned.alarm
        jumped = learned.update((rng.random(300) < 0.6).astype(float))
        noticed += jumped.alarm
        fell += learned.update((rng.random(500) < 0.02).astype(float)).alarm
    assert clopper_pearson(false, 20, 0.999)[0] <= 600 / 20_000 + 0.01
    assert noticed == 20
    assert fell == 20


def test_what_a_short_baseline_does_not_tell_makes_it_slower():
    jump = (np.arange(2_000) % 5 == 0).astype(float)
    times = []
    for length in (50, 200, 1_000):
        baseline = (np.arange(length) % 50 == 49).astype(float)
        found = JumpDetector(20_000, baseline=length).update(baseline).update(jump)
        assert found.alarmed_at is not None
        times.append(found.alarmed_at - length)
    assert times[0] > times[1] > times[2]
