"""How to share delta among starting points: what the constants in gate/plan.py rest on.

Each rule shares one attempt's delta among the thresholds of a plan; the fallback procedure then
tests them on the same draws. A line gives the mean coverage that each rule certified, relative to
the oracle: the coverage at the laxest threshold that truly keeps epsilon. Disagreement among the
most confident share c of requests is ``err * c**power``; training sees ``bias`` times of it.

Run: python benchmarks/starts.py [--draws 400] [--seed 0]
"""

import argparse
import datetime
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from openwheel import __version__
from openwheel.gate import Plan, binomial_p_value, fallback, make_plan, spent
from openwheel.gate.plan import STARTS, chance_to_pass
from validity import DELTA, TRAINING, machine
from worlds import Drawn, curve

FloatArray = npt.NDArray[np.float64]


class Rule(NamedTuple):
    """``spread`` of delta goes evenly to nine thresholds; the rest as ``aims`` says.

    An aim is the chance to pass that training must predict, the share of delta that starts at the
    laxest threshold with that chance, and by what factor training is taken to be too optimistic.
    """

    spread: float
    aims: tuple[tuple[float, float, float], ...] = ()


RULES = {
    "the product's": None,
    "all even": Rule(1.0),
    "all at 0.99": Rule(0.0, ((0.99, 1.0, 1),)),
    "0.2 even, 0.8 at 0.5": Rule(0.2, ((0.5, 0.8, 1),)),
    "0.2 even, 0.8 at 0.8": Rule(0.2, ((0.8, 0.8, 1),)),
    "0.2 even, 0.8 at 0.95": Rule(0.2, ((0.95, 0.8, 1),)),
    "0.1 even, 0.9 at 0.99": Rule(0.1, ((0.99, 0.9, 1),)),
    "0.5 even, 0.5 at 0.99": Rule(0.5, ((0.99, 0.5, 1),)),
    "0.2 even, 0.8 at 0.99": Rule(0.2, ((0.99, 0.8, 1),)),
    "0.2 even, 0.5 at 0.99, 0.3 at 0.95 if twice as bad": Rule(
        0.2, ((0.99, 0.5, 1), (0.95, 0.3, 2))
    ),
    "0.1 even, 0.6 at 0.99, 0.3 at 0.95 if twice as bad": Rule(
        0.1, ((0.99, 0.6, 1), (0.95, 0.3, 2))
    ),
}
"""None is the product's own rule."""

CURVES = (
    # err, power, calibration exchanges, epsilon
    (0.10, 2.0, 2_500, 0.05),
    (0.06, 4.0, 2_500, 0.05),
    (0.10, 2.0, 2_500, 0.02),
    (0.08, 1.5, 1_000, 0.05),
    (0.10, 2.0, 400, 0.05),
    (0.03, 3.0, 1_250, 0.05),
    (0.01, 3.0, 1_400, 0.01),
)
BIASES = (0.35, 0.5, 0.7, 1.0, 1.3)


def weights_of(rule: Rule | None, plan: Plan, n: int, epsilon: float, level: float) -> FloatArray:
    """Return how a rule shares delta among a plan's thresholds."""
    if rule is None:
        return np.array(plan.weights)
    coverage, rate = np.array(plan.coverage), np.array(plan.disagreement)
    weights: FloatArray = np.zeros(len(coverage))
    spread = np.linspace(0, len(coverage) - 1, STARTS).round().astype(int)
    np.add.at(weights, spread, rule.spread / STARTS)
    for sure, share, worse in rule.aims:
        passing = chance_to_pass(
            coverage,
            np.minimum(worse * rate, 1.0),
            n,
            plan.training,
            epsilon=epsilon,
            level=share * level,
        )
        enough = np.flatnonzero(passing >= sure)
        weights[enough[-1] if len(enough) else int(np.argmax(passing))] += share
    weights /= weights.sum()
    return weights


def certified_coverage(
    plan: Plan, weights: FloatArray, p_values: FloatArray, level: float
) -> float:
    """Return the true coverage of the laxest threshold that passes, 0 if none."""
    passed = np.flatnonzero(fallback(p_values, weights, level)[0])
    # Confidence is uniform, so a threshold is its own share of requests deferred.
    return 1 - plan.thresholds[passed[-1]] if len(passed) else 0.0


def p_values_at(plan: Plan, drawn: Drawn, epsilon: float) -> FloatArray:
    """Return the p-value of each of a plan's thresholds."""
    answered = drawn.confidence >= np.array(plan.thresholds)[:, None]
    return binomial_p_value((answered * drawn.losses).sum(1), answered.sum(1), epsilon)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    level = spent(DELTA, 1)
    print(
        f"{datetime.date.today()}, {machine()}; Openwheel {__version__}; {arguments.draws} draws a "
        f"line, level {level:.4f}, seed {arguments.seed}. The product's rule comes first.\n\n"
        f"| err | power | n | epsilon | bias | oracle | {' | '.join(RULES)} | error |\n"
        f"|{'---|' * (7 + len(RULES))}"
    )
    table = []
    for err, power, n, epsilon in CURVES:
        oracle = min(1.0, (epsilon / err) ** (1 / power))
        world = curve(err, power)
        for bias in BIASES:
            biased, found = curve(err, power, bias), []
            for draw in range(arguments.draws):
                rng = np.random.default_rng([arguments.seed, draw])
                seen, drawn = biased.draw(rng, TRAINING * n), world.draw(rng, n)
                plan = make_plan(
                    seen.confidence, seen.losses, epsilon=epsilon, delta=level, calibration=n
                )
                p_values = p_values_at(plan, drawn, epsilon)
                weights = [weights_of(rule, plan, n, epsilon, level) for rule in RULES.values()]
                found.append([certified_coverage(plan, w, p_values, level) for w in weights])
            relative = np.array(found) / oracle
            table.append(relative.mean(0))
            # Of the product's difference from the rule that did best on this line.
            lead = relative[:, int(np.argmax(table[-1]))] - relative[:, 0]
            cells = [f"{err:g}", f"{power:g}", f"{n:,}", f"{epsilon:g}", f"{bias:g}"]
            cells += [f"{oracle:.3f}", *(f"{share:.3f}" for share in table[-1])]
            error = lead.std() / np.sqrt(arguments.draws)
            print(f"| {' | '.join(cells)} | {error:.3f} |", flush=True)
    means = np.array(table)
    behind = means.max(1, keepdims=True) - means
    for name, row in (("mean", means.mean(0)), ("furthest behind the best", behind.max(0))):
        print(f"| {name} | | | | | | {' | '.join(f'{share:.3f}' for share in row)} | |")
    print("\nerror: standard error of the product's distance from the best of the line.")


if __name__ == "__main__":
    main()
