"""How often the gate certifies falsely, on worlds whose true disagreement is known exactly.

A certificate is false if the true disagreement among answered requests, at the certified threshold
and by the simulation's own distribution, is above epsilon. Each line repeats training, plan and
judgement with the product's functions; lines named "product" go through all of `learn`, from the
store to the promoted student. "Nominal" is what the promise allows there: a first attempt
spends ``spent(delta, 1)`` of delta. Beside it, on the same draws: the laxest threshold whose
Clopper-Pearson lower bound of agreement passes, as TRACER 0.3.3 chose it, at delta.

Exit code 1 if a promise is broken: the lower end of the exact 99.9% interval is above nominal, or a
control is certified too seldom.
Run: python benchmarks/validity.py [--draws 2000] [--seed 0] [--only TEXT]
"""

import argparse
import datetime
import functools
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import scipy

from deferred import widen
from openwheel import __version__
from openwheel.gate import (
    Plan,
    binomial_p_value,
    clopper_pearson,
    fallback,
    first_of_each,
    judge,
    make_plan,
    predicted_coverage,
    spent,
)
from openwheel.gate.judge import Method
from openwheel.settings import TaskSection
from product_worlds import PLAIN, RECORDS, SOURCES, Source, truth
from worlds import (
    Drawn,
    Random,
    World,
    bursts,
    curve,
    everywhere,
    hot_inputs,
    matters,
    partly,
    records,
    skewed,
)

EPSILON, DELTA = 0.05, 0.05
ABOVE = EPSILON + 1e-6
"""Just above epsilon: where a false certificate is likeliest."""

TRAINING = 3
"""Training exchanges for each calibration exchange, as the product splits a log."""


EVERYWHERE_ABOVE = curve(ABOVE, 0)

FIRST = spent(DELTA, 1)
"""What a first attempt may spend."""

DRAWS = 2_000

PRODUCT = 20
"""A draw through the whole product stands for as many of the gate's: it takes seconds."""

Kind = Literal["promise", "contrast", "outside"]
"""Contrasts show what the gate does not do; what lies outside was never promised."""


class Outcome(NamedTuple):
    """Of one draw: whether there was a certificate, whether it was false; the rival's likewise."""

    certified: bool
    false: bool
    rival_false: bool | None = None


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    name: str
    n: int
    draws: int
    trial: Callable[[Random], Outcome]
    nominal: float
    kind: Kind = "promise"
    least: float = 0.0
    """The least share of draws that has to be certified: a gate that refuses all keeps promises."""


def plan_for(rng: Random, world: World, n: int, level: float, *, bounded: bool = False) -> Plan:
    seen = world.draw(rng, TRAINING * n)
    return make_plan(
        seen.confidence,
        seen.losses,
        epsilon=EPSILON,
        delta=level,
        calibration=n,
        bounded=bounded,
    )


def certified(plan: Plan, drawn: Drawn, level: float, method: Method = "binomial") -> float | None:
    found = judge(*drawn, plan, epsilon=EPSILON, delta=level, method=method)
    return None if found.chosen is None else found.tests[found.chosen].threshold


def lower_bound_scan(drawn: Drawn) -> float | None:
    """Return the laxest of all thresholds whose lower bound of agreement passes, unpaid for."""
    order = np.argsort(-drawn.confidence, kind="stable")
    wrong = np.cumsum(drawn.losses[order])
    # The lower bound of agreement is at least 1 - epsilon exactly when this p-value passes.
    passing = binomial_p_value(wrong, np.arange(1, len(order) + 1), EPSILON) <= DELTA
    last = np.flatnonzero(passing)
    return float(drawn.confidence[order][last[-1]]) if len(last) else None


def clusters_alone(plan: Plan, drawn: Drawn, level: float) -> float | None:
    """Return what testing clusters alone certifies, if the observed rate may veto it."""
    first = first_of_each(drawn.clusters)
    thresholds = np.array(plan.thresholds)
    answered = drawn.confidence >= thresholds[:, None]
    wrong = answered * drawn.losses
    counts = wrong[:, first].sum(1), answered[:, first].sum(1)
    passed, _ = fallback(binomial_p_value(*counts, EPSILON), np.array(plan.weights), level)
    passed &= wrong.sum(1) <= EPSILON * answered.sum(1)
    return float(thresholds[passed][-1]) if passed.any() else None


def outcome(world: World, threshold: float | None) -> Outcome:
    return Outcome(threshold is not None, is_false(world, threshold))


def is_false(world: World, threshold: float | None) -> bool:
    return threshold is not None and world.rate(threshold) > EPSILON


