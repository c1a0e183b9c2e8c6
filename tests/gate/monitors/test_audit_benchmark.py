import math
import re
import sys

import numpy as np
import pytest

import audit
from audit_bench import alarms, rules, streams
from openwheel.gate import clopper_pearson

TINY = audit.Size(runs=4, quiet=4, fresh=20, late=10, good=100, requests=1_000)


@pytest.mark.parametrize("size", [TINY, pytest.param(audit.QUICK, marks=pytest.mark.evidence)])
def test_it_runs_and_breaks_no_promise(monkeypatch, capsys, size):
    monkeypatch.setattr(audit, "QUICK", size)
    monkeypatch.setattr(sys, "argv", ["audit.py", "--quick", "--only", "ratio", "quiet", "doubt"])
    code, said = audit.main(), capsys.readouterr().out
    assert code == 0, said
    assert "promises broken: no" in said
    assert len(re.findall(r"^\| disagreement", said, re.MULTILINE)) >= 6


def test_a_calibrated_rule_has_the_false_alarms_it_was_calibrated_for():
    for name in rules.STATISTICS:
        rule = rules.calibrated(name, 0.05, 0.05, 500)
        watch, rng = rule.start(2_000), np.random.default_rng(0)
        ever = np.zeros(2_000, bool)
        for _ in range(500):
            ever |= watch.step((rng.random(2_000) < 0.05).astype(float), np.ones(2_000))
        low, high = clopper_pearson(int(ever.sum()), 2_000, 0.999)
        assert low <= 0.05
        assert high >= 0.02  # no lower than discrete counts make it


@pytest.mark.parametrize("weighted", [True, False])
def test_hard_requests_that_are_audited_more_are_harmless_if_weighted(weighted):
    world = streams.by_request("", 0.05, weighted=weighted)
    rule = rules.product(0.05, 0.05)
    alarms = streams.false_alarms(world, rule, 60, 20_000, np.random.default_rng(1))
    assert (clopper_pearson(alarms, 60, 0.999)[0] <= 0.05) == weighted


def test_a_slow_change_crosses_epsilon_where_the_mixture_of_both_does():
    change = streams.Change((0.8, 0.4), (0.02, 0.11), slowly=1_000)
    crossing = change.crossing(0.05)
    # 0.8 (1 - x) (0.02 - 0.05) + 0.4 x (0.11 - 0.05) = 0
    assert crossing == pytest.approx(500, abs=1)
    assert streams.Change((0.8, 0.4), (0.02, 0.04), slowly=1_000).crossing(0.05) == math.inf
    assert streams.Change((0.8, 0.4), (0.02, 0.11)).crossing(0.05) == 0


def test_excess_is_what_was_served_beyond_epsilon():
    """A rule that alarms at the tenth audit: ten audits' worth of answers, at 30% less 5%."""

    class Tenth:
        seen = 0

        def step(self, losses, weights):
            self.seen += 1
            return np.full(len(losses), self.seen >= 10)

    found = streams.noticed(
        Tenth(),
        np.zeros(4_000, bool),
        streams.Change((0.8, 0.5), (0.02, 0.3)),
        share=0.1,
        epsilon=0.05,
        rng=np.random.default_rng(2),
        most=10**6,
    )
    assert (found.answers == 10).all()
    assert found.requests.mean() == pytest.approx(10 / 0.1 / 0.5, rel=0.03)
    assert found.excess.mean() == pytest.approx(100 * 0.25, rel=0.05)
    assert (found.early, found.missed) == (0, 0)


def asked(wrong, guesses, n=4_000):
    """Texts of which four in five are answered, with rates of what is wrong."""
    rng = np.random.default_rng(1)
    answered = rng.random(n) < 0.8
    rate = np.where(answered, wrong, guesses)
    return alarms.Asked(answered, (rng.random(n) < rate).astype(float), np.zeros(n))


def test_signals_shorten_what_a_drift_takes_and_leave_a_quiet_student_alone():
    drift = alarms.World("made up", asked(0.02, 0.3), asked(0.11, 0.6))
    quiet = alarms.World("made up", asked(0.02, 0.3), asked(0.02, 0.3))

    def runs(world, *, signals, most):
        return [
            alarms.run(
                world,
                np.random.default_rng([2, one]),
                signals=signals,
                epsilon=0.05,
                delta=0.05,
                before=6_000,
                latest=2_000,
                most=most,
            )
            for one in range(3)
        ]

    alone, told = (runs(drift, signals=which, most=30_000) for which in (False, True))
    assert sum(one.requests for one in told) < 0.6 * sum(one.requests for one in alone)
    assert sum(one.wrong for one in told) < 0.6 * sum(one.wrong for one in alone)
    assert max(one.share for one in told) < 0.06
    for one in runs(quiet, signals=True, most=2_000):
        assert not one.early
        assert one.requests == 2_000  # nobody took it off
