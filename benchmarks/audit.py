"""The audit: how often it takes a good student off, and how soon a bad one.

    python benchmarks/audit.py [--quick] [--only ratio quiet drift doubt alarms]

``ratio``: audited answers from a jump of the disagreement to q until the alarm, against the limit
log(1 / delta) / KL(q, epsilon): from a fresh start, and after 50,000 good audited answers.
``quiet``: false demotions in 100,000 requests where nothing is wrong. ``drift``: real drifts on
Banking77, with a student that the gate promoted before them. ``doubt``: how often a good student
is in doubt, by where doubt begins. ``alarms``: real drifts through the audit as it runs, with a
share that follows what it sees, with and without the signals of deferred requests.

The product's rule takes a student off at the alarm of an e-process or of an e-detector. The others
are calibrated by simulation to a false alarm with probability delta in 100,000 requests at a
rate of exactly epsilon, which takes knowing the horizon; the product's rule takes no calibration.
Exit code 1 if a promise is broken beyond Monte Carlo error.
"""

import argparse
import copy
import functools
import math
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from audit_bench import alarms, drifts, rules, streams
from audit_bench.rules import ARL, STATISTICS, Rule
from openwheel.gate import clopper_pearson
from shared import about

EPSILON, DELTA = 0.05, 0.05
REQUESTS, RUNS, QUIET_RUNS = 100_000, 500, 8_000
GOOD = 50_000
"""Good audited answers before a jump."""

JUMPS = (0.07, 0.08, 0.1, 0.15, 0.2, 0.3)
SHARES = (0.01, 0.02, 0.05)
COVERAGE = 0.8
"""Of the simulated worlds."""

SLOWLY = 50_000
"""Requests over which the slow drift comes."""

DOUBTS = (0.3, 0.35, 0.4, 0.5)
"""Shares of the way to an alarm at which doubt might begin."""

ALARM_RUNS = 20

MOST_RATIO, MOST_LATE_RATIO = 1.35, 1.6


class Size(NamedTuple):
    """How much is simulated."""

    runs: int
    quiet: int
    fresh: int
    late: int
    good: int
    requests: int


FULL = Size(RUNS, QUIET_RUNS, 10_000, 300, GOOD, REQUESTS)
QUICK = Size(40, 40, 200, 30, 400, 4_000)


def divergence(q: float, epsilon: float) -> float:
    """Return KL(q, epsilon) of Bernoulli variables, in nats."""
    return q * math.log(q / epsilon) + (1 - q) * math.log((1 - q) / (1 - epsilon))


def mean_of(values: np.typing.NDArray[np.float64], digits: int = 0) -> str:
    if not len(values):
        return "-"
    mean, error = float(values.mean()), 1.96 * float(values.std()) / math.sqrt(len(values))
    return f"{mean:,.{digits}f} ± {error:,.{digits}f}"


def share_of(part: int, whole: int) -> str:
    low, high = clopper_pearson(part, whole)
    return f"{part:,} of {whole:,}: {part / whole:.1%} [{low:.1%}, {high:.1%}]"


def ratios(size: Size) -> bool:
    """Print times to the alarm after a jump against the limit; return whether one is too long."""
    print(
        "\nAudited answers from a jump to q until the alarm, over "
        f"log(1 / {DELTA}) / KL(q, epsilon) (fresh start) and log(ARL) / KL(q, epsilon) "
        f"(after {size.good:,} good audited answers). Means with 95% intervals.\n\n"
        f"| rule | before | n | {' | '.join(f'q = {q:g}' for q in JUMPS)} |\n"
        f"|---|---|---|{'---|' * len(JUMPS)}"
    )
    broken = False
    fresh = (rules.process(EPSILON, DELTA), rules.uniform(EPSILON, DELTA))
    for rule in fresh:
        cells = []
        for q in JUMPS:
            limit = math.log(1 / DELTA) / divergence(q, EPSILON)
            # Jumps that take long have less of a spread, and cost more.
            runs = max(int(size.fresh * min(1.0, 20 / limit)), min(size.fresh, 2_000))
            found = jump(rule.start(runs), runs, q, 1)
            cells.append(mean_of(found / limit, 2))
            broken |= rule is fresh[0] and below(found / limit) > MOST_RATIO
        print(
            f"| {rule.name} | fresh | 2,000 to {size.fresh:,} | {' | '.join(cells)} |", flush=True
        )
    late = [
        (rules.detector(EPSILON, ARL), ARL, (0.03, 0.045)),
        (rules.detector(EPSILON, 100_000.0), 100_000.0, (0.03,)),
        (rules.process(EPSILON, DELTA), ARL, (0.03,)),
    ]
    for rule, length, rates in late:
        for rate in rates:
            rng, runs = np.random.default_rng([2, int(rate * 1000)]), size.late
            watch, early = streams.after(rule.start(runs), runs, size.good, rate, rng)
            cells = []
            for q in JUMPS:
                limit = math.log(length) / divergence(q, EPSILON)
                found = jump(copy.deepcopy(watch), runs, q, 3)[~early]
                cells.append(mean_of(found / limit, 2))
                is_detector = rule.name.startswith("e-detector")
                broken |= is_detector and below(found / limit) > MOST_LATE_RATIO
            name = (
                f"{rule.name}, ARL {length:,.0f}"
                if is_detector
                else f"{rule.name} (over ARL {ARL:,.0f})"
            )
            print(
                f"| {name} | {size.good:,} at {rate:.1%} ({int(early.sum())} of {runs} alarmed) | "
                f"{runs - int(early.sum())} | {' | '.join(cells)} |",
                flush=True,
            )
    return broken


