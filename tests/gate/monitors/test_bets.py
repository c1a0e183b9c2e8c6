import itertools
import math

import numpy as np
import pytest

from openwheel.gate.monitors import bets


@pytest.mark.parametrize("epsilon", [1e-4, 0.01, 0.05, 0.5, 0.9, 0.999])
def test_alternatives_lie_between_epsilon_and_one_and_share_all(epsilon):
    rates, shares = bets.alternatives(epsilon)
    assert epsilon < rates[0]
    assert (np.diff(rates) > 0).all()
    assert rates[-1] < 1
    assert shares.sum() == pytest.approx(1)
    assert (shares > 0).all()


def test_no_bet_can_lose_more_than_is_there():
    for epsilon in (0.01, 0.05, 0.5, 0.9):
        assert bets.stakes(epsilon).max() <= 1 / epsilon


@pytest.mark.parametrize("weight", [1.0, 0.2])
@pytest.mark.parametrize("loss", [(0.0, 1.0), (0.0, 0.5), (0.05, 0.05), (0.02, 0.3)])
def test_a_bet_is_fair_where_the_mean_loss_is_epsilon(loss, weight):
    """Two losses with a mean of epsilon: the expected wealth is what it was, capped or not."""
    epsilon = 0.05
    low, high = loss
    chance = 0.0 if high == low else (epsilon - low) / (high - low)
    wealth = np.array(bets.alternatives(epsilon)[1]) * 3
    for limit in (20.0, 4.0, 3.0):
        after = [
            bets.bet(wealth, x, weight, epsilon=epsilon, limit=limit).sum() for x in (low, high)
        ]
        assert (1 - chance) * after[0] + chance * after[1] == pytest.approx(3.0)


def test_a_bet_never_aims_beyond_the_limit_and_reaches_it_exactly():
    wealth = np.array(bets.alternatives(0.05)[1]) * 12
    after = bets.bet(wealth, 1.0, 1.0, epsilon=0.05, limit=20.0)
    assert after.sum() == pytest.approx(20.0, rel=1e-12)
    lost = bets.bet(wealth, 0.0, 1.0, epsilon=0.05, limit=20.0).sum()
    uncapped = bets.bet(wealth, 0.0, 1.0, epsilon=0.05, limit=1e9).sum()
    assert uncapped < lost < 12


def test_wealth_is_the_likelihood_ratio_of_each_alternative():
    epsilon = 0.05
    rates, shares = bets.alternatives(epsilon)
    wealth, losses = np.array(shares), [0, 1, 0, 0, 1]
    for loss in losses:
        wealth = bets.bet(wealth, float(loss), 1.0, epsilon=epsilon, limit=math.inf)
    ratio = [
        math.prod((q if x else 1 - q) / (epsilon if x else 1 - epsilon) for x in losses)
        for q in rates
    ]
    assert wealth / shares == pytest.approx(np.array(ratio))


def test_many_streams_at_once_are_as_each_alone():
    rng = np.random.default_rng(0)
    wealth = np.tile(bets.alternatives(0.1)[1], (2, 3, 1)) * rng.uniform(0, 9, (2, 3, 1))
    losses, weights = rng.random((2, 3)), rng.uniform(0.1, 1, (2, 3))
    together = bets.bet(wealth, losses, weights, epsilon=0.1, limit=10.0)
    for i, j in itertools.product(range(2), range(3)):
        alone = bets.bet(wealth[i, j], losses[i, j], weights[i, j], epsilon=0.1, limit=10.0)
        assert together[i, j] == pytest.approx(alone, rel=1e-12)
