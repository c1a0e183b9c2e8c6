import random

import msgspec
import numpy as np
import pytest

from openwheel.gate.monitors import JumpDetector
from openwheel.loop.audit.shares import RUN_LENGTH, WRONG_GUESSES, Signal, asked_for
from openwheel.loop.audit.state import ALL, Audit, AuditState, new_state, observe, with_news

DRAWN = np.random.default_rng(3)


def wrong(rate, n, rng=DRAWN):
    return (rng.random(n) < rate).astype(float).tolist()


def state():
    return new_state(
        promotion=1, task="t", student="s", epsilon=0.05, delta=0.05, run_length=1e6, cursor=0
    )


def test_how_news_is_batched_makes_no_difference():
    losses = wrong(0.3, 400) + wrong(0.7, 600) + wrong(0.99, 600)
    whole = Signal().after(losses, until=10)
    assert whole.raised == 2
    rng, found, start = random.Random(1), Signal(), 0
    while start < len(losses):
        end = start + rng.randrange(1, 90)
        found = found.after(losses[start:end], until=10)
        found = msgspec.json.decode(msgspec.json.encode(found), type=Signal)
        start = end
    assert found == whole


def test_it_is_raised_once_for_a_change_that_stays():
    found = Signal().after(wrong(0.3, 400), until=7)
    assert (found.raised, found.until) == (0, 0)
    found = found.after(wrong(0.7, 2_000), until=7)
    assert (found.raised, found.until) == (1, 7)


def test_what_becomes_better_raises_nothing():
    assert Signal().after(wrong(0.5, 400) + wrong(0.05, 1_000), until=7).raised == 0


@pytest.mark.parametrize(
    "rate", [0.1, *(pytest.param(rate, marks=pytest.mark.evidence) for rate in (0.005, 0.4))]
)
def test_false_raises_are_as_rare_as_is_said(rate):
    """Where nothing changes: at most one in so many exchanges, with a baseline before each."""
    rng, raised, exchanges = np.random.default_rng(8), 0, 0
    for _ in range(40):
        found = Signal().after(wrong(rate, 2_000, rng), until=1)
        raised, exchanges = raised + found.raised, exchanges + 2_000
    assert raised <= exchanges / RUN_LENGTH / 4


def test_a_detector_of_rises_alone_is_quicker_and_deaf_to_falls():
    both, one = JumpDetector(1_000), JumpDetector(1_000, rises=True)
    usual = wrong(0.3, 200)
    assert both.update(usual + [0.0] * 300).alarm
    assert not one.update(usual + [0.0] * 300).alarm
    assert one.update(usual).range == (0.0, both.update(usual).range[1])
    risen = wrong(0.7, 300)
    assert one.update(usual + risen).alarmed_at <= both.update(usual + risen).alarmed_at


def test_the_longer_it_was_quiet_the_smaller_a_rise_is_noticed():
    """The range is learned again, from all there was, whenever there is twice as much of it."""
    rng, noticed = np.random.default_rng(6), []
    for quiet in (200, 3_200):
        found = [
            JumpDetector(1_000, rises=True).update(wrong(0.5, quiet, rng) + wrong(0.6, 600, rng))
            for _ in range(12)
        ]
        noticed.append(sum(one.alarmed_at is not None and one.alarmed_at > quiet for one in found))
    assert noticed[1] > noticed[0] + 3


def test_one_answer_in_thousands_is_no_rise():
    assert Signal().after([0.0] * 5_000 + [1.0] + [0.0] * 500, until=7).raised == 0


def test_a_signal_is_up_for_a_number_of_audits():
    found = with_news(state(), {WRONG_GUESSES: wrong(0.3, 300)})
    assert found.up == ()
    assert found.evidence.signal == ""
    found = with_news(found, {WRONG_GUESSES: [1.0] * 100})
    assert found.up == (WRONG_GUESSES,)
    assert found.evidence.signal
    last = asked_for(0.05, 1e6)
    audits = [Audit(seq, "", 0.0, ALL, 0.0, 0.2) for seq in range(1, last + 1)]
    before, _ = observe(found, audits[:-1])
    assert before.up == (WRONG_GUESSES,)
    after, _ = observe(before, audits[-1:])
    assert after.up == ()


def test_what_is_told_changes_no_test_of_audits():
    audits = [Audit(seq, "", 0.0, ALL, float(seq % 9 == 0), 0.2) for seq in range(1, 300)]
    plain, alarms = observe(state(), audits)
    heard, same = observe(with_news(state(), {WRONG_GUESSES: [1.0] * 500}), audits)
    assert alarms == same
    assert (plain.whole, plain.live) == (heard.whole, heard.live)


@pytest.mark.parametrize("students", [15, pytest.param(60, marks=pytest.mark.evidence)])
def test_it_asks_for_what_brings_a_doubled_rate_into_doubt(students):
    """And the doubt keeps the share up: half of such students are in doubt by then, or off."""
    rng, reached = np.random.default_rng(4), 0
    for _ in range(students):
        losses = wrong(0.02, 600, rng) + wrong(0.1, asked_for(0.05, 1e6), rng)
        found, alarms = observe(
            state(), [Audit(seq, "", 0.0, ALL, loss, 0.2) for seq, loss in enumerate(losses, 1)]
        )
        reached += bool(alarms) or found.evidence.doubt >= 0.5
    assert reached > students / 2


@pytest.mark.parametrize("epsilon", [0.001, 0.05, 0.5, 0.9])
def test_a_number_of_audits_is_asked_for_at_any_epsilon(epsilon):
    assert asked_for(epsilon, 1e6) > 0


def test_a_watch_without_signals_is_read():
    body = msgspec.json.decode(msgspec.json.encode(state()))
    del body["signals"]
    assert msgspec.convert(body, AuditState) == state()