def once(rng: Random, world: World, n: int, training: World | None = None) -> Outcome:
    plan = plan_for(rng, training or world, n, FIRST)
    drawn = world.draw(rng, n)
    rival = is_false(world, lower_bound_scan(drawn))
    return outcome(world, certified(plan, drawn, FIRST))._replace(rival_false=rival)


def bet(rng: Random, world: World, n: int, method: Method = "betting") -> Outcome:
    """Losses between 0 and 1, in a plan that knows of them."""
    plan = plan_for(rng, world, n, FIRST, bounded=method != "binomial")
    drawn = world.draw(rng, n)
    return outcome(world, certified(plan, drawn, FIRST, method))


def clustered(rng: Random, world: World, n: int, how: str) -> Outcome:
    plan, drawn = plan_for(rng, world, n, FIRST), world.draw(rng, n)
    if how == "clusters alone":
        return outcome(world, clusters_alone(plan, drawn, FIRST))
    if how == "rows alone":
        drawn = drawn._replace(clusters=np.arange(n))
    return outcome(world, certified(plan, drawn, FIRST))


def attempts(rng: Random, n: int, shared: float, *, paying: bool) -> Outcome:
    """Ten fresh students on the same calibration exchanges, part of whose labels are just noise."""
    world, noise = curve(ABOVE, 0), rng.random(n) < shared * EPSILON
    # Together with the noise, which all students share, each has the world's rate.
    own = curve((ABOVE - shared * EPSILON) / (1 - shared * EPSILON), 0)
    for attempt in range(1, 11):
        level = spent(DELTA, attempt) if paying else DELTA
        plan, drawn = plan_for(rng, world, n, level), own.draw(rng, n)
        if (
            certified(plan, drawn._replace(losses=np.maximum(drawn.losses, noise)), level)
            is not None
        ):
            return Outcome(True, True)
    return Outcome(False, False)


def rungs(rng: Random, n: int, *, paying: bool) -> Outcome:
    """Five students; one is chosen by training, or whichever passes by calibration."""
    world = curve(ABOVE, 0)
    plans = [plan_for(rng, world, n, FIRST) for _ in range(5)]
    if paying:
        predicted = [
            predicted_coverage(plan, epsilon=EPSILON, delta=FIRST, calibration=n) for plan in plans
        ]
        plans = [plans[int(np.argmax(predicted))]]
    passed = [certified(plan, world.draw(rng, n), FIRST) is not None for plan in plans]
    return Outcome(any(passed), any(passed))


