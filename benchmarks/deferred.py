"""Requests until a promoted student may answer more: by audits alone, and with what it deferred.

A student answers the surest share of the requests, of which the audit picks some; the teacher
answers all others. A wider threshold is looked at after every ``BATCH`` requests. Each line gives
the quartiles of requests until the gate certifies one that answers at least ``MORE`` more, counting
what the audit picked alone, and with the deferred requests by their weight.
Run: python benchmarks/deferred.py [--draws 200] [--seed 0]
"""

import argparse
import time
from typing import NamedTuple

import numpy as np

from openwheel.gate import judge, make_plan, spent
from shared import about
from worlds import Random, World, curve

EPSILON = DELTA = 0.05
FIRST = spent(DELTA, 1)
TRAINING = 3_000
BATCH, MORE = 1_000, 0.05


class Widened(NamedTuple):
    """When the gate certified a wider threshold, None if it never did, and whether falsely."""

    requests: int | None
    false: bool


def widen(
    rng: Random, world: World, answered: float, audited: float, most: int, *, deferred: bool
) -> Widened:
    """Look at the audits, and the deferred requests if wanted, until more is certified.

    Args:
        rng: Draws the requests and the coin.
        world: Where they come from; confidences are uniform.
        answered: The share that the promoted student answers.
        audited: The audit's share.
        most: Requests after which it is given up.
        deferred: Whether deferred requests count.
    """
    seen = world.draw(rng, TRAINING)
    plan = make_plan(
        seen.confidence, seen.losses, epsilon=EPSILON, delta=FIRST, calibration=TRAINING // 3
    )
    drawn, picked = world.draw(rng, most), rng.random(most) < audited
    threshold = 1 - answered
    weights = np.where(drawn.confidence < threshold, audited, picked.astype(np.float64))
    for n in range(BATCH, most + 1, BATCH):
        known = picked[:n] | (deferred & (weights[:n] > 0))
        rows = np.flatnonzero(known)
        found = judge(
            drawn.confidence[rows],
            drawn.losses[rows],
            drawn.clusters[rows],
            plan,
            epsilon=EPSILON,
            delta=FIRST,
            method="anytime",
            weights=weights[rows] if deferred else None,
            unbiased=picked[rows] if deferred else None,
        )
        if found.chosen is None:
            continue
        wider = found.tests[found.chosen].threshold
        if wider <= threshold - MORE:
            return Widened(n, world.rate(wider) > EPSILON)
    return Widened(None, False)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--draws", type=int, default=200)
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    print(about("benchmarks/deferred.py"))
    print(f"epsilon {EPSILON:.0%}, {FIRST:.2%} of delta; {chosen.draws} draws, seed {chosen.seed}")
    print("| disagreement | answered | audited | audits alone | with deferred | medians' ratio |")
    print("|---|---:|---:|---:|---:|---:|")
    started = time.process_time()
    for rate, most in ((0.02, 40_000), (0.03, 80_000)):
        for answered in (0.1, 0.4, 0.6):
            found = [
                [
                    widen(
                        np.random.default_rng([chosen.seed, draw]),
                        curve(rate, 0),
                        answered,
                        0.05,
                        most,
                        deferred=deferred,
                    ).requests
                    or most
                    for draw in range(chosen.draws)
                ]
                for deferred in (False, True)
            ]
            alone, both = (np.quantile(part, (0.25, 0.5, 0.75)) for part in found)
            cells = [" / ".join(f"{value:,.0f}" for value in part) for part in (alone, both)]
            print(
                f"| {rate:.0%} | {answered:.0%} | 5% | {cells[0]} | {cells[1]} | "
                f"{alone[1] / both[1]:.2f} |",
                flush=True,
            )
    print(f"\n{time.process_time() - started:.0f} s of CPU")


if __name__ == "__main__":
    main()
