"""What a screen for critical answers lets pass, and what it costs in coverage.

Of each data set some answers are named as critical, one at a time: those of the seed, and spam. A
linear student with and without a screen is certified at epsilon; each line gives how many of the
test set's critical requests it answered otherwise, and its coverage of the others.

    python benchmarks/critical.py [--data NAME ...] [--seed N] [--answers N] [--develop]

Published test splits are used where there are any (Banking77, SNIPS). With ``--develop`` no test
split is read: a fifth of the training split stands for it. All choices were made so.
"""

import argparse
from collections import Counter

import numpy as np

from coverage import DELTA, SETS, Split, ask
from novelty import NAMES, certified, developing, share
from openwheel.gate import spent
from openwheel.loop.settings import LoopSettings
from openwheel.students import Fitted
from openwheel.students.fit import fit_model
from openwheel.students.fit_screen import FEWEST_CRITICAL, screened
from shared import about


def tried(split: Split, number: int, seed: int) -> list[str]:
    """Return the answers that are named as critical: rare ones, if there are more than two."""
    counts = Counter(answer for _, answer in split.training)
    if len(counts) == 2:
        return [min(counts, key=lambda answer: counts[answer])]
    enough = sorted(answer for answer, count in counts.items() if count >= 2 * FEWEST_CRITICAL)
    order = np.random.default_rng(seed).permutation(len(enough))
    return [enough[i] for i in order[:number]]


def judged(fitted: Fitted, split: Split, critical: str, settings: LoopSettings) -> Counter[str]:
    """Return counts of critical and other requests of the test set, and of what was answered."""
    passed = certified(fitted, split.calibration, settings)
    threshold = np.inf if passed is None else passed[0]
    confidence, agrees = ask(fitted, split.test)
    answered = confidence >= threshold
    matters = np.array([answer == critical for _, answer in split.test])
    return Counter(
        critical=int(matters.sum()),
        missed=int((matters & answered & ~agrees).sum()),
        other=int((~matters).sum()),
        answered=int((~matters & answered).sum()),
        wrong=int((~matters & answered & ~agrees).sum()),
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", nargs="*", default=list(NAMES), choices=NAMES)
    options.add_argument("--epsilon", type=float, default=0.05)
    options.add_argument("--seed", type=int, default=0, help="which answers are critical")
    options.add_argument("--answers", type=int, default=8, help="how many of them, one at a time")
    options.add_argument("--develop", action="store_true", help="read no test split")
    chosen = options.parse_args()
    print(about("benchmarks/critical.py"))
    print(f"delta {DELTA:.0%}, first attempt: {spent(DELTA, 1):.2%} spent; seed {chosen.seed}")
    settings = LoopSettings(epsilon=chosen.epsilon)
    for name in chosen.data:
        split = SETS[name]()
        if chosen.develop:
            split = developing(split)
        inputs = [(text,) for text, _ in split.training]
        answers = [answer for _, answer in split.training]
        plain = fit_model(inputs, answers, variables=(0,))
        total: dict[str, Counter[str]] = {"without a screen": Counter(), "with a screen": Counter()}
        named = tried(split, chosen.answers, chosen.seed)
        for critical in named:
            behind = screened(plain, inputs, answers, critical=[critical], variables=(0,))
            for kind, fitted in zip(total, (plain, behind), strict=True):
                total[kind] += judged(fitted, split, critical, settings)
        print(f"{split.name}, {len(named)} answers in turn: {', '.join(named)}")
        for kind, counts in total.items():
            print(
                f"  {kind}: critical answered otherwise "
                f"{share(counts['missed'], counts['critical'], 2)}; others answered "
                f"{share(counts['answered'], counts['other'])}, of these disagreed "
                f"{share(counts['wrong'], counts['answered'], 2)}",
                flush=True,
            )


if __name__ == "__main__":
    main()