def below(values: np.typing.NDArray[np.float64]) -> float:
    """Return what the mean is above with much confidence."""
    return float(values.mean() - 3.3 * values.std() / math.sqrt(len(values)))


def jump(
    watch: rules.Watch, runs: int, q: float, seed: int, most: int = 20_000
) -> np.typing.NDArray[np.float64]:
    """Return audited answers until the alarm of each stream at a rate of q."""
    rng = np.random.default_rng([seed, int(q * 1000)])
    times, weights = np.zeros(runs), np.ones(runs)
    for t in range(1, most + 1):
        alarmed = watch.step((rng.random(runs) < q).astype(np.float64), weights)
        times[alarmed & (times == 0)] = t
        if times.all():
            break
    times[times == 0] = most
    return times


def quiet_worlds() -> Iterator[tuple[streams.Quiet, float, bool]]:
    """Yield worlds with their mean share of audits, and whether others can be calibrated for it."""

    def between(rng: np.random.Generator, runs: int, _: int) -> np.typing.NDArray[np.float64]:
        return rng.choice([0.0, 0.25, 1.0], runs, p=[0.86, 0.12, 0.02])

    def tides(rng: np.random.Generator, runs: int, t: int) -> np.typing.NDArray[np.float64]:
        return (rng.random(runs) < EPSILON * (0.6 + 0.4 * math.sin(t / 200))).astype(np.float64)

    for share in SHARES:
        for rate in (EPSILON, 0.03):
            draw = functools.partial(yes_or_no, rate=rate)
            yield (
                streams.steady(f"disagreement {rate:.0%}, audit {share:.0%}", share, draw),
                share,
                True,
            )
    yield streams.steady("losses 0, 0.25 and 1, mean 5%, audit 5%", 0.05, between), 0.05, False
    yield streams.steady("disagreement swings from 1% to 5%, audit 5%", 0.05, tides), 0.05, False
    yield streams.chasing("5%, audit 2%, 50% after a disagreement", EPSILON), 0.035, False
    for weighted in (True, False):
        name = "weighted" if weighted else "not weighted (wrong)"
        world = streams.by_request(
            f"5%, hard requests audited ten times as often, {name}", EPSILON, weighted=weighted
        )
        yield world, 0.038, False


def yes_or_no(
    rng: np.random.Generator, runs: int, _: int, *, rate: float
) -> np.typing.NDArray[np.float64]:
    return (rng.random(runs) < rate).astype(np.float64)


