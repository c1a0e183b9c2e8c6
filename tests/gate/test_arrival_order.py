import gzip
import itertools
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openwheel.gate.arrival_order import _repeats_by_chance, order_evidence

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def draw(rng, n, labels=20, skew=1.0):
    weights = 1 / np.arange(1, labels + 1) ** skew
    return rng.choice(labels, size=n, p=weights / weights.sum())


def blocks(rng, codes, length):
    """Sort, cut into blocks of `length`, shuffle the blocks."""
    codes = np.sort(codes)
    parts = [codes[i : i + length] for i in range(0, len(codes), length)]
    rng.shuffle(parts)
    return np.concatenate(parts)


def bursty(rng, n, labels, repeat):
    """Draw traffic in which a row repeats the one before with probability `repeat`."""
    fresh = draw(rng, n, labels)
    for i in range(1, n):
        if rng.random() < repeat:
            fresh[i] = fresh[i - 1]
    return fresh


@pytest.mark.parametrize("counts", [[2, 2], [3, 1, 1], [4, 3], [1, 1, 1, 1], [2, 2, 2]])
def test_moments_are_those_over_all_orders(counts):
    rows = np.repeat(np.arange(len(counts)), counts)
    totals = [
        sum(a == b for a, b in itertools.pairwise(order)) for order in itertools.permutations(rows)
    ]
    share, deviation = _repeats_by_chance(np.array(counts), len(rows))
    assert share * (len(rows) - 1) == pytest.approx(np.mean(totals))
    assert deviation == pytest.approx(np.std(totals))


def test_false_alarms_in_random_order():
    """2,000 random orders of many kinds raise none: the rate is below 0.0015 at 95%."""
    rng = np.random.default_rng(0)
    kinds = [(2, 0.0), (2, 4.3), (5, 1.0), (77, 0.0), (77, 1.5), (2000, 0.5)]
    alarms = 0
    for draw_number in range(2_000):
        labels, skew = kinds[draw_number % len(kinds)]
        n = int(rng.choice([100, 150, 300, 1_000, 3_000]))
        alarms += not order_evidence(draw(rng, n, labels, skew), None).in_order
    assert alarms == 0


@pytest.mark.parametrize("labels", [2, 8, 77])
@pytest.mark.parametrize("repeat", [0.1, 0.3, 0.4])
def test_bursty_traffic_is_in_order(labels, repeat):
    rng = np.random.default_rng(labels)
    evidence = order_evidence(bursty(rng, 4_000, labels, repeat), None)
    assert evidence.in_order
    assert evidence.excess == pytest.approx(repeat, abs=0.06)