def peeked(
    rng: Random,
    method: Method,
    most: int = 5_000,
    batch: int = 100,
    *,
    world: World = EVERYWHERE_ABOVE,
) -> Outcome:
    """Looked at after every batch; a certificate at any look counts."""
    plan, drawn = plan_for(rng, world, most // 2, FIRST), world.draw(rng, most)
    for n in range(batch, most + 1, batch):
        so_far = Drawn(drawn.confidence[:n], drawn.losses[:n], drawn.clusters[:n])
        if certified(plan, so_far, FIRST, method) is not None:
            return Outcome(True, True)
    return Outcome(False, False)


def widened(rng: Random, world: World, answered: float) -> Outcome:
    """Looked at after every thousand requests, with those that the promoted student deferred."""
    found = widen(rng, world, answered, 0.05, 20_000, deferred=True)
    return Outcome(found.requests is not None, found.false)


def lines(draws: int) -> Iterator[Line]:
    """Yield the lines of the table."""
    noted: list[tuple[str, World, World | None, tuple[int, ...]]] = [
        ("informative", curve(0.1, 2), None, (200, 500, 1_000, 2_500, 10_000)),
        ("uninformative, rate 4.5%", curve(0.045, 0), None, (200, 500, 1_000, 2_500, 10_000)),
        ("uninformative, rate 5.5%", curve(0.055, 0), None, (200, 500, 1_000, 2_500, 10_000)),
        ("just above epsilon everywhere", curve(ABOVE, 0), None, (200, 500, 1_000, 2_500, 10_000)),
        ("80/20 labels, minority always wrong", skewed(1.0), None, (500, 2_500)),
        ("80/20 labels, minority half wrong", skewed(0.5), None, (500, 2_500)),
    ]
    for bias in (0.5, 0.7, 1.3, 1.5):
        name = f"training says {bias} of the truth"
        noted += [
            (f"{name}, informative", curve(0.1, 2), curve(0.1, 2, bias), (1_000,)),
            (f"{name}, just above", curve(ABOVE, 0), curve(ABOVE, 0, bias), (1_000,)),
        ]
    for name, world, training, sizes in noted:
        for n in sizes:
            trial = functools.partial(once, world=world, training=training, n=n)
            yield Line(name, n, draws, trial, FIRST)
    for shared in (0.0, 0.5):
        paid = functools.partial(attempts, n=1_000, shared=shared, paying=True)
        yield Line(f"ten attempts, {shared:.0%} of errors shared", 1_000, draws // 2, paid, DELTA)
    unpaid = functools.partial(attempts, n=1_000, shared=0.5, paying=False)
    yield Line("ten attempts, each at delta", 1_000, draws // 2, unpaid, DELTA, "contrast")
    for paying, name in ((True, "training chooses"), (False, "calibration chooses, unpaid")):
        trial = functools.partial(rungs, n=1_000, paying=paying)
        yield Line(
            f"five rungs, {name}", 1_000, draws, trial, FIRST, "promise" if paying else "contrast"
        )
    bets: list[tuple[str, World, tuple[int, ...]]] = [
        ("halves, informative", partly(0.1, 2, 0.3), (200, 500, 1_000, 2_500, 10_000)),
        ("halves, just above everywhere", partly(ABOVE, 0, 0.3), (200, 500, 1_000, 2_500, 10_000)),
        ("nothing but halves, just above", partly(ABOVE, 0, 1.0), (200, 500, 1_000, 2_500, 10_000)),
        ("yes or no, just above, by betting", curve(ABOVE, 0), (500, 2_500)),
        ("Beta, concentration 2, just above", everywhere(ABOVE, 2), (200, 1_000, 10_000)),
        ("Beta, concentration 50, just above", everywhere(ABOVE, 50), (200, 1_000, 10_000)),
        ("Beta, concentration 0.1, just above", everywhere(ABOVE, 0.1), (200, 1_000, 10_000)),
        ("Beta, concentration 50, mean 4.5%", everywhere(0.045, 50), (200, 1_000)),
    ]
    for name, world, sizes in bets:
        for n in sizes:
            yield Line(name, n, draws // 2, functools.partial(bet, world=world, n=n), FIRST)
    worlds: list[tuple[str, World, Kind]] = [
        ("bursts, just above everywhere", bursts(ABOVE, 0), "promise"),
        ("bursts, informative", bursts(0.1, 2), "promise"),
        ("hot inputs, some always wrong", hot_inputs(), "promise"),
        ("bursts, wrong ones 4 times as long", bursts(ABOVE, 0, wrong_size=8), "outside"),
    ]
    for name, world, kind in worlds:
        for how in ("both counts", "rows alone", "clusters alone"):
            trial = functools.partial(clustered, world=world, n=2_500, how=how)
            kept: Kind = kind if how == "both counts" else "contrast"
            yield Line(f"{name}; {how}", 2_500, draws, trial, FIRST, kept)
    for n in (500, 2_500):
        for length, correlation in ((5, 1.0), (20, 1.0), (5, 0.3), (20, 0.3), (20, 0.1)):
            world = matters(ABOVE, length, correlation)
            name = f"matters of {length}, correlation {correlation:g}, just above"
            trial = functools.partial(once, world=world, n=n)
            yield Line(name, n, max(draws // 4, 1), trial, FIRST)
    looks = functools.partial(peeked, method="anytime")
    yield Line("anytime test, 50 looks", 5_000, draws // 2, looks, FIRST)
    halves = partly(ABOVE, 0, 0.3)
    looks = functools.partial(peeked, method="anytime", world=halves)
    yield Line("anytime test with halves, 50 looks", 5_000, draws // 2, looks, FIRST)
    looks = functools.partial(peeked, method="betting", world=halves)
    yield Line("betting for one look, 50 looks", 5_000, draws // 2, looks, FIRST, "contrast")
    looks = functools.partial(peeked, method="binomial")
    yield Line("binomial test, 50 looks", 5_000, draws // 2, looks, FIRST, "contrast")


def record_lines(draws: int) -> Iterator[Line]:
    """Yield the lines of records: whole ones, and by the share of wrong fields."""
    for by in ("record", "fields"):
        method: Method = "betting" if by == "fields" else "binomial"
        said = "by fields" if by == "fields" else "whole"
        worlds: list[tuple[str, World, tuple[int, ...], float]] = [
            ("just above", records(ABOVE, 0, by=by), (200, 500, 1_000, 2_500, 10_000), 0.0),
            ("informative", records(0.1, 2, by=by), (500, 1_000, 2_500), 0.0),
            (
                "layouts in runs of 10, just above",
                records(ABOVE, 0, by=by, run=10, together=True),
                (500, 2_500),
                0.0,
            ),
            ("control, 2% wrong", records(0.02, 0, by=by), (1_000, 2_500), 0.9),
        ]
        for name, world, sizes, least in worlds:
            for n in sizes:
                trial = functools.partial(bet, world=world, n=n, method=method)
                yield Line(f"records {said}, {name}", n, draws, trial, FIRST, least=least)
    looks = functools.partial(peeked, method="anytime", world=records(ABOVE, 0, by="fields"))
    yield Line("records by fields, anytime test, 50 looks", 5_000, draws // 2, looks, FIRST)


def deferred_lines(draws: int) -> Iterator[Line]:
    """Yield the lines where what a promoted student defers is evidence, too."""
    for answered in (0.1, 0.5):
        for name, world in (
            ("independent", curve(ABOVE, 0)),
            ("in matters of 20, correlation 0.3", matters(ABOVE, 20, 0.3)),
            ("records by fields", records(ABOVE, 0, by="fields")),
        ):
            looks = functools.partial(widened, world=world, answered=answered)
            said = f"deferred requests count, {answered:.0%} answered, just above, {name}"
            yield Line(said, 20_000, max(draws // 4, 1), looks, FIRST)


def product(
    rng: Random, source: Source, rungs: tuple[str, ...], n: int, task: TaskSection = PLAIN
) -> Outcome:
    rate = truth(rng, source, rungs, n, task)
    return Outcome(rate is not None, rate is not None and rate > EPSILON)


def product_lines(draws: int) -> Iterator[Line]:
    """Yield the lines that go through the product's own loading, clustering and judging."""
    for name, source, rungs, n in SOURCES:
        trial = functools.partial(product, source=source, rungs=rungs, n=n)
        yield Line(f"product: {name}", n, max(draws // PRODUCT, 1), trial, FIRST)
    for name, source, task, n in RECORDS:
        trial = functools.partial(product, source=source, rungs=("linear",), n=n, task=task)
        yield Line(f"product: {name}", n, max(draws // PRODUCT, 1), trial, FIRST)


def run(line: Line, seed: int) -> tuple[str, bool]:
    """Return a line of the table, and whether it breaks the promise."""
    outcomes = [line.trial(np.random.default_rng([seed, draw])) for draw in range(line.draws)]
    false = sum(outcome.false for outcome in outcomes)
    broken = clopper_pearson(false, line.draws, 0.999)[0] > line.nominal
    passed = sum(outcome.certified for outcome in outcomes)
    broken |= clopper_pearson(passed, line.draws, 0.999)[1] < line.least
    rival = [outcome.rival_false for outcome in outcomes if outcome.rival_false is not None]
    kind = "**BROKEN**" if broken and line.kind == "promise" else line.kind
    cells = (
        line.name,
        f"{line.n:,}",
        f"{line.draws:,}",
        f"{passed / line.draws:.3f}",
        share_of(false, line.draws),
        f"{line.nominal:.4f}",
        kind,
        share_of(sum(rival), len(rival)) if rival else "",
    )
    return f"| {' | '.join(cells)} |", broken and line.kind == "promise"


def share_of(part: int, whole: int) -> str:
    low, high = clopper_pearson(part, whole)
    return f"{part / whole:.4f} [{low:.4f}, {high:.4f}]"


def machine() -> str:
    """Return the processor's name and the number of processors."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except FileNotFoundError:
        text = ""
    names = [row.split(":", 1)[1].strip() for row in text.splitlines() if "model name" in row]
    name = names[0] if names else platform.processor()
    return f"{name}, {os.cpu_count()} processors, {platform.system()}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--draws", type=int, default=DRAWS, help="a line; half of it on some")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="lines whose name has this in it")
    arguments = parser.parse_args()
    print(
        f"{datetime.date.today()}, {machine()}; Openwheel {__version__}, "
        f"Python {platform.python_version()}, NumPy {np.__version__}, SciPy {scipy.__version__}; "
        f"epsilon {EPSILON}, delta {DELTA}, seed {arguments.seed}. Shares with exact 95% intervals."
        "\n\n| world | n | draws | certified | false | nominal | kind | lower-bound scan, false |"
        "\n|---|---|---|---|---|---|---|---|"
    )
    started, broken = time.process_time(), 0
    for line in (
        *lines(arguments.draws),
        *record_lines(arguments.draws),
        *deferred_lines(arguments.draws),
        *product_lines(arguments.draws),
    ):
        if arguments.only not in line.name:
            continue
        text, breaks = run(line, arguments.seed)
        broken += breaks
        print(text, flush=True)
    print(f"\n{time.process_time() - started:.0f} s of CPU; promises broken: {broken}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
