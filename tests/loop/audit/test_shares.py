import itertools

import pytest

from openwheel.loop.audit.shares import (
    Budget,
    Evidence,
    audit_probability,
    canary_share,
    enough_audits,
)

USUAL = Budget(share=0.05, least=0.02)
ENOUGH = enough_audits(0.05, 0.05)


def test_a_new_student_is_audited_more_than_one_with_good_evidence():
    shares = [audit_probability(Evidence(n, ENOUGH), USUAL) for n in (0, 100, 200, 400, 10_000)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > USUAL.share > shares[-1]


@pytest.mark.parametrize("audits", [0, 100, 10_000_000])
@pytest.mark.parametrize("doubt", [0.0, 1.0])
@pytest.mark.parametrize("left", [None, -1.0, 0.0, 1e-9, 1e9])
@pytest.mark.parametrize("share", [1e-4, 0.05, 1.0])
def test_it_is_never_none_and_never_more_than_all(audits, doubt, left, share):
    budget = Budget(share, 0.02, dollars_left=left, dollars_each=0.1, requests_left=1e9)
    found = audit_probability(Evidence(audits, ENOUGH, doubt), budget)
    assert 0 < found <= 1


def test_doubt_brings_it_back():
    sure, doubted = Evidence(10_000, ENOUGH), Evidence(10_000, ENOUGH, doubt=0.7)
    assert audit_probability(doubted, USUAL) > 5 * audit_probability(sure, USUAL)


def test_a_signal_brings_it_back_and_leaves_the_canary():
    told = Evidence(10_000, ENOUGH, signal="more wrong guesses")
    doubted = Evidence(10_000, ENOUGH, doubt=0.7)
    assert audit_probability(told, USUAL) == audit_probability(doubted, USUAL)
    early = Evidence(30, ENOUGH, signal="more wrong guesses")
    assert canary_share(0.2, early, now=0.4) == canary_share(0.2, Evidence(30, ENOUGH), now=0.4)


def test_money_lasts_the_day():
    """Audited at the share it says, what is left is what is spent."""
    for left, each in itertools.product((0.5, 1.0, 2.0), (0.001, 0.01)):
        budget = Budget(0.05, 0.02, dollars_left=left, dollars_each=each, requests_left=20_000)
        found = audit_probability(Evidence(0, ENOUGH), budget)
        assert found == 0.2 or found * each * 20_000 == pytest.approx(max(left, 0.002 * each * 2e4))


def test_teachers_without_a_price_cost_nothing():
    free = Budget(0.05, 0.02, dollars_left=0.0, dollars_each=0.0, requests_left=1_000)
    assert audit_probability(Evidence(0, ENOUGH), free) == audit_probability(
        Evidence(0, ENOUGH), USUAL
    )


def test_a_canary_grows_to_all_and_does_not_come_back():
    now, shares = 0.2, []
    for audits in range(0, ENOUGH + 1, 10):
        now = canary_share(0.2, Evidence(audits, ENOUGH), now=now)
        shares.append(now)
    assert shares == sorted(shares)
    assert shares[0] == pytest.approx(0.2)
    assert shares[-1] < 1
    assert canary_share(0.2, Evidence(ENOUGH, ENOUGH), now=now) == 1
    assert canary_share(0.2, Evidence(ENOUGH, ENOUGH, doubt=1.0), now=1.0) == 1
    assert canary_share(0.2, Evidence(50, ENOUGH, doubt=0.6), now=0.5) == 0.2