@pytest.mark.parametrize("skew", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("n", [100, 500, 5_000])
def test_sorted_is_flagged(n, skew):
    codes = np.sort(draw(np.random.default_rng(1), n, 10, skew))
    assert not order_evidence(codes, None).in_order


@pytest.mark.parametrize("length", [5, 10, 50, 500])
@pytest.mark.parametrize("labels", [2, 20, 77])
def test_shuffled_blocks_are_flagged(labels, length):
    rng = np.random.default_rng(2)
    evidence = order_evidence(blocks(rng, draw(rng, 5_000, labels), length), None)
    assert not evidence.in_order
    assert "blocks" in evidence.reason


def test_blocks_of_a_rare_answer_are_flagged():
    rng = np.random.default_rng(3)
    codes = (rng.random(2_000) < 0.05).astype(int)
    assert order_evidence(codes, None).in_order
    assert not order_evidence(blocks(rng, codes, 5), None).in_order
    assert not order_evidence(np.sort(codes), None).in_order


def test_sorted_parts_one_after_the_other_are_flagged():
    rng = np.random.default_rng(4)
    parts = [np.sort(draw(rng, 1_000, 30)) for _ in range(5)]
    assert not order_evidence(np.concatenate(parts), None).in_order


def test_sorted_with_a_teacher_who_errs_is_flagged():
    rng = np.random.default_rng(5)
    codes = np.sort(draw(rng, 3_000, 50, 0.0))
    wrong = rng.random(3_000) < 0.2
    codes[wrong] = rng.integers(0, 50, wrong.sum())
    assert not order_evidence(codes, None).in_order


def test_few_large_blocks_each_in_random_order_are_flagged():
    rng = np.random.default_rng(6)
    codes = np.concatenate([block * 10 + rng.integers(0, 10, 500) for block in range(4)])
    evidence = order_evidence(codes, None)
    assert not evidence.in_order
    assert evidence.excess < 0.3
    assert evidence.novelty == 1.0
    assert "latest quarter" in evidence.reason


def test_a_new_answer_half_way_is_traffic():
    rng = np.random.default_rng(7)
    codes = draw(rng, 4_000, 20)
    codes[2_000:][rng.random(2_000) < 0.3] = 99
    assert order_evidence(codes, None).in_order


def test_one_burst_of_an_alarm_is_traffic():
    codes = np.zeros(1_000, int)
    codes[500:512] = 1
    assert order_evidence(codes, None).in_order


def test_free_text_answers_are_no_evidence():
    assert order_evidence([f"answer {i}" for i in range(1_000)], None).in_order


@pytest.mark.parametrize("answers", [[], ["a"], ["a", "a"], ["a", "b"], ["a"] * 500])
def test_too_little_to_tell(answers):
    evidence = order_evidence(answers, None)
    assert evidence.in_order
    assert evidence.n == len(answers)


def test_small_logs_are_flagged_only_when_wholly_sorted():
    assert not order_evidence(["a"] * 20 + ["b"] * 20, None).in_order
    assert order_evidence(["a"] * 20 + ["b"] * 19, None).in_order
    assert order_evidence((["a"] * 10 + ["b"] * 10) * 4, None).in_order


def test_times_in_order_settle_it():
    answers = ["a"] * 200 + ["b"] * 200
    evidence = order_evidence(answers, [1.6e9 + i for i in range(400)])
    assert evidence.in_order
    assert evidence.time_sorted is True
    assert "times are in order, although" in evidence.reason


def test_times_out_of_order_are_said():
    rng = np.random.default_rng(8)
    evidence = order_evidence(draw(rng, 400), rng.permutation(400) + 1.0)
    assert evidence.in_order
    assert evidence.time_sorted is False
    assert "sort the log by time" in evidence.reason


@pytest.mark.parametrize(
    "times",
    [
        pytest.param([1.6e9] * 400, id="one export's stamp"),
        pytest.param([0.0] + [1.6e9 + i for i in range(399)], id="one unknown"),
        pytest.param([1.6e9 + 86_400 * (i // 100) for i in range(400)], id="days only"),
        pytest.param([float("nan")] * 400, id="not numbers"),
    ],
)
def test_unusable_times_settle_nothing(times):
    evidence = order_evidence(["a"] * 200 + ["b"] * 200, times)
    assert evidence.time_sorted is None
    assert not evidence.in_order


def test_times_must_be_as_many_as_answers():
    with pytest.raises(ValueError, match="as many as answers: 3, not 2"):
        order_evidence(["a", "b", "c"], [1.0, 2.0])


@given(st.lists(st.integers(0, 4), max_size=300))
def test_text_and_codes_agree_and_figures_are_in_range(codes):
    by_code = order_evidence(np.array(codes, dtype=np.int64), None)
    by_text = order_evidence([str(code) for code in codes], None)
    assert by_code == by_text
    assert 0 <= by_code.repeats <= 1
    assert 0 <= by_code.novelty <= 1
    assert by_code.excess <= 1


@pytest.mark.parametrize(
    ("name", "key", "in_order"),
    [
        ("banking77", "label", False),
        ("ocats_banking77_gpt", "gpt4", False),
        ("assetops_utterances", "label", False),
        ("sms_spam", "label", True),
        ("slurp_dev_test", "intent", True),
        ("assetops_workorders", "label", True),
        ("assetops_workorders", "secondary", True),
    ],
)
def test_real_data(name, key, in_order):
    path = SHARED / f"{name}.jsonl.gz"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    with gzip.open(path, "rb") as file:
        answers = [str(msgspec.json.decode(line).get(key)) for line in file]
    assert order_evidence(answers, None).in_order is in_order
    shuffled = np.random.default_rng(0).permutation(np.array(answers))
    assert order_evidence(list(shuffled), None).in_order
