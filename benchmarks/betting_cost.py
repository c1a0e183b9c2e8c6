"""What the gate's betting costs where losses turn out to be 0 and 1, beside the exact binomial.

First the most disagreements that pass one test at the level of a first attempt; then the coverage
that the product's plan and judgement certify, over the oracle's.

Run: python benchmarks/betting_cost.py [--draws 100]
"""

import argparse
import datetime
from typing import get_args

import numpy as np

from openwheel import __version__
from openwheel.gate import anytime_p_value, binomial_p_value, judge, make_plan, spent
from openwheel.gate.betting import one_look_binary_p_value
from openwheel.gate.judge import Method
from validity import TRAINING, machine
from worlds import curve

EPSILON, DELTA = 0.05, 0.05
LEVEL = spent(DELTA, 1)
CURVES = ((0.1, 2.0), (0.06, 4.0))
SIZES = (500, 1_000, 2_500, 10_000)


def most_that_pass(answered: int) -> list[int]:
    """Return the most disagreements that pass: binomial, betting with one look, anytime."""
    counts = np.arange(answered)
    return [
        int(np.flatnonzero(test(counts, answered, EPSILON) <= LEVEL).max(initial=-1))
        for test in (binomial_p_value, one_look_binary_p_value, anytime_p_value)
    ]


def coverage(err: float, power: float, n: int, method: Method, draw: int) -> float:
    """Return the true coverage that one draw certifies, 0 if none."""
    rng, world = np.random.default_rng([7, draw]), curve(err, power)
    seen = world.draw(rng, TRAINING * n)
    plan = make_plan(
        seen.confidence,
        seen.losses,
        epsilon=EPSILON,
        delta=LEVEL,
        calibration=n,
        bounded=method == "betting",
    )
    drawn = world.draw(rng, n)
    found = judge(*drawn, plan, epsilon=EPSILON, delta=LEVEL, method=method)
    # Confidence is uniform, so a threshold is its own share of requests deferred.
    return 0.0 if found.chosen is None else 1 - found.tests[found.chosen].threshold


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--draws", type=int, default=100)
    draws = parser.parse_args().draws
    print(
        f"{datetime.date.today()}, {machine()}; Openwheel {__version__}; epsilon {EPSILON}, level "
        f"{LEVEL:.4f}, {draws} draws a line.\n\n"
        "| answered | binomial, one look | betting, one look | anytime |\n|---|---|---|---|"
    )
    for answered in (200, *SIZES):
        print(f"| {answered:,} | {' | '.join(map(str, most_that_pass(answered)))} |")
    methods = get_args(Method)
    print(f"\n| err | power | n | oracle | {' | '.join(methods)} |\n|{'---|' * 7}")
    for err, power in CURVES:
        oracle = min(1.0, (EPSILON / err) ** (1 / power))
        for n in SIZES:
            means = [
                np.mean([coverage(err, power, n, method, draw) for draw in range(draws)])
                for method in methods
            ]
            cells = " | ".join(f"{mean:.3f}" for mean in means)
            print(f"| {err:g} | {power:g} | {n:,} | {oracle:.3f} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