def quiet(size: Size) -> bool:
    """Print false demotions; return whether there are too many."""
    names = list(STATISTICS)
    print(
        f"\nFalse demotions in {size.requests:,} requests, coverage {COVERAGE:.0%}, "
        f"{size.quiet:,} runs a line, with exact 95% intervals; beside them, with {size.runs:,} "
        "runs of the same world, the rules calibrated for exactly 5%.\n\n"
        f"| world | e-process and e-detector | e-process alone | {' | '.join(names)} | "
        "z-test, window 100, at 1.645 |\n"
        f"|---|---|---|{'---|' * (len(names) + 1)}"
    )
    served, broken = int(COVERAGE * size.requests), False
    for number, (world, share, others) in enumerate(quiet_worlds()):
        chosen: list[Rule] = [rules.product(EPSILON, DELTA), rules.process(EPSILON, DELTA)]
        if others:
            audits = int(share * served)
            chosen += [rules.calibrated(name, EPSILON, DELTA, audits) for name in names]
            chosen.append(rules.naive(EPSILON))
        cells = []
        for place, rule in enumerate(chosen):
            rng = np.random.default_rng([4, number, place])
            runs = size.quiet if place < 2 else size.runs
            alarms = streams.false_alarms(world, rule, runs, served, rng)
            cells.append(share_of(alarms, runs))
            if place < 2 and "wrong" not in world.name:
                broken |= clopper_pearson(alarms, runs, 0.999)[0] > DELTA
        cells += [""] * (len(names) + 3 - len(cells))
        print(f"| {world.name} | {' | '.join(cells)} |", flush=True)
    return broken


def drift(size: Size) -> None:
    """Print how soon real drifts are noticed."""
    found = [drifts.promoted(make(), epsilon=EPSILON, delta=DELTA) for make in drifts.DRIFTS]
    promoted = [one for one in found if one is not None]
    print(
        "\n| drift | certified coverage, disagreement | texts | coverage before, after | "
        "disagreement before, after |\n|---|---|---|---|---|"
    )
    for one in promoted:
        before, after = (
            f"{round(n * c * r):,} of {round(n * c):,}: {r:.2%}"
            for n, c, r in zip(one.texts, one.coverage, one.rate, strict=True)
        )
        print(
            f"| {one.name} | {one.certified[0]:.3f}, {one.certified[1]:.2%} | "
            f"{one.texts[0]:,} and {one.texts[1]:,} | "
            f"{one.coverage[0]:.3f}, {one.coverage[1]:.3f} | {before}; {after} |"
        )
    rivals = [rules.uniform(EPSILON, DELTA).name, *STATISTICS]
    print(
        "\nRequests from the drift until demotion, and in brackets disagreements served until then "
        f"beyond epsilon of the answers: means with 95% intervals, {size.runs} runs, requests "
        "drawn with replacement from the texts. `least`: audited answers, log(1 / delta) / KL(q, "
        "epsilon). `early`: alarms before the drift, left out. `late`: no alarm within "
        f"{size.requests:,} requests, counted as if there.\n\n"
        "| drift | audit | requests before | least | audited answers | e-process and e-detector | "
        f"{' | '.join(rivals)} |\n|{'---|' * (6 + len(rivals))}"
    )
    for one in promoted:
        at_once = streams.Change(one.coverage, one.rate)
        lines(one.name, at_once, size)
        if "GPT-4" in one.name:
            slow = streams.Change(one.coverage, one.rate, slowly=SLOWLY)
            lines(f"{one.name}, slowly over {SLOWLY:,} requests", slow, size)


def lines(name: str, change: streams.Change, size: Size) -> None:
    q = change.rate[1]
    least = math.log(1 / DELTA) / divergence(q, EPSILON) if q > EPSILON else math.inf
    for share in SHARES:
        audits = max(int(share * change.coverage[0] * size.requests), 1)
        chosen = [
            rules.product(EPSILON, DELTA),
            rules.uniform(EPSILON, DELTA),
            *(rules.calibrated(each, EPSILON, DELTA, audits) for each in STATISTICS),
        ]
        for before in (0, size.requests // 2):
            cells, audited = [], ""
            for number, rule in enumerate(chosen):
                rng = np.random.default_rng([5, int(share * 100), before, number])
                answers = int(share * change.coverage[0] * before)
                watch, early = streams.after(
                    rule.start(size.runs), size.runs, answers, change.rate[0], rng
                )
                seen = streams.noticed(
                    watch,
                    early,
                    change,
                    share=share,
                    epsilon=EPSILON,
                    rng=rng,
                    most=size.requests,
                )
                audited = audited or mean_of(seen.answers)
                cells.append(cell(seen))
            shown = "" if change.slowly else f"{least:,.0f}"
            print(
                f"| {name} | {share:.0%} | {before:,} | {shown} | {audited} | "
                f"{' | '.join(cells)} |",
                flush=True,
            )


def doubts(size: Size) -> None:
    """Print how often a student is in doubt, and at what share of audits that is."""
    print(
        f"\nShare of the audited answers 1,001 to {size.good // 10:,} of a student, over "
        f"{size.late} runs, at which a monitor has come so far on its way to an alarm.\n\n"
        f"| disagreement | {' | '.join(f'{part:g} of the way' for part in DOUBTS)} |\n"
        f"|---|{'---|' * len(DOUBTS)}"
    )
    for rate in (0.02, 0.03, 0.04, EPSILON):
        rng, runs = np.random.default_rng([6, int(rate * 1000)]), size.late
        watch, weights = rules.Doubtful(runs, EPSILON, DELTA), np.ones(runs)
        found: list[np.typing.NDArray[np.float64]] = []
        for place in range(size.good // 10):
            doubt = watch.step((rng.random(runs) < rate).astype(np.float64), weights)
            if place >= min(1_000, size.good // 20):
                found.append(doubt)
        every = np.array(found)
        cells = (f"{(every >= part).mean():.1%}" for part in DOUBTS)
        print(f"| {rate:.0%} | {' | '.join(cells)} |", flush=True)


def alarm_runs(size: Size) -> bool:
    """Print drifts through the audit as it runs; return whether the signals make it slower."""
    before, latest = size.requests // 5, size.requests // 20
    runs = min(ALARM_RUNS, size.runs)
    print(
        f"\n{runs} runs a line: {before:,} requests from the promotion to the drift, then until "
        "the student is off; medians, means in brackets. Audited, of the answers among the latest "
        f"{latest:,} requests before the drift. Raised: signals before the drift, all runs.\n"
    )
    found = list(alarms.worlds(EPSILON, DELTA))
    print(
        "| drift | | coverage | disagreement of answers | deferred: answers it cannot give | "
        "deferred: would be wrong |\n|---|---|---|---|---|---|"
    )
    for world in found:
        print(f"| {world.name} | before | {world.before.shown()} |")
        print(f"| | after | {world.after.shown()} |")
    print(
        "\n| drift | signals | requests until the alarm | wrong answers served | audits | "
        "audited before the drift | raised before | early |\n|---|---|---|---|---|---|---|---|"
    )
    slower = False
    for number, world in enumerate(found):
        medians = []
        for signals in (False, True):
            every = [
                alarms.run(
                    world,
                    np.random.default_rng([7, number, one]),
                    signals=signals,
                    epsilon=EPSILON,
                    delta=DELTA,
                    before=before,
                    latest=latest,
                    most=size.requests,
                )
                for one in range(runs)
            ]
            kept = [one for one in every if not one.early]
            cells = (
                f"{np.median(values):,.0f} ({np.mean(values):,.0f})"
                for values in (
                    [one.requests for one in kept],
                    [one.wrong for one in kept],
                    [one.audits for one in kept],
                )
            )
            share = np.mean([one.share for one in kept])
            print(
                f"| {world.name} | {'yes' if signals else 'no'} | {' | '.join(cells)} | "
                f"{share:.2%} | {sum(one.raised for one in kept)} | {runs - len(kept)} |",
                flush=True,
            )
            medians.append(float(np.median([one.requests for one in kept])))
        slower |= medians[1] > medians[0]
    return slower


def cell(seen: streams.Noticed) -> str:
    found = f"{mean_of(seen.requests)} ({mean_of(seen.excess)})"
    for name, count in (("early", seen.early), ("late", seen.missed)):
        found += f", {count} {name}" if count else ""
    return found


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="less of everything: a smoke test")
    parts = ("ratio", "quiet", "drift", "doubt", "alarms")
    options.add_argument("--only", nargs="*", choices=parts, default=parts)
    asked = options.parse_args()
    size = QUICK if asked.quick else FULL
    print(about("benchmarks/audit.py"))
    print(
        f"epsilon {EPSILON:.0%}, delta {DELTA:.0%}; the product's rule is an e-process at "
        f"{rules.PROCESS_SHARE:g} delta and an e-detector with ARL {ARL:,.0f}"
    )
    started, broken = time.process_time(), False
    if "ratio" in asked.only:
        broken |= ratios(size)
    if "quiet" in asked.only:
        broken |= quiet(size)
    if "drift" in asked.only:
        drift(size)
    if "doubt" in asked.only:
        doubts(size)
    if "alarms" in asked.only:
        broken |= alarm_runs(size)
    found = "yes" if broken else "no"
    print(f"\n{time.process_time() - started:.0f} s of CPU; promises broken: {found}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
